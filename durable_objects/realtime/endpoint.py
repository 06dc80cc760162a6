"""The endpoint's HTTP half: history for clients, `/internal/hooks/rpc` for servers."""

from __future__ import annotations

import logging
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from durable_objects.realtime.admission import admission
from durable_objects.realtime.core.access import Connection, admit_server, bearer, credentials, local_origin
from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.protocol import dumps, loads
from durable_objects.realtime.directory import Directory
from durable_objects.realtime.guard import Guards
from durable_objects.realtime.server_api import METHODS, Caller
from workers.request import Request
from workers.response import Response

__all__ = ["admit_caller", "answer_history", "answer_rpc", "cors_for", "error_body"]

_JSON = {"content-type": "application/json"}
_CORS = {"access-control-allow-methods": "GET, OPTIONS", "access-control-max-age": "86400"}
_CORS_HEADERS = "authorization, content-type, x-aerostack-key, x-project-id, x-request-id"

_log = logging.getLogger(__name__)


def error_body(error: RealtimeError, *, headers: dict[str, str] | None = None, **more: object) -> Response:
    """Return an HTTP answer `{code, message}`, with the code's number and further members."""
    body = {"code": error.code.name, "number": error.code.number, "message": error.message, **more}
    return Response(dumps(body), status=error.code.status, headers={**_JSON, **(headers or {})})


async def answer_history(request: Request, directory: Directory, guards: Guards) -> Response:
    """Answer `GET ...history?room=&limit=&before=` with `{"messages": [...]}`, newest first.

    With keys, pages from everywhere may read it: what they need to know is the key. Without, only pages of this
    machine, as for sockets. An error body has empty `messages` too, since a public client reads them without looking
    at the status.
    """
    cors: dict[str, str] = {}
    try:
        cors = cors_for(request, directory)
        if request.method == "OPTIONS":
            wanted = request.headers.get("access-control-request-headers") or _CORS_HEADERS
            return Response(None, status=204, headers={**cors, "access-control-allow-headers": wanted})
        if request.method != "GET":
            raise RealtimeError(Code.METHOD_NOT_ALLOWED, f"history is read with GET, not {request.method}")
        return Response(await _history(request, directory, guards), headers={**_JSON, **cors})
    except RealtimeError as error:
        return error_body(error, headers=cors, messages=[])


def cors_for(request: Request, directory: Directory) -> dict[str, str]:
    """Return the headers that let a page read the answer.

    Raises:
        RealtimeError: CROSS_SITE, the endpoint is open and the page is not of this machine.
    """
    if not directory.settings.is_open:
        return {**_CORS, "access-control-allow-origin": "*", "vary": "origin"}
    headers = request.headers
    origin = headers.get("origin")
    if origin is None:
        return {"vary": "origin"}
    if not local_origin(origin, headers.get("host") or urlsplit(request.url).netloc):
        raise RealtimeError(Code.CROSS_SITE, f"without keys, pages of {origin[:200]} may not read this")
    return {**_CORS, "access-control-allow-origin": origin, "vary": "origin"}


async def _history(request: Request, directory: Directory, guards: Guards) -> str:
    headers, settings = request.headers, directory.settings
    query = parse_qs(urlsplit(request.url).query)
    keys = (headers.get("x-aerostack-key"), *query.get("apiKey", ()))
    tokens = (bearer(headers.get("authorization")), *query.get("token", ()))
    rights = await admission(credentials(keys=keys, tokens=tokens), directory)
    room = query.get("room", [""])[0]
    if not room:
        raise RealtimeError(Code.BAD_REQUEST, "query parameter room is missing", "room")
    limit = _number(query.get("limit"), "limit", settings.history_page)
    if limit < 1:
        raise RealtimeError(Code.BAD_REQUEST, f"limit is {limit}, but must be at least 1", "limit")
    before = _number(query.get("before"), "before", None)
    name = directory.topic(room, (*query.get("projectId", ()), headers.get("x-project-id", "")))
    user_id = rights.user_id if rights.role == "jwt" else query.get("userId", [None])[0]
    reader = Connection(directory.new_id(), user_id, rights.role, settings.project, rights.claims)
    guards.allow(reader, "history", name)
    who = dumps(reader.described())
    stub, count = directory.stub(name.text), min(limit, settings.history_page_max)
    try:
        is_allowed, text = await stub.history_json(who, room, count, before)
    except Exception as error:  # a request: whatever the object or its class raised
        _log.exception("history of %s failed", name.text, extra={"topic": name.text})
        raise RealtimeError(Code.TOPIC_UNAVAILABLE, f"topic {name.text} could not be reached") from error
    if not is_allowed:
        raise RealtimeError(Code.REFUSED, text)
    return text


