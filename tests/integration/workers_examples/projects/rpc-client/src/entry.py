from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        found = await self.env.HIGHLIGHTER.highlight("for x in y", "python")
        lost = await self.env.HIGHLIGHTER.highlight("x")
        greeting = await self.env.HIGHLIGHTER.fetch("http://highlighter/")
        return Response.json(
            {"html": found.html, "alias": found["alias"], "error": lost.error, "said": await greeting.text()}
        )
