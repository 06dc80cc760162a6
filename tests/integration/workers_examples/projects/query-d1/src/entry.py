from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        statement = self.env.DB.prepare("SELECT quote, author FROM quotes WHERE author = ? ORDER BY id LIMIT 1")
        result = await statement.bind("Tim").run()
        row = result.results[0]
        total = await self.env.DB.prepare("SELECT count(*) AS n FROM quotes").first("n")
        return Response.json({"quote": row.quote, "author": row["author"], "total": total})
