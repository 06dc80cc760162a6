"""What handlers are called with, made by hand: contexts, controllers and message batches of a test's own.

The semantics are those of the module `cloudflare:test`.
https://developers.cloudflare.com/workers/testing/vitest-integration/test-apis/
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast

from workers.compat.clock import now_ms
from workers.compat.js import Date
from workers.compat.proxies import JsDict, JsProxy, JsTypeError
from workers.runtime.dispatch import ScheduledController

__all__ = [
    "Message",
    "MessageBatch",
    "QueueResult",
    "ScheduledResult",
    "TestContext",
    "create_execution_context",
    "create_message_batch",
    "create_scheduled_controller",
    "get_queue_result",
    "wait_on_execution_context",
]

_WAIT_LIMIT_S: Final = 30.0

_log = logging.getLogger(__name__)


class TestContext(JsProxy):
    """`ctx` of a handler that a test calls itself: it keeps what was given to `waitUntil`."""

    __test__ = False  # for pytest, which collects classes by this name
    __slots__ = ("pending", "props")

    def __init__(self) -> None:
        self.props = JsDict()
        self.pending: list[Awaitable[object]] = []

    def waitUntil(self, *promises: Any) -> None:  # JavaScript's name
        """Keep `promise` for `wait_on_execution_context`."""
        if not promises:
            raise JsTypeError(
                "Failed to execute 'waitUntil' on 'ExecutionContext': parameter 1 is not of type 'Promise'."
            )
        promise = promises[0]
        if inspect.iscoroutine(promise):  # it starts now, as a promise has
            promise = asyncio.get_running_loop().create_task(cast(Any, promise), name="waitUntil")
        if inspect.isawaitable(promise):
            self.pending.append(promise)

    wait_until = waitUntil

    def passThroughOnException(self) -> None:  # JavaScript's name
        """Accepted; there is no origin behind a test."""

    pass_through_on_exception = passThroughOnException


def create_execution_context() -> TestContext:
    """Return a `ctx` for a handler that the test calls itself."""
    return TestContext()


async def wait_on_execution_context(ctx: object) -> None:
    """Wait until nothing is left that `ctx.waitUntil` was given, work added meanwhile included.

    After 30 s the rest is abandoned with a warning.

    Raises:
        TypeError: `ctx` was not made by `create_execution_context`.
        ExceptionGroup: Several of them failed; a single failure is raised as it is.
    """
    if not isinstance(ctx, TestContext):
        raise JsTypeError(
            "Failed to execute 'waitOnExecutionContext': parameter 1 is not of type 'ExecutionContext'.\n"
            "You must call 'create_execution_context()' to get an 'ExecutionContext' instance."
        )
    failures: list[Exception] = []
    try:
        async with asyncio.timeout(_WAIT_LIMIT_S):
            while ctx.pending:
                waiting, ctx.pending = ctx.pending, []
                for promise in waiting:
                    try:
                        await promise
                    except Exception as error:  # a task root: work of the Worker's
                        failures.append(error)
    except TimeoutError:
        _log.warning("waitUntil work did not end within %d s and was abandoned", _WAIT_LIMIT_S)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup("several waitUntil() promises failed", failures)


def create_scheduled_controller(
    *, scheduled_time: datetime | int | None = None, cron: str = "", **given: Any
) -> ScheduledController:
    """Return the argument of a `scheduled` handler.

    Args:
        scheduled_time: When it was due: an aware datetime or milliseconds since the epoch; now by default.
            `scheduledTime` is the same.
        cron: The expression that fired.
    """
    at = given.pop("scheduledTime", scheduled_time)
    if given:
        raise TypeError(f"create_scheduled_controller() got an unexpected option {next(iter(given))!r}")
    return ScheduledController(cron, now_ms() if at is None else _ms(at))


def _ms(date: datetime | int | float) -> int:
    return int(date.timestamp() * 1000) if isinstance(date, datetime) else int(date)


@dataclass(frozen=True)
class ScheduledResult:
    """What became of a `scheduled` event."""

    outcome: str
    no_retry: bool

    @property
    def noRetry(self) -> bool:  # JavaScript's name
        """`no_retry`."""
        return self.no_retry


# -- queues


class Message(JsProxy):
    """One message of a batch, as a `queue` handler meets it."""

    def __init__(self, message_id: str, timestamp: datetime, attempts: int, body: object) -> None:
        self.id = message_id
        self.timestamp = Date.new(timestamp.timestamp() * 1000)
        self.attempts = attempts
        self.body = JsDict.wrap(body)
        self._fate: str | None = None
        self._delay_s: float | None = None

    def ack(self) -> None:
        """Say that the message was dealt with; the first word counts."""
        self._fate = self._fate or "ack"

    def retry(self, options: Any = None, **given: Any) -> None:
        """Ask for the message again, after `delaySeconds`; the first word counts."""
        if self._fate is None:
            self._fate = "retry"
            self._delay_s = _delay(options, given)


class MessageBatch(JsProxy):
    """The argument of a `queue` handler."""

    def __init__(self, queue: str, messages: list[Message]) -> None:
        self.queue = queue
        self.messages = messages
        self._acks_all = False
        self._retries_all = False
        self._delay_s: float | None = None

    def ackAll(self) -> None:  # JavaScript's name
        """Say that every message was dealt with."""
        if not self._retries_all:
            self._acks_all = True

    def retryAll(self, options: Any = None, **given: Any) -> None:  # JavaScript's name
        """Ask for every message again."""
        if not self._acks_all:
            self._retries_all = True
            self._delay_s = _delay(options, given)

    ack_all = ackAll
    retry_all = retryAll


def _delay(options: Any, given: Mapping[str, Any]) -> float | None:
    table: dict[str, Any] = dict(cast("Mapping[str, Any]", options)) if isinstance(options, Mapping) else {}
    table.update(given)
    delay = table.get("delaySeconds", table.get("delay_seconds"))
    return None if delay is None else float(delay)


@dataclass
class QueueResult:
    """What a queue would do after a batch; readable by JavaScript's names too."""

    outcome: str = "ok"
    ack_all: bool = False
    retry_batch: dict[str, Any] = field(default_factory=lambda: {"retry": False})
    explicit_acks: list[str] = field(default_factory=list[str])
    retry_messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def ackAll(self) -> bool:  # JavaScript's name
        """`ack_all`."""
        return self.ack_all

    @property
    def retryBatch(self) -> dict[str, Any]:  # JavaScript's name
        """`retry_batch`."""
        return self.retry_batch

    @property
    def explicitAcks(self) -> list[str]:  # JavaScript's name
        """`explicit_acks`."""
        return self.explicit_acks

    @property
    def retryMessages(self) -> list[dict[str, Any]]:  # JavaScript's name
        """`retry_messages`."""
        return self.retry_messages


