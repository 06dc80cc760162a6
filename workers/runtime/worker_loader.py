"""The worker loader binding: a Worker loads further Workers from source that it has in memory.

https://developers.cloudflare.com/workers/runtime-apis/bindings/worker-loader/
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from weakref import WeakSet, finalize

from durable_objects.rpc import cross, fail
from workers.compat import web
from workers.compat.js_string import js_string
from workers.compat.json_text import js_json
from workers.compat.proxies import JsException, JsNull, JsProxy, JsTypeError, init_options
from workers.runtime.config.models import Service
from workers.runtime.isolate import Isolate, Outbound
from workers.runtime.loader import LoadError, ModuleSpace
from workers.runtime.services import Callee, Link, ServiceBinding

__all__ = ["WorkerLoader", "WorkerStub"]

_NO_NETWORK = (
    "This worker is not permitted to access the internet via global functions like fetch(). It must use capabilities "
    "(such as bindings in 'env') to talk to the outside world."
)
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*")


async def _blocked(request: web.Request) -> web.Response:
    raise JsException(_NO_NETWORK)


@dataclass(slots=True)
class _Code:
    """What a Worker is made of."""

    main: str
    modules: dict[str, bytes]
    flags: list[str] = field(default_factory=list[str])
    env: dict[str, Any] = field(default_factory=dict[str, Any])
    outbound: Outbound | None = None


def _content(name: str, given: Any) -> bytes:
    if isinstance(given, str):
        if not name.endswith((".py", ".js")):
            raise JsTypeError(f'Module "{name}" is given as text: its name must end with ".py" or ".js".')
        return given.encode()
    if isinstance(given, Mapping):
        kinds = cast("Mapping[str, Any]", given)
        for kind in ("py", "js", "cjs", "text"):
            if kind in kinds:
                return js_string(kinds[kind]).encode()
        if "json" in kinds:
            return js_json(kinds["json"]).encode()
        if "data" in kinds:
            return bytes(kinds["data"])
    raise JsTypeError(f'Module "{name}" must be text, or one of {{py, js, cjs, text, data, json}}.')


def _read(given: Any, parent: Outbound) -> _Code:
    """Check a WorkerCode object.

    Raises:
        JsTypeError: Something is missing or cannot be run here.
    """
    code = init_options(given, {})
    main, modules = code.get("mainModule"), code.get("modules")
    if not isinstance(main, str) or not isinstance(modules, Mapping):
        raise JsTypeError("WorkerCode needs `mainModule`, a name, and `modules`, an object of names and their content.")
    contents = {str(name): _content(str(name), item) for name, item in cast("Mapping[Any, Any]", modules).items()}
    if main not in contents:
        raise JsTypeError(f'No such module "{main}": mainModule must be one of {", ".join(contents) or "none"}.')
    if not main.endswith(".py"):
        raise JsTypeError(f'The main module "{main}" is not Python: JavaScript modules cannot be run here.')
    for name in contents:
        if not _PATH.fullmatch(name) or ".." in name.split("/"):
            raise JsTypeError(f'"{name}" cannot be the name of a module.')
    outbound: Outbound = parent
    if "globalOutbound" in code:
        service: Any = code["globalOutbound"]
        outbound = _blocked if service is None or isinstance(service, JsNull) else _through(service)
    env = init_options(code.get("env"), {})
    return _Code(main, contents, [str(flag) for flag in code.get("compatibilityFlags") or ()], env, outbound)


def _through(service: Any) -> Outbound:
    async def send(request: web.Request) -> web.Response:
        answer = await service.fetch(request)
        return getattr(answer, "js_object", answer)

    return send


class _Loaded:
    """One dynamic Worker: its code is asked for at the first call, and again if it could not be loaded."""

    def __init__(self, loader: WorkerLoader, name: str, code: Callable[[], Any]) -> None:
        self._loader = loader
        self._name = name
        self._code = code
        self._callee: Callee | None = None
        self._loading = asyncio.Lock()
        self._folder: TemporaryDirectory[str] | None = None

    async def callee(self) -> Callee:
        """Return the Worker, loaded.

        Raises:
            JsException: Its code cannot be loaded.
        """
        async with self._loading:
            if self._callee is None:
                given = self._code()
                if inspect.isawaitable(given):
                    given = await given
                self._callee = self._load(_read(given, self._loader.outbound))
        return self._callee

    def _load(self, code: _Code) -> Callee:
        folder = TemporaryDirectory(prefix="flarelet-worker-")
        root = Path(folder.name) / (re.sub(r"[^\w-]", "_", self._name) or "worker")[:100]  # tracebacks show it
        for name, content in code.modules.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        assert code.outbound is not None
        isolate = Isolate(
            f"{self._loader.parent}/{self._name}", ModuleSpace(root / code.main), self._loader.tasks, code.outbound,
            code.flags,
        )  # fmt: skip
        isolate.bind(dict(code.env))
        try:
            isolate.load()
        except LoadError as error:
            isolate.unload()
            folder.cleanup()
            raise JsException(f"The Worker {self._name!r} cannot be loaded: {error}") from error
        self._folder = folder
        # Who loads a Worker for each request must not be left with all of them.
        finalize(self, _dispose_soon, asyncio.get_running_loop(), isolate, folder)
        return Callee(isolate, self._loader.tasks)

    async def drain(self) -> None:
        if self._callee is not None:
            self._callee.cancel()
            await self._callee.isolate.drain(0)

    def close(self) -> None:
        if self._callee is not None and self._folder is not None:
            _dispose(self._callee.isolate, self._folder)


def _dispose(isolate: Isolate, folder: TemporaryDirectory[str]) -> None:
    isolate.unload()
    folder.cleanup()


def _dispose_soon(loop: asyncio.AbstractEventLoop, isolate: Isolate, folder: TemporaryDirectory[str]) -> None:
    if loop.is_closed():
        folder.cleanup()
    else:
        loop.call_soon_threadsafe(_dispose, isolate, folder)


class _LateLink(Link):
    """The way to an entrypoint of a Worker that may have to be loaded first."""

    def __init__(self, loaded: _Loaded, service: Service, tasks: asyncio.TaskGroup) -> None:
        super().__init__(service, {})
        self._loaded = loaded
        self._tasks = tasks

    async def fetch(self, request: web.Request) -> web.Response:
        return await self.send(await self._ready(), request)

    async def _ready(self) -> Callee:
        callee, name = await self._loaded.callee(), self._service.entrypoint
        if name is not None and callee.entrypoint(name) is None:
            known = ", ".join(callee.entrypoints) or "none"
            raise JsException(f'The Worker has no such entrypoint "{name}"; it exports {known}')
        return callee

    def call(self, path: tuple[str, ...], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        return self._later(lambda callee: self.ask(callee, path, args))

    def read(self, path: tuple[str, ...]) -> asyncio.Future[Any]:
        return self._later(lambda callee: self.ask(callee, path, None))

    def _later(self, ask: Callable[[Callee], asyncio.Future[Any]]) -> asyncio.Future[Any]:
        async def run() -> None:
            try:
                result = await ask(await self._ready())
            except Exception as error:  # a request
                fail(answer, cross(error, remote=True))
            else:
                if not answer.done():
                    answer.set_result(result)

        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(run(), name="dynamic-worker-call")
        return answer


class WorkerStub(JsProxy):
    """A dynamic Worker."""

    __slots__ = ("_loaded", "_tasks")

    def __init__(self, loaded: _Loaded, tasks: asyncio.TaskGroup) -> None:
        self._loaded = loaded
        self._tasks = tasks

    def getEntrypoint(self, name: Any = None, options: Any = None, **members: Any) -> ServiceBinding:
        """Return the binding of an entrypoint class, by default of the default export; `props` become `ctx.props`."""
        wanted = init_options(options, members)
        entrypoint = None if name is None or isinstance(name, JsNull) else str(name)
        props = init_options(wanted.get("props"), {})
        service = Service(binding="WORKER", service="dynamic", entrypoint=entrypoint, props=props)
        return ServiceBinding(_LateLink(self._loaded, service, self._tasks))

    get_entrypoint = getEntrypoint


class WorkerLoader(JsProxy):
    """`env.LOADER`."""

    def __init__(self, parent: str, tasks: asyncio.TaskGroup, outbound: Outbound) -> None:
        self.parent = parent
        self.tasks = tasks
        self.outbound = outbound
        self._named: dict[str, _Loaded] = {}
        self._once: WeakSet[_Loaded] = WeakSet()
        self._count = 0

    def get(self, name: Any, code: Callable[[], Any]) -> WorkerStub:
        """Return the Worker of a name; `code` is called for its WorkerCode when it is not loaded yet.

        Raises:
            JsTypeError: `code` is not a function.
        """
        if not callable(code):
            raise JsTypeError("Failed to execute 'get' on 'WorkerLoader': parameter 2 is not of type 'Function'.")
        key = "null" if name is None or isinstance(name, JsNull) else js_string(name)
        loaded = self._named.get(key)
        if loaded is None:
            loaded = self._named[key] = _Loaded(self, key, code)
        return WorkerStub(loaded, self.tasks)

    def load(self, code: Any) -> WorkerStub:
        """Return a new Worker of a WorkerCode.

        Raises:
            JsTypeError: The code is not complete.
        """
        _read(code, self.outbound)
        self._count += 1
        loaded = _Loaded(self, f"{self._count}", lambda: code)
        self._once.add(loaded)
        return WorkerStub(loaded, self.tasks)

    async def drain(self) -> None:
        """Stop what the Workers are doing."""
        for loaded in [*self._named.values(), *self._once]:
            await loaded.drain()

    def close(self) -> None:
        """Remove the Workers from the process."""
        for loaded in [*self._named.values(), *self._once]:
            loaded.close()

    def __repr__(self) -> str:
        return "WorkerLoader"
