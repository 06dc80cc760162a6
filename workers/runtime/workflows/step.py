"""`step`, what a Workflow's `run` gets: each step's result is on disk before `run` goes on."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from workers.compat import stacks
from workers.compat.proxies import JsDict, JsException, error_parts, init_options
from workers.compat.structured_clone import serialize
from workers.compat.v8_reader import deserialize
from workers.rpc import python_from_rpc, python_to_rpc
from workers.runtime.workflows.durations import StepConfig, date_ms, duration_ms, read_config
from workers.runtime.workflows.store import StepRow
from workers.workflows import NonRetryableError

__all__ = ["Journal", "WorkflowStep", "dump_error", "load_error", "pack", "unpack"]


class Journal(Protocol):
    """An instance as its steps see it."""

    def now_ms(self) -> int:
        """The date."""
        ...

    def read(self, key: str) -> StepRow:
        """Return what is known of a step."""
        ...

    def write(self, key: str, step: StepRow) -> None:
        """Put a step on disk."""
        ...

    async def gate(self) -> None:
        """Wait while the instance is paused."""
        ...

    async def wait_until(self, wake_ms: int) -> None:
        """Wait for a date."""
        ...

    async def event(self, kind: str, key: str, wake_ms: int) -> bytes | None:
        """Wait for an event until a date; None when none came."""
        ...


def pack(value: object) -> bytes:
    """Return the structured clone of a value as bytes."""
    return serialize(python_to_rpc(value))


def unpack(data: bytes) -> Any:
    """Return the value of a structured clone, as Python code gets it."""
    return python_from_rpc(deserialize(data))


def dump_error(error: BaseException) -> str:
    """Return an exception as JSON text."""
    name, message = error_parts(error)
    kind = type(error).__name__
    return json.dumps({"name": name, "message": message, "class": kind, "text": str(error)})


# DIFFERS(workflow-errors): the SDK finds TypeError, ValueError and NonRetryableError in the text of a traceback.
def load_error(text: str) -> Exception:
    """Return the exception of `dump_error`: of its class when that is Python's own, else a `JsException`."""
    told = json.loads(text)
    if told["class"] == NonRetryableError.__name__:
        return NonRetryableError(told["text"])
    cls = getattr(builtins, told["class"], None)
    if isinstance(cls, type) and issubclass(cls, Exception) and not issubclass(cls, UnicodeError | ExceptionGroup):
        return cls(told["text"])
    return JsException(told["message"], name=told["name"])