def create_message_batch(queue: str, messages: Iterable[Mapping[str, Any]]) -> MessageBatch:
    """Return a batch of messages, each given as `{"id", "timestamp", "attempts", "body"}`.

    `timestamp` is an aware datetime or milliseconds and defaults to now, `attempts` to 1, `id` to the place in the
    list.

    Raises:
        TypeError: An argument has another shape.
    """
    if not isinstance(queue, str):  # pyright: ignore[reportUnnecessaryIsInstance] - called from untyped tests
        raise JsTypeError("Failed to execute 'createMessageBatch': parameter 1 is not of type 'string'.")
    made: list[Message] = []
    for place, given in enumerate(messages):
        if not isinstance(given, Mapping) or "body" not in given:  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            raise JsTypeError(
                f"Failed to execute 'createMessageBatch': message {place} is not a mapping with at least a \"body\"."
            )
        at = given.get("timestamp")
        date = at if isinstance(at, datetime) else datetime.fromtimestamp((now_ms() if at is None else at) / 1000, UTC)
        made.append(Message(str(given.get("id", place)), date, int(given.get("attempts", 1)), given["body"]))
    return MessageBatch(queue, made)


async def get_queue_result(batch: MessageBatch, ctx: object) -> QueueResult:
    """Wait for the work the handler left with `ctx`, then return what the queue would do."""
    await wait_on_execution_context(ctx)
    return queue_result(batch)


def queue_result(batch: MessageBatch) -> QueueResult:
    """Return what the queue would do with a batch as its handler left it."""
    result = QueueResult(ack_all=batch._acks_all)  # pyright: ignore[reportPrivateUsage] - one file, one mechanism
    result.retry_batch = _retry(batch._retries_all, batch._delay_s)  # pyright: ignore[reportPrivateUsage] - as above
    for message in batch.messages:
        fate, delay_s = message._fate, message._delay_s  # pyright: ignore[reportPrivateUsage] - as above
        if fate == "ack":
            result.explicit_acks.append(message.id)
        elif fate == "retry":
            entry: dict[str, Any] = {"msgId": message.id}
            if delay_s is not None:
                entry["delaySeconds"] = delay_s
            result.retry_messages.append(entry)
    return result


def _retry(retries: bool, delay_s: float | None) -> dict[str, Any]:
    return {"retry": retries} if delay_s is None else {"retry": retries, "delaySeconds": delay_s}
