"""Service bindings: `env.OTHER.fetch(...)` and `env.OTHER.method(...)` reach another Worker of this process.

A call is issued when it is made, runs in a task of the called Worker and is its alone: neither side sees the other's
env, gates or sockets. https://developers.cloudflare.com/workers/runtime-apis/bindings/service-bindings/
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, cast

from workers.compat import ambient, stacks, web
from workers.compat.fetcher import Fetcher
from workers.compat.proxies import JsDict, JsException, JsTypeError, init_options
from workers.entrypoints import DurableObject, WorkerEntrypoint, WorkflowEntrypoint
from workers.request import Request
from workers.response import FetchResponse, Response
from workers.runtime.config.models import Service
from workers.runtime.dispatch import accepted
from workers.runtime.isolate import ExecutionContext, Isolate

if TYPE_CHECKING:
    from durable_objects.rpc import Member  # it is imported at the first call: most Workers have no service bindings

__all__ = ["Callee", "Export", "Link", "ServiceBinding"]

_RESERVED = frozenset({"fetch", "scheduled", "queue", "email", "tail", "trace", "test", "alarm", "dup", "constructor"})
_BASES = (WorkerEntrypoint, DurableObject, WorkflowEntrypoint, object)
_NOT_A_RESPONSE = "Incorrect type for Promise: the Promise did not resolve to 'Response'."
_NO_FETCH = "Handler does not export a fetch() function."


class Callee:
    """A Worker as its callers see it."""

    def __init__(self, isolate: Isolate, tasks: asyncio.TaskGroup) -> None:
        self.isolate = isolate
        self.front: Callable[[web.Request, Callable[[web.Request], Awaitable[web.Response]]], Awaitable[web.Response]]
        """What stands before the default entrypoint's fetch, such as static files."""
        self.front = _straight
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    def entrypoint(self, name: str | None) -> type[Any] | None:
        """Return the entrypoint class of a name; the default export for None."""
        if name is None or name == "default":
            return self.isolate.default
        found = self.isolate.classes.get(name)
        return found if found is not None and issubclass(found, WorkerEntrypoint) else None

    @property
    def entrypoints(self) -> list[str]:
        """The names of the entrypoint classes."""
        return sorted(name for name, found in self.isolate.classes.items() if issubclass(found, WorkerEntrypoint))

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Run a call in a task of its own; cancelling the future that is returned cancels the call."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        task = self._tasks.create_task(self._settle(work, future), name=f"service-{self.isolate.name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        future.add_done_callback(lambda done: task.cancel() if done.cancelled() else None)
        return future

    async def _settle(self, work: Coroutine[Any, Any, Any], future: asyncio.Future[Any]) -> None:
        from workers.compat.websocket import current_owner

        current_owner.set(None)  # a Durable Object may have called: the sockets sent to here are not its output
        try:
            with ambient.enter(self.isolate.ambient):
                result = await (stacks.stacked(work) if stacks.is_armed() else work)
        except Exception as error:  # a request
            if not future.done():
                future.set_exception(error)
                future.exception()  # read once, so that a call nobody awaits is no complaint
        except asyncio.CancelledError:
            if not future.done():
                future.set_exception(JsException("The Worker was stopped while it handled this call."))
                future.exception()
            raise
        else:
            if not future.done():
                future.set_result(result)

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """The calls that have not ended."""
        return list(self._running)

    def cancel(self) -> None:
        """Stop the calls that are running."""
        for task in self._running:
            task.cancel()

    # -- what calls do

    async def fetch(self, request: web.Request, name: str | None, context: ExecutionContext) -> web.Response:
        """Answer a request; an exception of the handler is raised."""
        cls = self.entrypoint(name)

        async def handler(request: web.Request) -> web.Response:
            return await self._handle(cls, request, context)

        return await (handler(request) if name is not None else self.front(request, handler))

    async def _handle(self, cls: type[Any] | None, request: web.Request, context: ExecutionContext) -> web.Response:
        env = self.isolate.env
        if cls is not None and callable(getattr(cls, "fetch", None)):
            function = cls(context, env).fetch
            arguments: tuple[Any, ...] = (Request(request), None, None)
        else:
            function = self.isolate.function("on_fetch") if cls is None else None
            if function is None:
                raise JsTypeError(_NO_FETCH)
            arguments = (Request(request), env, context)
        result: Any = function(*arguments[: accepted(function, 3)])
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, FetchResponse):
            return result.js_object
        if isinstance(result, web.Response):
            return result
        raise JsTypeError(_NOT_A_RESPONSE)

    async def reach(
        self, name: str | None, path: tuple[str, ...], context: ExecutionContext, args: tuple[Any, ...] | None
    ) -> Any:
        """Call a method, or read a property when `args` is None."""
        from durable_objects.errors import ReceiverHasNoMethod
        from durable_objects.rpc import clone

        cls = self.entrypoint(name)
        if cls is None:
            raise ReceiverHasNoMethod(path[0])
        value: Any = _member(cls, cls(context, self.isolate.env), path[0])
        for step in path[1:]:
            value = cast("dict[str, Any]", value)[step] if isinstance(value, dict) else getattr(value, step)
        if args is not None:
            value = value(*args)
        return clone(await value if inspect.isawaitable(value) else value)


