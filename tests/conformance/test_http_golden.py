"""Recorded behaviour of request handlers: each JavaScript handler runs on our web objects, behind a real server.

`js_machine.py` runs the handler; a Worker hands it the request and returns its response, a raw HTTP/1.1 client looks at
the bytes. What only JavaScript has (own property names, detached methods) has no meaning in Python and is named below.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from workers.compat import fetcher, web
from workers.compat.buffers import ArrayBuffer
from workers.compat.proxies import JsDict, JsException, JsNull, JsRangeError, JsTypeError
from workers.compat.websocket import WebSocketPair
from workers.runtime.testing.serve import serve_app

SUITE = "http"


def _load(name: str) -> Any:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


_load("js_syntax")
_load("js_builtins")
machine = _load("js_machine")

ONLY_JAVASCRIPT = {
    "ctx/members": "own and prototype property names",
    "ctx/detached-method": "a Python method is bound to its object",
    "globals/misc": "globals that only JavaScript code names",
    "env/types": "names of JavaScript classes",
}
UNOBSERVED = {"date", "connection", "keep-alive"}


class Service:
    """The service that the cases were recorded with, as the binding SVC."""

    async def fetch(self, request: web.Request) -> web.Response:
        url = web.URL(request.url)
        match url.pathname:
            case "/throw":
                raise JsTypeError("svc threw")
            case "/redir":
                return web.Response.redirect("http://x/landed")
            case "/slow":
                await asyncio.Event().wait()
            case "/cookies":
                return web.Response("c", headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])
            case "/gzip":
                return web.Response("plain", headers={"content-encoding": "gzip"})
            case "/ws":
                client, server = WebSocketPair()
                server.accept()
                server.addEventListener("message", lambda event: server.send(f"echo:{event.data}"))
                return web.Response(None, status=101, webSocket=client)
        text = (
            f"{request.method} {url.pathname}{url.search} {await request.text()} {request.headers.get('x-a') or 'null'}"
        )
        return web.Response(text, headers={"x-svc": "1"})

    def method(self, name: str) -> Callable[..., Awaitable[Any]] | None:
        return None


class RpcService(Service):
    """The binding SVCRPC."""

    def method(self, name: str) -> Callable[..., Awaitable[Any]] | None:
        return {"add": self._add, "bad": self._bad}.get(name)

    async def _add(self, left: int, right: int) -> int:
        return left + right

    async def _bad(self) -> None:
        raise JsRangeError("svc bad")


def bindings() -> JsDict:
    return JsDict(
        TXT="t",
        JS=JsDict(a=1),
        DATA=ArrayBuffer(b"\x01\x02\x03"),
        SVC=fetcher.Fetcher(Service()),
        SVCRPC=fetcher.Fetcher(RpcService()),
    )


def shown_error(error: Any) -> JsDict:
    """`encErr` of the recorded handlers."""
    if not isinstance(error, JsException):
        return JsDict(thrown=error)
    extra = {f"+{name}": value for name, value in error.properties.items()}
    return JsDict(name=error.name, message=error.message, **extra)


class Runner:
    """What the Worker under test calls: runs one handler, keeps what a probe returned."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.probed: Any = None

    async def answer(self, request: web.Request, context: Any) -> Any:
        names = {"req": request, "env": bindings(), "ctx": context, "encErr": shown_error}
        value = await machine.Machine(names).run(self.case["handler_js"])
        if self.case["op"] == "probe":
            self.probed = value
            return web.Response("probed")
        return value


WORKER = """
import sys
from workers import WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await sys.http_runner.answer(request.js_object, self.ctx)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "entry.py").write_text(WORKER)
    config = tmp_path / "wrangler.toml"
    config.write_text('name = "recorded"\nmain = "entry.py"\ncompatibility_date = "2026-07-01"\n')
    return config


async def exchange(base: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send one request over a raw connection and return the answer as it was recorded."""
    address = urlsplit(base)
    method, body = request.get("method", "GET"), request.get("body")
    lines = [f"{method} {request.get('path', '/')} HTTP/1.1", f"host: {address.netloc}", "connection: close"]
    for name, value in request.get("headers", {}).items():
        lines.extend(f"{name}: {item}" for item in (value if isinstance(value, list) else [value]))
    data = b"" if body is None else body.encode()
    if request.get("chunked"):
        lines.append("transfer-encoding: chunked")
        data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    elif body is not None:
        lines.append(f"content-length: {len(data)}")
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        async with asyncio.timeout(10):
            raw = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    return parsed(raw)


def parsed(raw: bytes) -> dict[str, Any]:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    if "chunked" in headers.get("transfer-encoding", []):
        body = unchunked(body)
    _, code, text = status.split(" ", 2)
    return {"status": int(code), "statusText": text, "headers": headers, "body": body.decode("utf-8", "replace")}


def unchunked(body: bytes) -> bytes:
    """Join chunks; a body that ends too early gives what had arrived."""
    joined = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        joined, body = joined + body[:length], body[length + 2 :]
    return joined


def plain(value: Any) -> Any:
    """Write a probe's value as the recorder did."""
    if isinstance(value, JsNull):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def without_absent(value: Any) -> Any:
    """Drop members without a value: undefined and null are one thing in Python."""
    if isinstance(value, dict):
        return {key: without_absent(item) for key, item in value.items() if item is not None}
    return [without_absent(item) for item in value] if isinstance(value, list) else value


def check(case: dict[str, Any], got: dict[str, Any], probed: Any) -> None:
    expect = case["expect"]
    if "value" in expect:
        assert got["status"] == 200, got["body"]
        assert without_absent(plain(probed)) == without_absent(expect["value"])
        return
    assert (got["status"], got["statusText"]) == (expect["status"], expect["statusText"]), got["body"]
    if "body_first_line" in expect:
        assert got["headers"]["content-type"] == [expect["content_type"]]
        assert got["body"].split("\n", 1)[0] == expect["body_first_line"]
        return
    assert {name: value for name, value in got["headers"].items() if name not in UNOBSERVED} == expect["headers"]
    assert got["body"] == expect["body"]


async def test_a_recorded_handler_answers_as_recorded(
    case: dict[str, Any], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if case["name"] in ONLY_JAVASCRIPT:
        pytest.skip(f"JavaScript only: {ONLY_JAVASCRIPT[case['name']]}")
    if case["op"] == "scheduled":
        await check_scheduled(case, project, tmp_path)
        return
    runner = Runner(case)
    monkeypatch.setattr(sys, "http_runner", runner, raising=False)
    async with serve_app(project, tmp_path / "state") as (_, base):
        got = await exchange(base, case["request"])
    check(case, got, runner.probed)


async def check_scheduled(case: dict[str, Any], project: Path, tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_text(
        "from workers import WorkerEntrypoint\n\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def scheduled(self, controller, env, ctx):\n"
        "        if controller.cron == '* * * * 1':\n"
        "            raise ValueError('cron failed')\n"
        "        if controller.cron == '* * * * 2':\n"
        "            controller.noRetry()\n"
    )
    async with serve_app(project, tmp_path / "state") as (app, _):
        for expected in case["expect"]:
            outcome, no_retry = await app.scheduled(expected["cron"] or "")
            assert {"outcome": outcome, "noRetry": no_retry} == expected["result"], json.dumps(expected)
