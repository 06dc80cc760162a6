"""The Worker that the recorded Durable Object cases drive: an interpreter of their steps.

A step names a method or a property by a dotted path and its arguments as tagged JSON; the answer is tagged JSON again.
Python has one dict for JavaScript's Object and Map and one None for null and undefined; `differences` knows that.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import json
import math
import re
from array import array
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from durable_objects import WebSocketRequestResponsePair
from durable_objects.ids import DurableObjectId
from workers import Blob, DurableObject, Request, Response
from workers.compat import web as js
from workers.compat.clock import now_ms
from workers.compat.js_string import js_string
from workers.compat.proxies import JsException, JsMap, JsRangeError, JsTypeError, error_parts, jsnull
from workers.compat.websocket import BlobMessage, WebSocket, WebSocketPair
from workers.runtime.testing import Miniflare

EPOCH = dt.datetime(1970, 1, 1)
START = dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
"""When the virtual time of a replay begins."""
ERRORS = {"TypeError": JsTypeError, "RangeError": JsRangeError}


# -- tagged values


def decode(value: Any, null: Any = None) -> Any:
    """Return the Python value of a tagged input; `null` is what JavaScript's null becomes."""
    if value is None:
        return null
    if isinstance(value, list):
        return [decode(item, null) for item in value]
    if not isinstance(value, dict):
        return value
    if "$t" not in value:
        return {key: decode(item, null) for key, item in value.items()}
    return _decode_tagged(value, null)


def _decode_tagged(value: dict[str, Any], null: Any) -> Any:
    match value["$t"]:
        case "undefined":
            return None
        case "bytes":
            return bytes.fromhex(value["hex"])
        case "float":
            return -0.0 if value["v"] == "-0" else float(value["v"])
        case "bigint":
            return int(value["v"])
        case "date":
            return EPOCH + dt.timedelta(milliseconds=value["ms"])
        case "map":
            return JsMap((decode(key, null), decode(item, null)) for key, item in value["items"])
        case "set":
            return {decode(item, null) for item in value["items"]}
        case "repeat":
            return value["s"] * value["n"]
        case "rows":
            return [f"{value['prefix']}{index}" for index in range(value["n"])]
        case "bigobj":
            return {f"{value['prefix']}{index:04d}": index for index in range(value["n"])}
        case "object":
            return {key: decode(item, null) for key, item in value["v"].items()}
        case "raw":
            return value["v"]
        case "error":
            return ERRORS.get(value["cls"], JsException)(value["message"], name=value["cls"])
        case "f32":
            return memoryview(array("f", value["v"]))
        case "classinst":
            return type("Foo", (), {"a": 1})()
        case kind:
            raise NotImplementedError(f"no Python value for {kind}")


