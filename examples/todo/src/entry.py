"""The Worker of the todo example: three statements. Who shows the list is told by the table itself."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from workers import Request, Response, WorkerEntrypoint

MAX_BODY = 4_096
MAX_TITLE = 200
_TODO = re.compile(r"/api/todos/([\w-]{8,64})")


class Refused(Exception):
    """A request that is not accepted: an HTTP status, and what is wrong."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Default(WorkerEntrypoint):
    """`PUT /api/todos/<id>` adds or changes a todo, `DELETE` removes it; both may be repeated."""

    async def fetch(self, request: Request) -> Response:
        """Answer one request; everything but the API is a file of the page, served before this is asked."""
        match = _TODO.fullmatch(urlsplit(request.url).path)
        if match is None:
            return Response.json({"error": "there is nothing here"}, status=404)
        try:
            if request.method == "PUT":
                return await self._put(match[1], await _read(request))
            if request.method == "DELETE":
                await self.env.DB.prepare("DELETE FROM todos WHERE id = ?").bind(match[1]).run()
                return Response(None, status=204)
        except Refused as refusal:
            return Response.json({"error": str(refusal)}, status=refusal.status)
        return Response.json({"error": "use PUT or DELETE"}, status=405, headers={"allow": "PUT, DELETE"})

    async def _put(self, todo_id: str, todo: dict[str, Any]) -> Response:
        title, done, created_at = todo.get("title"), todo.get("done"), todo.get("created_at")
        if not isinstance(title, str) or not 1 <= len(title := " ".join(title.split())) <= MAX_TITLE:
            raise Refused(400, f"title must have 1 to {MAX_TITLE} characters")
        if isinstance(done, bool) or done not in (0, 1):
            raise Refused(400, "done must be 0 or 1")
        if isinstance(created_at, bool) or not isinstance(created_at, int) or not 0 <= created_at < 2**53:
            raise Refused(400, "created_at must be a time in milliseconds")
        await (
            self.env.DB.prepare(
                "INSERT INTO todos (id, title, done, created_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET title = excluded.title, done = excluded.done"
            )
            .bind(todo_id, title, done, created_at)
            .run()
        )
        return Response(None, status=204)


async def _read(request: Request) -> dict[str, Any]:
    # A form on another site cannot send this type without its browser asking us first.
    if (request.headers.get("content-type") or "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send the body as application/json")
    text = await request.text()
    if len(text) > MAX_BODY:
        raise Refused(413, f"the body must not be longer than {MAX_BODY} characters")
    try:
        value = json.loads(text)
    except ValueError:
        raise Refused(400, "the body must be JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value
