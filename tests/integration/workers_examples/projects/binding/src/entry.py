from urllib.parse import urlparse

from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = urlparse(request.url).path
        if path == "/all":
            page = await self.env.VISITS.list(prefix="/", limit=self.env.LIMITS.page)
            names = [key.name for key in page["keys"]]
            return Response.json({"names": names, "complete": page.list_complete})
        count = int(await self.env.VISITS.get(path) or 0) + 1
        await self.env.VISITS.put(path, str(count), metadata={"last": request.headers.get("user-agent")})
        found = await self.env.VISITS.getWithMetadata(path)
        return Response(f"{found.value} {found.metadata.last}")