async def _straight(request: web.Request, handler: Callable[[web.Request], Awaitable[web.Response]]) -> web.Response:
    return await handler(request)


def _member(cls: type[Any], instance: Any, name: str) -> Any:
    """Return what RPC may reach on an entrypoint: methods and properties of its own classes.

    Raises:
        JsTypeError: There is none of that name, or it is a handler.
    """
    from durable_objects.errors import ReceiverHasNoMethod

    if name in _RESERVED:
        raise JsTypeError(f"'{name}' is a reserved method and cannot be called over RPC.")
    for kind in cls.__mro__:
        if kind in _BASES:
            break
        member = vars(kind).get(name)
        if inspect.isfunction(member) or isinstance(member, property):
            return getattr(instance, name)
        if member is not None:
            break
    raise ReceiverHasNoMethod(name)


class Link:
    """The way from a binding to its Worker, looked up at each call: Workers may bind each other."""

    def __init__(self, service: Service, callees: Mapping[str, Callee]) -> None:
        self._service = service
        self._callees = callees
        self._context: ExecutionContext | None = None

    def _callee(self) -> Callee:
        found = self._callees.get(self._service.service)
        if found is None:
            raise JsException(
                f'env.{self._service.binding} is bound to the Worker "{self._service.service}", which is not running '
                "here; name its configuration too: flarelet dev -c wrangler.toml -c OTHER/wrangler.toml"
            )
        return found

    def _called(self, callee: Callee) -> ExecutionContext:
        if self._context is None:
            self._context = ExecutionContext(callee.isolate.wait_until)
            self._context.props = JsDict.wrap(self._service.props)
            self._context.exports = callee.isolate.context.exports
        return self._context

    async def fetch(self, request: web.Request) -> web.Response:
        """Send a request; an exception of the handler is raised."""
        return await self.send(self._callee(), request)

    def method(self, name: str) -> None:
        """Nothing: `ServiceBinding` has its own way to methods."""

    def call(self, path: tuple[str, ...], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Call a method."""
        return _crossed(self.ask(self._callee(), path, args))

    def read(self, path: tuple[str, ...]) -> asyncio.Future[Any]:
        """Read a property."""
        return _crossed(self.ask(self._callee(), path, None))

    def send(self, callee: Callee, request: web.Request) -> asyncio.Future[web.Response]:
        """Issue a request."""
        name = self._service.entrypoint
        return _issue(callee, lambda: callee.fetch(request, name, self._called(callee)))

    def ask(self, callee: Callee, path: tuple[str, ...], args: tuple[Any, ...] | None) -> asyncio.Future[Any]:
        """Issue a call, or the reading of a property when `args` is None."""
        name = self._service.entrypoint
        return _issue(callee, lambda: callee.reach(name, path, self._called(callee), args))


def _issue(callee: Callee, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Future[Any]:
    """Start a call, after what a Durable Object that makes it has written."""
    from durable_objects.rpc import send

    return send(lambda future: _follow(callee.start(work()), future))


def _follow(source: asyncio.Future[Any], target: asyncio.Future[Any]) -> None:
    from durable_objects.rpc import fail

    def done(source: asyncio.Future[Any]) -> None:
        if target.done():
            return
        error = source.exception()
        if error is None:
            target.set_result(source.result())
        else:
            fail(target, error)

    source.add_done_callback(done)
    target.add_done_callback(lambda target: source.cancel() if target.cancelled() else None)


def _crossed(answer: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """Return the answer as the caller sees it: an error is a copy that says it is from afar."""
    from durable_objects.rpc import cross, fail

    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(answer: asyncio.Future[Any]) -> None:
        if future.done():
            return
        error = answer.exception()
        if error is None:
            future.set_result(answer.result())
        else:
            fail(future, cross(error, remote=True))

    answer.add_done_callback(done)
    return future


class ServiceBinding(Fetcher):
    """`env.OTHER`."""

    __slots__ = ("_link",)

    __rpc_stub__ = True

    def __init__(self, link: Link) -> None:
        self._link = link
        super().__init__(link, Response)

    def __getattr__(self, name: str) -> Member:
        if name.startswith("_") or name in ("then", "js_object", "to_bytes", "toJSON"):
            raise AttributeError(name)
        from durable_objects.rpc import Member

        return Member(self._link, (name,))

    def __repr__(self) -> str:
        return "Fetcher"


class Export(ServiceBinding):
    """An entrypoint in `ctx.exports`: a binding of its own, and called with `{props}` one that has them."""

    __slots__ = ("_callees", "_name", "_service")

    def __init__(self, service: str, name: str | None, callees: Mapping[str, Callee]) -> None:
        self._service, self._name, self._callees = service, name, callees
        super().__init__(Link(Service(binding="exports", service=service, entrypoint=name), callees))

    def __call__(self, options: Any = None, **members: Any) -> ServiceBinding:
        """Return the binding with `props`."""
        props = init_options(init_options(options, members).get("props"), {})
        service = Service(binding="exports", service=self._service, entrypoint=self._name, props=props)
        return ServiceBinding(Link(service, self._callees))
