"""One loaded Worker: its module, entrypoints, env and the work it left running."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from types import ModuleType
from typing import Any

from workers.compat import ambient, stacks, web
from workers.compat.ambient import Ambient, Env
from workers.compat.install import install
from workers.compat.proxies import JsDict, JsProxy, JsTypeError
from workers.entrypoints import DurableObject, WorkerEntrypoint, WorkflowEntrypoint
from workers.runtime.loader import ModuleSpace, exported_classes
from workers.runtime.tracebacks import Report, log_failure, make_report

__all__ = ["ExecutionContext", "Isolate", "Outbound"]

Outbound = Callable[[web.Request], Awaitable[web.Response]]
"""The way out to the network."""

_WAITS_SYNCHRONOUSLY = re.compile(
    rb"\brun_sync\b|\bdjango|\bimport (?:requests|urllib3|httpx)\b|\bfrom (?:requests|urllib3|httpx)\b", re.IGNORECASE
)
_WAIT_UNTIL_S = 30.0  # what Cloudflare gives work after the response

_log = logging.getLogger(__name__)


class ExecutionContext(JsProxy):
    """`ctx` of a stateless handler.

    Attributes:
        props: What the caller's service binding was configured with.
        exports: The Worker's own entrypoints and Durable Object classes, as bindings.
    """

    __slots__ = ("_wait_until", "exports", "props")

    def __init__(self, wait_until: Callable[[Awaitable[object]], None]) -> None:
        self._wait_until = wait_until
        self.props = JsDict()
        self.exports = JsDict()

    def waitUntil(self, *promises: Any) -> None:  # JavaScript's name
        """Let the Worker finish `promise` after its response."""
        if not promises:
            raise JsTypeError(
                "Failed to execute 'waitUntil' on 'ExecutionContext': parameter 1 is not of type 'Promise'."
            )
        self._wait_until(promises[0])

    wait_until = waitUntil

    def passThroughOnException(self) -> None:  # JavaScript's name
        """Accepted; there is no origin behind a local Worker to pass a request to."""

    pass_through_on_exception = passThroughOnException


class Isolate:
    """A Worker that is loaded, or a place for one: a project without `main` has no module."""

    def __init__(
        self,
        name: str,
        space: ModuleSpace | None,
        tasks: asyncio.TaskGroup,
        outbound: Outbound,
        flags: Sequence[str] = (),
        source: str = "",
    ) -> None:
        self.name = name
        self.env = Env({}, source)
        self.ambient = Ambient(self.env, self.wait_until, outbound, name)
        self.context = ExecutionContext(self.wait_until)
        self.module: ModuleType | None = None
        self.default: type[Any] | None = None
        self.classes: dict[str, type[Any]] = {}
        self._space = space
        self._tasks = tasks
        self._flags = tuple(flags)
        self._uninstall: Callable[[], None] | None = None
        self._pending: set[asyncio.Task[None]] = set()

    def load(self) -> None:
        """Import the Worker with its env in place.

        Raises:
            LoadError: The source cannot be loaded.
        """
        if self._space is None:
            return
        self._uninstall = install(self._flags)
        if self._space.mentions(_WAITS_SYNCHRONOUSLY):
            stacks.arm()  # it may be imported as late as in a handler, too late for the event that does it
        with ambient.enter(self.ambient):
            self.module = self._space.load()
        self.classes = exported_classes(self.module, (WorkerEntrypoint, DurableObject, WorkflowEntrypoint))
        default = self.classes.get("Default")
        if default is not None and issubclass(default, WorkerEntrypoint):
            self.default = default

    def bind(self, bindings: dict[str, object]) -> None:
        """Add bindings; those that need the Worker's own classes come after `load`."""
        self.env.__dict__.update(bindings)

    def function(self, name: str) -> Callable[..., Any] | None:
        """Return a module-level handler of the older style, such as `on_fetch`."""
        value = getattr(self.module, name, None)
        return value if callable(value) else None

    def report(self, error: BaseException) -> Report:
        """Describe an exception with the Worker's own frames first."""
        if self._space is not None:
            return self._space.report(error)
        return make_report(error, lambda path: False, str)

    def is_own(self, path: str) -> bool:
        """Say whether a file is the Worker's own source."""
        return self._space is not None and self._space.is_source(path)

    @property
    def source_folders(self) -> list[str]:
        """The folders whose modules are the Worker's own."""
        return self._space.source_folders if self._space is not None else []

    def wait_until(self, awaitable: object) -> None:
        """Own work that outlives its request; a failure is logged and hurts nobody else."""
        if inspect.isawaitable(awaitable):
            task = self._tasks.create_task(self._finish(awaitable), name=f"wait-until-{self.name}")
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _finish(self, awaitable: Awaitable[object]) -> None:
        limit = asyncio.timeout(_WAIT_UNTIL_S)
        try:
            async with limit:
                await (stacks.call(lambda: awaitable) if stacks.is_armed() else awaitable)
        except Exception as error:  # a task root
            if limit.expired():
                _log.warning("waitUntil: work was cancelled after %d s", _WAIT_UNTIL_S, extra={"worker": self.name})
            else:
                log_failure(_log, self.report(error), error, self.name, "waitUntil: ")

    @property
    def pending(self) -> list[asyncio.Task[None]]:
        """The work given to `waitUntil` that has not ended."""
        return list(self._pending)

    async def drain(self, timeout_s: float) -> None:
        """Let work given to `waitUntil` finish for a while, then cancel it."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=timeout_s)
        for task in self._pending:
            task.cancel()

    def unload(self) -> None:
        """Remove the Worker's modules from the process."""
        if self._space is not None:
            self._space.unload()
        if self._uninstall is not None:
            self._uninstall()