def encode(value: Any, depth: int = 0) -> Any:
    """Return the tagged form of an answer."""
    if depth > 12:
        return {"$t": "deep"}
    if value is None or value is jsnull or isinstance(value, bool):
        return None if not isinstance(value, bool) else value
    if isinstance(value, str):
        return {"$t": "longstr", "len": len(value), "head": value[:60]} if len(value) > 300 else str(value)
    if isinstance(value, int):
        return value if abs(value) < 2**53 else {"$t": "bigint", "v": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$t": "float", "v": str(value)}
    if isinstance(value, (list, tuple)):
        return [encode(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        items = [[encode(key), encode(item, depth + 1)] for key, item in value.items()]
        return {"$t": "dict", "items": items}
    if isinstance(value, (set, frozenset)):
        return {"$t": "set", "items": [encode(item) for item in value]}
    return _encode_host(value)


def _encode_host(value: Any) -> Any:
    if isinstance(value, BlobMessage):
        return {"$t": "instance", "cls": "Blob", "props": {}}
    if isinstance(value, (bytes, memoryview)):
        return {"$t": "bytes", "hex": bytes(value).hex(), "len": len(bytes(value))}
    if isinstance(value, dt.datetime):
        return {"$t": "date", "ms": round((value - EPOCH) / dt.timedelta(milliseconds=1))}
    if isinstance(value, BaseException):
        return encode_error(value)
    if isinstance(value, DurableObjectId):
        return {"$t": "do_id", "str": str(value), "name": value.name}
    if isinstance(value, (Response, js.Response)):
        return {"$t": "response", "status": value.status}
    name = {"DurableObjectStub": "DurableObject"}.get(type(value).__name__, type(value).__name__)
    return {"$t": "instance", "cls": name}


def encode_error(error: BaseException) -> dict[str, Any]:
    name, message = error_parts(error)
    found: dict[str, Any] = {"name": name, "message": message}
    cause = getattr(error, "cause", None)
    if cause is not None:
        found["cause"] = encode_error(cause) if isinstance(cause, BaseException) else encode(cause)
    for key, value in getattr(error, "properties", {}).items():
        found[f"+{key}"] = [encode(item) for item in value] if isinstance(value, list) else encode(value)
    return found


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Return where an answer differs from the recorded one, in the Python reading of the latter."""
    if isinstance(expected, dict):
        return _differences_of_object(expected, actual, path)
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return [f"{path}: expected {expected!r}, got {actual!r}"]
        pairs = zip(expected, actual, strict=True)
        return [line for index, (want, got) in enumerate(pairs) for line in differences(want, got, f"{path}[{index}]")]
    same = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
    return [] if same else [f"{path}: expected {expected!r}, got {actual!r}"]


def _differences_of_object(expected: dict[str, Any], actual: Any, path: str) -> list[str]:
    wrong = [f"{path}: expected {expected!r}, got {actual!r}"]
    if "$any" in expected:
        return []
    if "$re" in expected:
        return [] if isinstance(actual, str) and re.search(expected["$re"], actual) else wrong
    if "$prefix" in expected:
        return [] if isinstance(actual, str) and actual.startswith(expected["$prefix"]) else wrong
    tag = expected.get("$t")
    if tag in {"undefined", "fn", "function"}:
        return [] if actual is None or tag != "undefined" else wrong
    if tag is None and isinstance(actual, dict) and actual.get("$t") == "dict":
        want, got = expected, {key: item for key, item in actual["items"]}
        if set(want) != set(got):
            return wrong
        return [line for key in want for line in differences(want[key], got[key], f"{path}.{key}")]
    if not isinstance(actual, dict):
        return wrong
    if tag == "map":
        return differences(_text_keys(expected["items"]), _text_keys(actual.get("items", [])), path + "<map>")
    if tag == "instance":
        return [] if actual.get("cls") == expected["cls"] else wrong
    if tag == "bigint":
        return [] if actual == {"$t": "bigint", "v": expected["v"]} else wrong
    ignored = {"as", "head"} if tag in {"bytes", "longstr"} else set()
    if (set(expected) - ignored) != (set(actual) - ignored):
        return wrong
    return [
        line for key in set(expected) - ignored for line in differences(expected[key], actual[key], f"{path}.{key}")
    ]


def _text_keys(items: list[Any]) -> list[Any]:
    return [[str(key) if isinstance(key, int) else key, item] for key, item in items]


# -- what Python cannot say

NO_UNDEFINED = "Python has one None, which the SDK sends as null"
NO_COUNTERPART = {
    "function": "the recorded text is JavaScript source",
    "symbol": "Python has no symbols",
    "regexp": "a Python pattern is no JavaScript RegExp",
    "i16": "recorded as a view that plain bytes are not",
}
NO_SUCH_METHOD = {
    "retRegex": "a Python pattern is no JavaScript RegExp",
    "retSymbol": "Python has no symbols",
    "retWeird": "Python dicts have no prototype",
    "retTarget": "the Python SDK has no RpcTarget",
    "throwObj": "Python raises exceptions only",
}


def inexpressible(value: Any) -> str | None:
    """Return why a step has no Python counterpart, None when it has one."""
    if isinstance(value, list):
        return next((reason for item in value if (reason := inexpressible(item))), None)
    if not isinstance(value, dict):
        return None
    tag = value.get("$t")
    if tag in NO_COUNTERPART:
        return NO_COUNTERPART[tag]
    if tag == "bigint" and abs(int(value["v"])) < 2**53:
        return "a small Python int is a number"
    return _inexpressible_call(value) or next(
        (reason for key, item in value.items() if key != "expect" and (reason := inexpressible(item))), None
    )


def _inexpressible_call(step: dict[str, Any]) -> str | None:
    path = str(step.get("call", ""))
    method = path.rpartition(".")[2]
    if method in NO_SUCH_METHOD:
        return NO_SUCH_METHOD[method]
    tags = [item.get("$t") if isinstance(item, dict) else None for item in step.get("args", ())]
    if path in {"ctx.storage.put", "txn.put"} and tags[1:2] == ["undefined"]:
        return NO_UNDEFINED
    if method == "typeName" and "undefined" in tags:
        return NO_UNDEFINED
    if method == "typeName" and "map" in tags:
        return "Python has one dict for Object and Map"
    if method in {"put", "serializeAttachment"} and "classinst" in tags:
        return "an instance of a Python class is not a JavaScript object"
    return None


# -- steps


def member(value: Any, name: str) -> Any:
    """Return a property as JavaScript would: a missing one is undefined, lists and texts have a few of theirs."""
    if name == "length" and isinstance(value, (list, str)):
        return len(value)
    if name == "at" and isinstance(value, list):
        return value.__getitem__
    if name == "toUpperCase" and isinstance(value, str):
        return value.upper
    if isinstance(value, Mapping):
        of_map = {"size": len, "has": lambda found: found.__contains__, "keys": lambda found: lambda: list(found)}
        return of_map[name](value) if name in of_map else value.get(name, getattr(value, name, None))
    if name == "toArray" and isinstance(value, list):
        return lambda: value
    return getattr(value, name, None)


class _Object:
    """JavaScript's `Object`, as far as the cases use it."""

    @staticmethod
    def is_(first: Any, second: Any) -> bool:
        return first is second or (isinstance(first, (int, str)) and first == second)

    @staticmethod
    def assign(target: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        target.update(source)
        return target


class Interpreter:
    """Runs steps in one scope: `roots` (ctx, txn, env, self, ws, ...), saved variables and a log."""

    def __init__(self, roots: dict[str, Any], variables: dict[str, Any], log: list[Any]) -> None:
        self.roots = roots
        self.variables = variables
        self.log = log

    def inside(self, **roots: Any) -> Interpreter:
        return Interpreter({**self.roots, **roots}, self.variables, self.log)

    async def run(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for step in steps:
            try:
                out.append({"ok": encode(await self.step(step))})
            except Exception as error:
                if step.get("rethrow"):
                    raise
                out.append({"error": encode_error(error)})
                if step.get("abortOnError"):
                    break
        return out

    async def step(self, step: dict[str, Any]) -> Any:
        for kind in ("log", "sleep", "throw", "extio", "txn", "txnSync", "bcw", "bcw_bg", "bg", "parallel"):
            if kind in step:
                return await getattr(self, f"_step_{kind}")(step, step[kind])
        if "iter" in step:
            return self._iterate(step)
        if "isPromise" in step:
            value = self._begin(step["isPromise"])
            is_promise = inspect.isawaitable(value)
            if is_promise:
                await value
            return True if is_promise else None
        if "bool" in step:
            return bool(await _settle(self._begin(step["bool"])))
        return await self._call(step)

    def step_sync(self, step: dict[str, Any]) -> Any:
        if "log" in step:
            self.log.append(step["log"])
            return None
        if "txnSync" in step:
            return self._transact_sync(step)
        if "iter" in step:
            return self._iterate(step)
        value = self._chain(self._begin(step), step.get("chain", ()))
        if "save" in step:
            self.variables[step["save"]] = value
            return None
        return value

    async def _call(self, step: dict[str, Any]) -> Any:
        value = self._begin(step)
        if "chain" in step and "get" not in step:
            if step.get("awaitFirst"):
                value = await _settle(value)
            value = self._chain(value, step["chain"])
        if step.get("noawait"):
            return None
        if "save" in step:
            self.variables[step["save"]] = value = value if step.get("nowaitsave") else await _settle(value)
            return value if step.get("show") else None
        return self._chain(await _settle(value), step.get("post", ()))

    def _begin(self, step: dict[str, Any]) -> Any:
        holder, name = self._target(step.get("get") or step["call"])
        if "get" in step:
            value = holder[name] if isinstance(holder, dict) and name in holder else member(holder, name)
            if callable(value) and not step.get("keepfn"):
                return {"$t": "fn"} if "chain" not in step else self._chain(value, step["chain"])
            return self._chain(value, step.get("chain", ()))
        raw = not step["call"].startswith(("ctx.storage", "txn", "env", "self")) and not step["call"].startswith("$s.")
        arguments = [self._argument(item, jsnull if raw else None) for item in step.get("args", ())]
        function = _Object.is_ if step["call"] == "Object.is" else member(holder, name)
        if function is None:
            raise JsTypeError(f"{name} is not a function")
        return function(*arguments)

    def _target(self, path: str) -> tuple[Any, str]:
        root, *rest = path.split(".")
        table = self.variables if root.startswith("$") else self.roots
        root = root.removeprefix("$")
        if not rest:
            return table, root
        holder = table.get(root)
        for name in rest[:-1]:
            holder = member(holder, name)
        return holder, rest[-1]

    def _argument(self, value: Any, null: Any) -> Any:
        if isinstance(value, dict):
            match value.get("$t"):
                case "var":
                    return self.variables[value["name"]]
                case "var2":
                    return self.roots[value["name"]]
                case "ws":
                    return self.roots["ws"]
                case "now_plus":
                    return now_ms() + value["ms"]
                case "date_plus":
                    return EPOCH + dt.timedelta(milliseconds=now_ms() + value["ms"])
                case "wsrr":
                    return WebSocketRequestResponsePair(decode(value["req"]), decode(value["res"]))
                case "cb":
                    return self._callback(value)
                case _:
                    pass
        return decode(value, null)

    def _callback(self, value: dict[str, Any]) -> Any:
        def callback(*args: Any) -> Any:
            self.log.append(f"cb:{value['label']}:{','.join(map(js_string, args))}")
            return decode(value.get("returns"))

        return callback

    def _chain(self, value: Any, chain: Any) -> Any:
        for item in chain:
            if isinstance(item, list):
                value = member(value, item[0])(*[self._argument(argument, None) for argument in item[1:]])
            elif item.startswith("."):
                value = member(value, item[1:])
            else:
                value = member(value, item)()
        return value

    def _iterate(self, step: dict[str, Any]) -> list[Any]:
        holder, name = self._target(step["iter"])
        found: list[Any] = []
        for item in holder[name] if isinstance(holder, dict) else member(holder, name):
            found.append(item)
            if step.get("max") and len(found) >= step["max"]:
                break
        return found

    async def _step_log(self, step: dict[str, Any], text: str) -> None:
        self.log.append(text)

    async def _step_sleep(self, step: dict[str, Any], delay_ms: int) -> None:
        await asyncio.sleep(delay_ms / 1000)

    async def _step_extio(self, step: dict[str, Any], delay_ms: int) -> None:
        await asyncio.sleep(delay_ms / 1000)  # an awaited subrequest is one more wait for the loop

    async def _step_throw(self, step: dict[str, Any], message: str) -> None:
        raise _error(step, message)

    async def _step_txn(self, step: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
        inner: list[Any] = []

        async def closure(txn: Any) -> Any:
            scope = self.inside(txn=txn)
            for item in steps:
                if "throw" in item:
                    raise _error(item, item["throw"])
                try:
                    inner.append({"ok": await scope.step(item)})
                except Exception as error:
                    inner.append({"error": _Encoded(encode_error(error))})
                    if item.get("rethrow"):
                        raise
            return decode(step["returns"]) if "returns" in step else "inner"

        returned = await self.roots["ctx"].storage.transaction(closure)
        return {"inner": inner, "returned": returned}

    async def _step_txnSync(self, step: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
        return self._transact_sync(step)

    def _transact_sync(self, step: dict[str, Any]) -> dict[str, Any]:
        inner: list[Any] = []

        def closure() -> Any:
            for item in step["txnSync"]:
                if "throw" in item:
                    raise _error(item, item["throw"])
                try:
                    inner.append({"ok": self.step_sync(item)})
                except Exception as error:
                    inner.append({"error": _Encoded(encode_error(error))})
                    if item.get("rethrow"):
                        raise
            return decode(step["returns"]) if "returns" in step else None

        return {"inner": inner, "returned": self.roots["ctx"].storage.transactionSync(closure)}

    async def _step_bcw(self, step: dict[str, Any], steps: list[dict[str, Any]]) -> Any:
        async def closure() -> list[Any]:
            found: list[Any] = []
            for item in steps:
                if "throw" in item:
                    raise JsException(item["throw"])
                found.append({"ok": await self.step(item)})
            return found

        return await self.roots["ctx"].blockConcurrencyWhile(closure)

    async def _step_bcw_bg(self, step: dict[str, Any], steps: list[dict[str, Any]]) -> None:
        self.roots["ctx"].blockConcurrencyWhile(lambda: self._all(steps))

    async def _step_bg(self, step: dict[str, Any], steps: list[dict[str, Any]]) -> None:
        self.roots["ctx"].waitUntil(self._all(steps))

    async def _all(self, steps: list[dict[str, Any]]) -> None:
        for item in steps:
            await self.step(item)

    async def _step_parallel(self, step: dict[str, Any], steps: list[dict[str, Any]]) -> list[Any]:
        if all(item.get("call", "").startswith("ctx.storage.") for item in steps):
            # Storage works when it is called: awaiting its answers one by one gives nobody else a turn.
            return [{"ok": await answer} for answer in [self._begin(item) for item in steps]]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._caught(item)) for item in steps]
        return [task.result() for task in running]

    async def _caught(self, step: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": await self.step(step)}
        except Exception as error:
            return {"error": _Encoded(encode_error(error))}


class _Encoded(dict[str, Any]):
    """An error that is tagged JSON already."""


def _error(step: dict[str, Any], message: str) -> Exception:
    return ERRORS.get(step.get("cls", "Error"), JsException)(message)


async def _settle(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


# -- the objects


class Base(DurableObject):
    count = 0

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        Base.count += 1
        self.log: list[Any] = []
        self.vars: dict[str, Any] = {}
        self.instance = Base.count
        self.fn = lambda: 7

    def interpreter(self, **roots: Any) -> Interpreter:
        roots = {"Object": _Object, "ctx": self.ctx, "env": self.env, "self": self, **roots}
        return Interpreter(roots, self.vars, self.log)

    async def steps(self, steps: list[Any]) -> str:
        return json.dumps(await self.interpreter().run(decode_plain(steps)))

    async def logged(self, steps: list[Any], label: str | None) -> str:
        if label:
            self.log.append(f"{label}:start")
        found = await self.interpreter().run(decode_plain(steps))
        if label:
            self.log.append(f"{label}:end")
        return json.dumps(found)

    async def run1(self, step: dict[str, Any]) -> Any:
        return await self.interpreter().step(decode_plain(step))

    def takeLog(self) -> list[Any]:
        log, self.log[:] = list(self.log), []
        return log

    def getInstance(self) -> int:
        return self.instance

    async def alarm(self, info: Any) -> None:
        steps = await self.ctx.storage.get("__alarm")
        self.log.append(
            {
                "alarm": {
                    "retryCount": info.retryCount,
                    "isRetry": info.isRetry,
                    "keys": sorted(info),
                    "scheduledTimeType": "number" if isinstance(info.scheduledTime, int) else "?",
                    "cls": type(info).__name__,
                },
                "getAlarm": await self.ctx.storage.getAlarm(),
                "argc": 1,
            }
        )
        for step in decode_plain(steps) or ():
            await self.interpreter().step(step)

    async def fetch(self, request: Request) -> Response:
        url = js.URL(request.url)
        if url.pathname == "/ws":
            return await self._upgrade(json.loads(url.searchParams.get("opt") or "{}"))
        if url.pathname == "/boom":
            raise JsTypeError("fetch boom")
        return Response(f"do:{request.method}:{url.pathname}")

    async def _upgrade(self, options: dict[str, Any]) -> Response:
        client, server = WebSocketPair()
        scope = self.interpreter(ws=server, client=client)
        for step in options.get("pre", ()):
            await scope.step(step)
        mode = options.get("mode")
        if mode == "standard":
            self._accept_standard(server, options)
        elif mode != "none":
            if "tags" in options:
                self.ctx.acceptWebSocket(server, decode(options["tags"], jsnull))
            else:
                self.ctx.acceptWebSocket(server)
            if "attach" in options:
                server.serializeAttachment(decode(options["attach"]))
        for step in options.get("post", ()):
            await scope.step(step)
        return Response(
            options.get("body"), status=options.get("status", 101), headers=options.get("headers"), web_socket=client
        )

    def _accept_standard(self, server: WebSocket, options: dict[str, Any]) -> None:
        server.accept()

        def on_message(event: Any) -> None:
            kind = "String" if isinstance(event.data, str) else "Blob"
            self.log.append({"ev": "message", "data": encode(event.data), "type": kind})
            if options.get("echo"):
                server.send(event.data)

        def on_close(event: Any) -> None:
            state = server.readyState
            fields = {"code": event.code, "reason": event.reason, "wasClean": event.wasClean, "readyState": state}
            self.log.append({"ev": "close", **fields})
            if options.get("replyClose"):
                server.close(1000 if event.code == 1005 else event.code, "r")

        server.addEventListener("message", on_message)
        server.addEventListener("close", on_close)
        server.addEventListener("error", lambda event: self.log.append({"ev": "error", "message": event.message}))
        self.vars["std"] = server

    async def _handle(self, kind: str, scope: dict[str, Any], event: dict[str, Any]) -> None:
        self.log.append(event)
        for step in decode_plain(await self.ctx.storage.get(f"__h_{kind}")) or ():
            if "throw" in step:
                raise JsException(step["throw"])
            try:
                result = await self.interpreter(**scope).step(step)
                if step.get("logResult"):
                    self.log.append({"result": encode(result)})
            except Exception as error:
                self.log.append({"handlerError": encode_error(error)})
                if step.get("rethrow"):
                    raise

    async def webSocketMessage(self, *args: Any) -> None:
        ws, message = args
        event = {
            "ev": "message",
            "data": encode(message),
            "type": "string" if isinstance(message, str) else "ArrayBuffer",
            "argc": len(args),
            "attachment": encode(ws.deserializeAttachment()),
            "readyState": ws.readyState,
        }
        await self._handle("message", {"ws": ws, "message": message}, event)

    async def webSocketClose(self, *args: Any) -> None:
        ws, code, reason, was_clean = args
        event = {
            "ev": "close",
            "code": code,
            "reason": reason,
            "wasClean": was_clean,
            "readyState": ws.readyState,
            "inList": len(self.ctx.getWebSockets()),
            "argc": len(args),
        }
        await self._handle("close", {"ws": ws, "code": code, "reason": reason, "wasClean": was_clean}, event)

    async def webSocketError(self, ws: Any, error: Any) -> None:
        event = {"ev": "error", "name": error.name, "message": error.message, "readyState": ws.readyState}
        await self._handle("error", {"ws": ws, "error": error}, event)


def decode_plain(value: Any) -> Any:
    """Return steps as plain dicts and lists, whatever way they crossed."""
    if isinstance(value, Mapping):
        return {key: decode_plain(item) for key, item in value.items()}
    return [decode_plain(item) for item in value] if isinstance(value, list) else value


class Obj(Base):
    """The methods that the cases call by RPC."""

    def echo(self, value: Any = None) -> Any:
        return value

    def add(self, first: int, second: int) -> int:
        return first + second

    async def asyncAdd(self, first: int, second: int) -> int:
        return first + second

    def argc(self, *args: Any) -> int:
        return len(args)

    def typeName(self, value: Any = None) -> str:
        kinds: list[tuple[Any, str]] = [
            (type(None), "null"),
            (bool, "Boolean"),
            ((int, float), "Number"),
            (str, "String"),
            (dt.datetime, "Date"),
            (set, "Set"),
            (list, "Array"),
            (Mapping, "Object"),
        ]
        if isinstance(value, BaseException):
            return error_parts(value)[0]
        if isinstance(value, memoryview):
            return {"f": "Float32Array"}.get(value.format, "Uint8Array")
        return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)

    def retUndefined(self) -> None: ...
    def retNull(self) -> None: ...

    def retMap(self) -> JsMap:
        return JsMap({"a": 1})

    def retSet(self) -> set[int]:
        return {1, 2}

    def retDate(self) -> dt.datetime:
        return EPOCH + dt.timedelta(milliseconds=5)

    def retBig(self) -> int:
        return 12345678901234567890

    def retBytes(self) -> bytes:
        return b"\x01\x02"

    retBuf = retBytes

    def retNaN(self) -> float:
        return math.nan

    def retClass(self) -> Any:
        return type("Foo", (), {"a": 1})()

    def retFn(self) -> Any:
        return lambda value: value * 2

    def retErr(self) -> Exception:
        return JsRangeError("value err")

    def retResp(self) -> Response:
        return Response("hi", status=201, headers={"x-a": "b"})

    def retReq(self) -> Request:
        return Request("http://a/b", method="POST", body="q")

    def retHeaders(self) -> Any:
        return js.Headers({"a": "b"})

    def retURL(self) -> Any:
        return js.URL("http://a/")

    def retBlob(self) -> Any:
        return Blob(["x"])

    def retStream(self) -> Any:
        return Response("stream").body

    def retNested(self) -> Any:
        return {"a": {"b": [1, {"c": EPOCH + dt.timedelta(milliseconds=1)}]}, "f": lambda: 3}

    def retCyclic(self) -> Any:
        cycle: dict[str, Any] = {}
        cycle["self"] = cycle
        return cycle

    def retSparse(self) -> Any:
        return [1, None, 3]

    def retUndefProp(self) -> Any:
        return {"a": None, "b": 1}

    def retStub(self) -> Any:
        return self.env.OBJ.get(self.env.OBJ.idFromName("other"))

    def retId(self) -> Any:
        return self.ctx.id

    async def retPromise(self) -> int:
        return 9

    def throwErr(self, message: str) -> None:
        raise JsException(message)

    def throwType(self, message: str) -> None:
        raise JsTypeError("tt")

    def throwRange(self, message: str) -> None:
        raise JsRangeError("rr")

    def throwCustom(self, message: str) -> None:
        raise JsException("custom", name="MyErr", code=7, extra={"a": 1})

    def throwString(self, message: str) -> None:
        raise JsException("just a string")

    def throwUndef(self, message: str) -> None:
        raise JsException("undefined")

    def throwCause(self, message: str) -> None:
        raise JsException("outer", cause=JsException("inner"))

    def throwAgg(self, message: str) -> None:
        raise JsException("agg", name="AggregateError", errors=[JsException("1")])

    def throwDom(self, message: str) -> None:
        raise JsException("dm", name="AbortError", code=20)

    def throwRetryable(self, message: str) -> None:
        raise JsException("retry me", retryable=True, remote="x")

    async def throwAsync(self, message: str) -> None:
        await asyncio.sleep(0)
        raise JsException("async err")

    def callCb(self, function: Any) -> Any:
        return function(5)

    async def callCbAwait(self, function: Any) -> Any:
        return await function(5)

    @property
    def getter(self) -> str:
        return "gv"

    @property
    async def getterPromise(self) -> str:
        return "gp"

    def __priv(self) -> int:
        return 1

    @staticmethod
    def st() -> int:
        return 1

    def _underMethod(self) -> str:
        return "um"

    def doAbort(self, reason: Any = None) -> None:
        self.ctx.abort(reason)

    async def doAbortLater(self, delay_ms: int, reason: str) -> str:
        self.ctx.waitUntil(self._abort_later(delay_ms, reason))
        return "scheduled"

    async def _abort_later(self, delay_ms: int, reason: str) -> None:
        await asyncio.sleep(delay_ms / 1000)
        self.ctx.abort(reason)

    async def putThenAbort(self) -> None:
        await self.ctx.storage.put("k", "v")
        self.ctx.abort("after put")

    async def putNoAwaitThenAbort(self) -> None:
        self.ctx.storage.put("k2", "v")
        self.ctx.abort("after put")

    async def putThenThrow(self) -> None:
        self.ctx.storage.put("k3", "v")
        raise JsException("thrown after put")

    async def bcwThrow(self) -> Any:
        async def closure() -> None:
            raise JsException("bcw failed")

        return await self.ctx.blockConcurrencyWhile(closure)

    async def longPoll(self, delay_ms: int) -> str:
        await asyncio.sleep(delay_ms / 1000)
        return "done"


class NoSql(Base):
    pass


class CtorThrow(DurableObject):
    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        raise JsException("ctor failed")

    def hi(self) -> int:
        return 1


class CtorThrowOnce(DurableObject):
    count = 0

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        CtorThrowOnce.count += 1
        if CtorThrowOnce.count == 1:
            raise JsException("ctor failed once")

    def hi(self) -> str:
        return f"hi after {CtorThrowOnce.count}"


class CtorBcwThrow(DurableObject):
    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        ctx.blockConcurrencyWhile(self._begin)

    async def _begin(self) -> None:
        await self.ctx.storage.get("a")
        raise JsException("init failed")

    def hi(self) -> int:
        return 1


class CtorBcw(DurableObject):
    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self.v = 0
        ctx.blockConcurrencyWhile(self._begin)

    async def _begin(self) -> None:
        await asyncio.sleep(0.05)
        self.v = 99

    def val(self) -> int:
        return self.v


class NoAlarm(DurableObject):
    async def set(self) -> Any:
        try:
            await self.ctx.storage.setAlarm(now_ms() + 1_000_000)
        except JsException as error:
            return {"name": error.name, "message": error.message}
        return "set ok"


class NotExtended:
    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx

    async def fetch(self, request: Request) -> Response:
        return Response("plain class ok")

    def hello(self) -> int:
        return 1


class NoFetch(DurableObject):
    def hi(self) -> int:
        return 1


CLASSES: dict[str, tuple[str, type]] = {
    "OBJ": ("Obj", Obj),
    "NOSQL": ("NoSql", NoSql),
    "CTORTHROW": ("CtorThrow", CtorThrow),
    "CTORONCE": ("CtorThrowOnce", CtorThrowOnce),
    "CTORBCWTHROW": ("CtorBcwThrow", CtorBcwThrow),
    "CTORBCW": ("CtorBcw", CtorBcw),
    "NOALARM": ("NoAlarm", NoAlarm),
    "NOTEXT": ("NotExtended", NotExtended),
    "NOFETCH": ("NoFetch", NoFetch),
}


class _SmallJitter(Random):
    """Retries come early in their range, as they did in the recording."""

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * 0.3


class World:
    """The classes above in the test kit, and their namespaces as `env`; in virtual time unless `is_real`."""

    def __init__(self, root: Path, *, is_real: bool = False) -> None:
        CtorThrowOnce.count = 0
        self._miniflare = Miniflare(
            name="golden",
            script=f"from {__name__} import {', '.join(label for label, _ in CLASSES.values())}",
            durableObjects={
                name: {"className": label, "useSQLite": name != "NOSQL"} for name, (label, _) in CLASSES.items()
            },
            durableObjectsPersist=str(root),
            clock=False if is_real else START,
            random=_SmallJitter(),
        )
        self.env: Any = None
        self.host: Any = None

    async def __aenter__(self) -> World:
        self.host = (await self._miniflare.start()).host
        self.env = await self._miniflare.get_bindings()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._miniflare.dispose()

    def namespace(self, name: str | None) -> Any:
        return getattr(self.env, name or "OBJ")