def _number(values: list[str] | None, name: str, default: Any) -> Any:
    text = (values or [""])[0].strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError as error:
        raise RealtimeError(Code.BAD_REQUEST, f"{name} is {text[:40]!r}, but must be an integer", name) from error
    if abs(value) >= 2**53:
        raise RealtimeError(Code.BAD_REQUEST, f"{name} is not below 2^53", name)
    return value


async def answer_rpc(request: Request, directory: Directory, guards: Guards) -> Response:
    """Answer `POST /internal/hooks/rpc`: `{"method", "args"}` -> the method's result as JSON.

    A missing method is answered as text; any other failure as `{"error": {code, message}}`.
    """
    try:
        if request.method != "POST":
            raise RealtimeError(Code.METHOD_NOT_ALLOWED, f"the server API is called with POST, not {request.method}")
        admit_caller(request, directory)
        method, args = await _call_of(request, directory)
        call = METHODS.get(method)
        if call is None:
            return Response(f"unknown method {method!r}; known: {', '.join(METHODS)}\n", status=404)
        return Response(dumps(await call(Caller(directory, guards), args)), headers=_JSON)
    except RealtimeError as error:
        return _rpc_error(error)
    except Exception:  # a request: whatever a topic's object or the database raised
        _log.exception("a call of the server API failed")
        return _rpc_error(RealtimeError(Code.TOPIC_UNAVAILABLE, "the call failed; the server's log says why"))


def _rpc_error(error: RealtimeError) -> Response:
    body = {"error": {"code": error.code.name, "number": error.code.number, "message": error.message}}
    return Response(dumps(body), status=error.code.status, headers=_JSON)


def admit_caller(request: Request, directory: Directory) -> None:
    """Let only servers call.

    Raises:
        RealtimeError: As `admit_server`.
    """
    headers = request.headers
    given = credentials(keys=(headers.get("x-as-dispatch-token"), bearer(headers.get("authorization"))))
    host = headers.get("host") or urlsplit(request.url).netloc
    admit_server(
        given,
        directory.settings,
        origin=headers.get("origin"),
        host=host,
        fetch_site=headers.get("sec-fetch-site"),
    )


async def _call_of(request: Request, directory: Directory) -> tuple[str, list[Any]]:
    limit = directory.settings.rpc_max_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise RealtimeError(Code.TOO_BIG, f"body is larger than {limit} bytes")
    text = await request.text()
    if len(text) > limit:
        raise RealtimeError(Code.TOO_BIG, f"body is larger than {limit} bytes")
    try:
        call = loads(text)
    except ValueError as error:
        raise RealtimeError(Code.NOT_JSON, f"body is not JSON: {error}") from error
    if not isinstance(call, dict):
        raise RealtimeError(Code.NOT_AN_OBJECT, 'body must be an object {"method": ..., "args": [...]}')
    fields = cast("dict[str, Any]", call)
    method, args = fields.get("method"), fields.get("args", [])
    if not isinstance(method, str):
        raise RealtimeError(Code.BAD_REQUEST, "method must be a string", "method")
    if not isinstance(args, list):
        raise RealtimeError(Code.BAD_REQUEST, "args must be an array", "args")
    return method, cast("list[Any]", args)
