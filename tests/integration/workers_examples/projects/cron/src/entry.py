from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def scheduled(self, controller, env, ctx):
        print("a scheduled run")
        await self.env.RUNS.put("last", f"{controller.cron} {controller.scheduledTime}")

    async def fetch(self, request):
        return Response(await self.env.RUNS.get("last") or "never")
