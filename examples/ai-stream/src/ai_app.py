"""A question, and an answer that streams to everyone in the session: pages, HTTP API, and the object that writes.

The convention on the topic `ai-chat/<session>`: `ai:prompt` `{id, prompt}` begins an answer, each `ai:token`
`{id, index, token}` goes on with it, `ai:done` `{id, count}` ends it. Who sees a gap in `index` asks for the text
so far.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from demo_writer import write_tokens
from json_api import Refused, read_object, require_method
from pages import Pages

from workers import DurableObject, Request, Response

pages = Pages("/ai-stream", Path(__file__).resolve().parent / "page")

MAX_PROMPT = 500


async def respond(request: Request, env: Any, path: str) -> Response | None:
    """Answer what belongs to this example, None for every other path."""
    if page := pages.respond(request, path):
        return page
    try:
        if path == "/api/ask":
            return await _ask(request, env)
        if path == "/api/answer":
            require_method(request, "GET")
            session = _parse_session(parse_qs(urlsplit(request.url).query).get("session", [""])[0])
            return Response.json({"answer": await env.WRITER.getByName(session).read()})
    except Refused as refused:
        return refused.response()
    return None


async def _ask(request: Request, env: Any) -> Response:
    require_method(request, "POST")
    body = await read_object(request)
    session, prompt = _parse_session(body.get("session")), body.get("prompt")
    if not isinstance(prompt, str) or not 1 <= len(prompt := prompt.strip()) <= MAX_PROMPT:
        raise Refused(400, f"prompt must be a text of 1 to {MAX_PROMPT} characters")
    number = await env.WRITER.getByName(session).ask(session, prompt)
    if number is None:
        raise Refused(409, "an answer is being written: wait until it is done")
    return Response.json({"id": number}, status=202)


def _parse_session(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.-]{1,40}", value):
        raise Refused(400, "session must be a name of 1 to 40 letters, digits, '-', '_' or '.'")
    return value


class Writer(DurableObject):
    """Writes the answers of one session, one at a time, and remembers the last one for those who come late."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self._answer: dict[str, Any] | None = None
        self._is_writing = False

    async def read(self) -> dict[str, Any] | None:
        """Return the last answer as far as it is written: id, prompt, text, count of tokens, done, interrupted."""
        if self._answer is None:
            self._answer = await self.ctx.storage.get("answer")
            if self._answer is not None and not self._answer["done"]:
                # The writer was stopped in the middle of it; nobody goes on.
                self._answer = {**self._answer, "done": True, "interrupted": True}
        return self._answer

    async def ask(self, session: str, prompt: str) -> int | None:
        """Begin to write the answer to `prompt`. Returns its number, None while another one is being written."""
        if self._is_writing:
            return None
        self._is_writing = True  # before any await: a second question finds it set
        last = await self.read()
        number = (last["id"] if last else 0) + 1
        self._answer = {"id": number, "prompt": prompt, "text": "", "count": 0, "done": False, "interrupted": False}
        await self.ctx.storage.put("answer", self._answer)
        self.ctx.waitUntil(self._write(f"ai-chat/{session}", self._answer))
        return number

    async def _write(self, topic: str, answer: dict[str, Any]) -> None:
        """Emit the answer token by token: stored first, so that no viewer has read what a restart forgets.

        Each emit is awaited, so tokens cannot overtake each other.
        """
        emit = self.env.REALTIME.emit
        delay_s = int(self.env.TOKEN_DELAY_MS) / 1000
        try:
            await emit("ai:prompt", {"id": answer["id"], "prompt": answer["prompt"]}, topic)
            for index, token in enumerate(write_tokens(answer["prompt"])):
                await asyncio.sleep(delay_s)
                answer["text"] += token
                answer["count"] = index + 1
                await self.ctx.storage.put("answer", answer)
                await emit("ai:token", {"id": answer["id"], "index": index, "token": token}, topic)
            answer["done"] = True
            await self.ctx.storage.put("answer", answer)
            await emit("ai:done", {"id": answer["id"], "count": answer["count"]}, topic)
        finally:
            self._is_writing = False