class WorkflowStep:
    """The steps of one run of an instance. A name used again is another step: a count tells them apart."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._counts: Counter[str] = Counter()
        self._declared: dict[str, Callable[[], Awaitable[Any]]] = {}
        self._results: dict[Callable[[], Awaitable[Any]], asyncio.Future[Any]] = {}

    def _key(self, kind: str, name: str) -> tuple[str, int]:
        self._counts[f"{kind}:{name}"] += 1
        count = self._counts[f"{kind}:{name}"]
        return f"{kind}:{name}-{count}", count

    # -- do

    # DIFFERS(workflow-do): the SDK has one of the two ways to name dependencies, by a flag, and no call form.
    def do(
        self, name: Any = None, depends: Any = None, *more: Any, concurrent: bool = False, config: Any = None
    ) -> Any:
        """Declare a step, as a decorator; or run one, when a function is given: `await step.do(name, function)`.

        Args:
            name: The step's name; the function's without it.
            depends: Steps whose results are the arguments; without it they are found by the parameters' names.
            more: After a configuration in second place, the function to call.
            concurrent: Run the steps it depends on side by side.
            config: `{"retries": {"limit", "delay", "backoff"}, "timeout"}`.
        """
        if more and callable(more[0]):
            return self._step(str(name), None, False, depends, more[0])()
        if callable(depends):
            return self._step(str(name), None, False, config, depends)()
        if more:  # depends, concurrent, config by place
            concurrent, config = bool(more[0]), more[1] if len(more) > 1 else config

        def decorator(function: Callable[..., Any]) -> Callable[[], Awaitable[Any]]:
            step_name = function.__name__ if name is None else str(name)
            step = self._step(step_name, depends, concurrent, config, function)
            self._declared[step_name] = self._declared[function.__name__] = step
            return step

        return decorator

    def _step(
        self,
        name: str,
        depends: Sequence[Callable[[], Awaitable[Any]]] | None,
        concurrent: bool,
        config: object,
        function: Callable[..., Any],
    ) -> Callable[[], Awaitable[Any]]:
        async def step() -> Any:
            sources = self._sources(function, depends)
            arguments = await self._resolve(sources, concurrent)
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._results[step] = future
            try:
                result = await self._run(name, read_config(config), function, arguments)
            except BaseException as error:
                del self._results[step]  # the next who needs it tries again
                if isinstance(error, asyncio.CancelledError):
                    future.cancel()
                else:
                    future.set_exception(error)
                    future.exception()  # read once: nobody may be waiting
                raise
            future.set_result(result)
            return result

        step._step_name = name  # pyright: ignore[reportFunctionMemberAccess]
        return step

    def _sources(
        self, function: Callable[..., Any], depends: Sequence[Callable[[], Awaitable[Any]]] | None
    ) -> list[Callable[[], Awaitable[Any]] | None]:
        """Return the step behind each parameter, None for `ctx`."""
        names = list(inspect.signature(function).parameters)
        wanted = [name for name in names if name != "ctx"]
        if depends is None:
            for name in wanted:
                if name not in self._declared:
                    raise TypeError(f"Received unexpected parameter {name}")
            return [None if name == "ctx" else self._declared[name] for name in names]
        if len(depends) != len(wanted):
            raise TypeError(
                f"Step declares {len(wanted)} non-ctx parameter(s) but 'depends' has {len(depends)} item(s)"
            )
        given = dict(zip(wanted, depends, strict=True))
        for name, source in given.items():
            if not hasattr(source, "_step_name"):
                raise TypeError(f"'depends' entry for parameter {name!r} is not a function decorated with step.do")
        return [given.get(name) for name in names]

    async def _resolve(self, sources: list[Callable[[], Awaitable[Any]] | None], concurrent: bool) -> list[Any]:
        if not concurrent:
            return [_CTX if source is None else await self._result(source) for source in sources]
        outcomes: list[Any] = [_CTX] * len(sources)
        errors: list[Exception] = []

        async def settle(number: int, source: Callable[[], Awaitable[Any]]) -> None:
            try:
                outcomes[number] = await self._result(source)
            except Exception as error:  # a task root
                errors.append(error)

        async with asyncio.TaskGroup() as group:
            for number, source in enumerate(sources):
                if source is not None:
                    group.create_task(settle(number, source), name="workflow-dependency")
        if errors:
            raise errors[0]
        return outcomes

    async def _result(self, source: Callable[[], Awaitable[Any]]) -> Any:
        known = self._results.get(source)
        return await (source() if known is None else asyncio.shield(known))

    async def _run(self, name: str, config: StepConfig, function: Callable[..., Any], arguments: list[Any]) -> Any:
        journal = self._journal
        key, count = self._key("do", name)
        while True:
            await journal.gate()
            known = journal.read(key)
            if known.value is not None:
                return unpack(known.value)
            if known.error is not None:
                raise load_error(known.error)
            if known.wake_ms is not None:
                await journal.wait_until(known.wake_ms)
                await journal.gate()
            attempt = known.attempts + 1
            context = JsDict(attempt=attempt, step=JsDict(name=name, count=count))
            given = [context if argument is _CTX else argument for argument in arguments]
            limit = asyncio.timeout(config.timeout_ms / 1000)
            try:
                async with limit:
                    value = pack(await _call(function, given))
            except Exception as raised:  # a request: whatever the step's code raises
                error = raised
                if limit.expired():
                    text = f"Execution timed out after {config.timeout_ms}ms"
                    error = JsException(text, name="WorkflowTimeoutError")
                if isinstance(error, NonRetryableError) or getattr(error, "name", "") == "NonRetryableError":
                    last = True
                else:
                    last = attempt > config.limit
                if last:
                    journal.write(key, StepRow(attempt, error=dump_error(error)))
                    raise error from (None if error is raised else raised)
                journal.write(key, StepRow(attempt, journal.now_ms() + config.wait_ms(attempt)))
            else:
                journal.write(key, StepRow(attempt, value=value))
                return unpack(value)

    # -- waiting

    async def sleep(self, name: str, duration: object) -> None:
        """Wait: for milliseconds, or a text such as "10 seconds"."""
        await self._sleep(name, self._journal.now_ms() + duration_ms(duration))

    async def sleep_until(self, name: str, timestamp: object) -> None:
        """Wait for a date: a `datetime`, milliseconds since the Unix epoch, ISO text.

        Raises:
            JsTypeError: It is no date.
        """
        await self._sleep(name, date_ms(timestamp))

    sleepUntil = sleep_until  # JavaScript's name

    async def _sleep(self, name: str, wake_ms: int) -> None:
        journal, (key, _) = self._journal, self._key("sleep", name)
        known = journal.read(key)
        if known.value is not None:
            return
        if known.wake_ms is None:
            journal.write(key, StepRow(wake_ms=wake_ms))
        await journal.wait_until(wake_ms if known.wake_ms is None else known.wake_ms)
        await journal.gate()
        journal.write(key, StepRow(value=pack(None)))

    async def wait_for_event(
        self, name: str, event_type: Any = None, timeout: Any = "24 hours", **options: Any
    ) -> Any:  # fmt: skip
        """Wait for an event sent to the instance; return `{payload, type, timestamp}`.

        Args:
            name: The step's name.
            event_type: The type of event, or `{"type", "timeout"}` as in JavaScript.
            timeout: How long to wait.
            options: The same by name.

        Raises:
            JsException: None came in time; its name is WorkflowTimeoutError.
        """
        if not isinstance(event_type, str):
            options = init_options(event_type, options)
            event_type, timeout = options.get("type"), options.get("timeout", timeout)
        if not isinstance(event_type, str):
            raise TypeError("wait_for_event needs the type of the event")
        journal, (key, _) = self._journal, self._key("event", name)
        limit_ms = duration_ms(timeout)
        await journal.gate()
        known = journal.read(key)
        if known.error is not None:
            raise load_error(known.error)
        value = known.value
        if value is None:
            wake_ms = known.wake_ms
            if wake_ms is None:
                wake_ms = journal.now_ms() + limit_ms
                journal.write(key, StepRow(wake_ms=wake_ms))
            value = await journal.event(event_type, key, wake_ms)
        if value is None:
            error = JsException(f"Execution timed out after {limit_ms}ms", name="WorkflowTimeoutError")
            journal.write(key, StepRow(error=dump_error(error)))
            raise error
        return unpack(value)

    waitForEvent = wait_for_event  # JavaScript's name


_CTX: Any = object()


async def _call(function: Callable[..., Any], arguments: list[Any]) -> Any:
    if stacks.is_armed():
        return await stacks.call(function, *arguments)
    result = function(*arguments)
    return await result if inspect.isawaitable(result) else result
