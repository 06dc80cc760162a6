import keyword

from workers import Request, Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request: Request):
        return Response("Call my methods.")

    async def highlight(self, code: str, language: str = None) -> dict:
        if language != "python":
            return {"error": f"unknown language {language}", "html": f"<pre>{code}</pre>"}
        words = [f"<b>{word}</b>" if keyword.iskeyword(word) else word for word in code.split(" ")]
        return {"html": " ".join(words), "language": language, "alias": None}
