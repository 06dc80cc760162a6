"""JSON in and out of the examples' small HTTP APIs: read an object, answer with a problem."""

from __future__ import annotations

import json
from typing import Any

from workers import Request, Response

MAX_BODY = 16_384


class Refused(Exception):
    """A request that is not accepted: an HTTP status, and what is wrong in words for the person who sent it."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers

    def response(self) -> Response:
        """Return the answer that says so: `{"error": message}`."""
        return Response.json({"error": str(self)}, status=self.status, headers=self.headers)


async def read_object(request: Request) -> dict[str, Any]:
    """Read the JSON object that was sent; an empty body is an empty object.

    Raises:
        Refused: 413, 415 or 400, when it is too long, of another type or not a JSON object.
    """
    text = await request.text()
    if not text:
        return {}
    if len(text) > MAX_BODY:
        raise Refused(413, f"the body must not be longer than {MAX_BODY} characters")
    # Asking for this type also keeps a form on some other site from writing here: its browser asks us first.
    if (request.headers.get("content-type") or "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send the body as application/json")
    try:
        value = json.loads(text)
    except ValueError:
        raise Refused(400, "the body must be JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


def require_method(request: Request, *allowed: str) -> None:
    """Refuse a request whose method is not one of these, with 405."""
    if request.method not in allowed:
        raise Refused(405, f"use {' or '.join(allowed)}", allow=", ".join(allowed))
