from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if "/api/page" in request.url:
            page = await self.env.ASSETS.fetch("http://assets.local/")
            return Response(
                f"the page has {len(await page.text())} characters", headers={"x-type": page.headers["content-type"]}
            )
        return await self.env.ASSETS.fetch(request)
