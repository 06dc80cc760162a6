"""One incarnation of a Durable Object: its turns, its gates, its commits, and how long it stays in memory.

An instance is *fresh* (not constructed), *live*, or gone: *evicted* when idle, *broken* by an error. Each event is a
turn: one task, started at once, admitted by the input gate, its result leaving through the output gate.

The implicit transaction opened by the first write commits in a loop callback: at the first await that is not storage,
or after the turn, together with what other turns of the same loop round wrote.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import types
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Protocol, cast

from durable_objects.alarms import Alarms
from durable_objects.clock import Clock
from durable_objects.errors import BlockedTooLong, CommitFailed, ObjectReset
from durable_objects.gates import InputGate, Outlet, Section, as_coroutine, current_section, gated
from durable_objects.hibernation import Hibernation
from durable_objects.ids import DurableObjectId
from durable_objects.observer import Observer
from durable_objects.rpc import clone, cross
from durable_objects.state import DurableObjectState, ObjectClass
from durable_objects.storage.commits import Commits
from durable_objects.storage.files import ObjectFile, OpenFiles
from durable_objects.storage.object_storage import DurableObjectStorage
from durable_objects.storage.transaction import Transactions
from durable_objects.usage import Usage
from workers.compat import stacks
from workers.compat import web as js
from workers.compat.ambient import Invocation, invocation
from workers.compat.ambient import install as install_ambient
from workers.compat.websocket import current_owner
from workers.entrypoints import DurableObjectAbort

__all__ = ["EvictionTimes", "Home", "Instance", "Surroundings"]

_BLOCK_LIMIT_S = 30.0
_EVICTED = "The Durable Object was evicted from memory; this instance of it can no longer be used."

_RESETS = (ObjectReset, CommitFailed)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvictionTimes:
    """After how many seconds of idleness an object leaves memory.

    https://developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle/
    """

    hibernatable_s: float = 10.0
    other_s: tuple[float, float] = (70.0, 140.0)
    """Between these two, by chance, when background work or a function given away keeps it from hibernating."""


class Surroundings(Protocol):
    """What an instance needs of its host."""

    eviction: EvictionTimes
    clock: Clock
    observer: Observer
    random: Random
    open_files: OpenFiles
    commits: Commits


class Home(Protocol):
    """What outlives an instance: the actor it is an incarnation of."""

    spec: ObjectClass
    id: DurableObjectId
    path: Path
    alarms: Alarms
    hibernation: Hibernation
    usage: Usage
    instance: Instance | None

    @property
    def host(self) -> Surroundings:
        """The host of the node."""
        ...

    def ended(self, instance: Instance, reason: str) -> None:
        """Forget an instance that was evicted, reset or closed."""
        ...


class _Alarm:
    """The alarm as the storage of one instance sees it."""

    __slots__ = ("_instance", "is_running")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.is_running = False

    @property
    def can_fire(self) -> bool:
        return self._instance.target is None or callable(getattr(self._instance.target, "alarm", None))

    def now_ms(self) -> int:
        return self._instance.actor.host.clock.now_ms()


class Instance:
    """One incarnation of an object. `broken` tells why it ended, if it did not end by eviction."""

    def __init__(self, actor: Home) -> None:
        self.actor = actor
        self.usage = actor.usage
        self.target: Any = None
        self.broken: Exception | None = None
        self.gate = InputGate()
        self.outlet = Outlet(
            lambda event: self.submit("event", lambda _target: event(), None),
            self.rest,
            lambda work, future: self.submit("rpc", lambda _target: work(), future),
        )
        self.file = ObjectFile(
            actor.path, actor.host.open_files, lambda: not (self._active or self.outlet.held), actor.usage
        )
        self.alarm = _Alarm(self)
        self.transactions = Transactions(self.file, self._writes_opened, self._settled)
        spec = actor.spec
        self.storage = DurableObjectStorage(
            self.file,
            self.gate,
            self.transactions,
            self.alarm,
            is_sqlite=spec.is_sqlite,
            deletes_alarm=spec.deletes_alarm,
        )
        actor.hibernation.wake(self.outlet)
        self.state = DurableObjectState(actor.id, self.storage, actor.hibernation, self)
        self.context = contextvars.Context()
        self.context.run(self._enter_context)
        self._loop = asyncio.get_running_loop()
        self._pending: set[asyncio.Future[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._active = 0
        self._background = 0
        self._idle_since = self._busy_since = self.awake_since = self._loop.time()
        self._eviction: asyncio.TimerHandle | None = None
        self._limit_s: float | None = None
        self._commit_planned = False
        self._alarm_ms: int | None = None

    def _enter_context(self) -> None:
        current_owner.set(self.outlet)
        ambient = self.actor.spec.ambient
        if ambient is not None:
            install_ambient(replace(ambient, wait_until=self.wait_until, fetch=self._fetch_outside))

    # -- events

    def submit(self, kind: str, work: Callable[[Any], Any], future: asyncio.Future[Any] | None) -> None:
        """Start a turn that runs `work(target)`; its result, or error, goes to `future` through the output gate."""
        if self.broken is not None:  # a socket of an instance that was reset may still speak
            if future is not None:
                self._refuse(future, cross(self.broken))
            return
        if future is not None:
            self._pending.add(future)
        turns = self.usage.turns
        turns[kind] = turns.get(kind, 0) + 1
        self._busy()
        self._spawn(self._turn(kind, work, future))

    def _busy(self) -> None:
        if not self._active:
            self._busy_since = self._loop.time()
        self._active += 1

    def _spawn(self, coroutine: Any) -> None:
        # The instance owns its tasks; each takes itself off the list when it ends, which costs no loop callback.
        self._tasks.add(self._loop.create_task(coroutine, context=self.context.copy()))

    async def _turn(self, kind: str, work: Callable[[Any], Any], future: asyncio.Future[Any] | None) -> None:
        failed = True
        invocation.set(Invocation())  # the turn has a context of its own
        try:
            if self.gate.locked is not None:
                await self.gate.enter(None)
            if self.target is None:
                self._construct()
                if self.gate.locked is not None:
                    await self.gate.enter(None)
            result = work(self.target) if not stacks.is_armed() else stacks.call(work, self.target)
            if result.__class__ is types.CoroutineType:
                result = await gated(result, self.gate)
            elif inspect.isawaitable(result):
                result = await gated(as_coroutine(result), self.gate)
            if future is not None:
                self._answer(future, clone(result) if kind == "rpc" else result)
            failed = False
        except (asyncio.CancelledError, DurableObjectAbort):
            if self.broken is None and future is not None:
                self._refuse(future, ObjectReset(_EVICTED))
        except Exception as error:  # an actor turn: the caller gets the error, the object lives on
            self._turn_failed(kind, error, future)
        finally:
            self._active -= 1
            self._tasks.discard(cast("asyncio.Task[Any]", asyncio.current_task(self._loop)))
            self.usage.failures += failed
            self.actor.host.observer.event_finished(self.actor.spec.unique_key, kind, failed)
            self.rest()

    def _turn_failed(self, kind: str, error: Exception, future: asyncio.Future[Any] | None) -> None:
        if future is not None:
            crossed = cross(error) if isinstance(error, _RESETS) else cross(error, remote=True)
            self.outlet.hold(lambda: self._refuse(future, crossed))
        elif self.broken is None:
            _log.error(
                "%s handler of a Durable Object failed", kind, exc_info=error, extra={"object_id": str(self.actor.id)}
            )

    def _answer(self, future: asyncio.Future[Any], result: object) -> None:
        if self.outlet.held:
            self.outlet.hold(lambda: self._resolve(future, result))
        else:
            self._resolve(future, result)

    def _resolve(self, future: asyncio.Future[Any], result: object) -> None:
        self._pending.discard(future)
        if not future.done():
            future.set_result(result)

    def _refuse(self, future: asyncio.Future[Any], error: BaseException) -> None:
        self._pending.discard(future)
        if not future.done():
            future.set_exception(error)
            future.exception()  # read once, so that a result nobody awaits is no complaint

    def _construct(self) -> None:
        spec = self.actor.spec
        try:
            target = spec.cls(self.state, spec.env)
        except Exception as error:
            self.reset(error)
            raise asyncio.CancelledError from None
        if self.broken is not None:
            raise asyncio.CancelledError
        self.target = target
        self.usage.wakes += 1
        self.actor.host.observer.object_started(spec.unique_key, str(self.actor.id))

    # -- what `ctx` asks for

    def wait_until(self, awaitable: Awaitable[object]) -> None:
        """Run in the background; a failure is logged and breaks nothing."""
        self._background += 1
        self._spawn(self._in_background(awaitable))

    async def _in_background(self, awaitable: Awaitable[object]) -> None:
        try:
            await gated(as_coroutine(awaitable), self.gate)
        except (asyncio.CancelledError, DurableObjectAbort):
            if self.broken is None and self.actor.instance is self:
                raise
        except Exception:  # a task root
            _log.exception("a waitUntil() of a Durable Object failed", extra={"object_id": str(self.actor.id)})
        finally:
            self._background -= 1
            self._tasks.discard(cast("asyncio.Task[Any]", asyncio.current_task(self._loop)))
            self.rest()

    # DIFFERS(block-timers): a timer of another call that is due earlier does not keep one inside from firing.
    def block(self, callback: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `callback` in a section of its own, at once when the current section may run."""
        outer = current_section.get()
        future: asyncio.Future[Any] = self._loop.create_future()
        section = self.gate.lock(outer) if self.gate.admits(outer) else None
        self._busy()
        self._spawn(self._blocked(callback, outer, section, future))
        return future

    async def _blocked(
        self, callback: Callable[[], Any], outer: Section | None, section: Section | None, future: asyncio.Future[Any]
    ) -> None:
        if section is None:
            await self.gate.enter(outer)
            section = self.gate.lock(outer)
        current_section.set(section)
        limit = self._loop.call_later(_BLOCK_LIMIT_S, lambda: self.reset(BlockedTooLong()))
        try:
            result = callback() if callable(callback) else callback
            if inspect.isawaitable(result):
                result = await gated(as_coroutine(result), self.gate)
        except (asyncio.CancelledError, DurableObjectAbort):
            if not future.done():
                future.cancel()
        except Exception as error:  # an actor turn: a failed critical section breaks the object
            self.reset(error)
        else:
            if not future.done():
                future.set_result(result)
        finally:
            limit.cancel()
            # After the result: whoever awaited the section goes on before the events that waited for its end.
            self.gate.unlock(section)
            self._active -= 1
            self._tasks.discard(cast("asyncio.Task[Any]", asyncio.current_task(self._loop)))
            self.rest()

    async def _fetch_outside(self, request: js.Request) -> js.Response:
        """Let an outgoing request wait for the writes before it, then send it with the Worker's own fetch."""
        ambient = self.actor.spec.ambient
        assert ambient is not None
        if self.outlet.held:
            await self._settled()
        return await ambient.fetch(request)

    # -- writes

    def _writes_opened(self) -> None:
        self.outlet.held = True
        if not self._commit_planned:
            self._commit_planned = True
            self.actor.host.commits.plan(self, self._loop)

    def _settled(self) -> Awaitable[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._pending.add(future)
        self.outlet.hold(lambda: self._resolve(future, None))
        return future

    def begin_commit(self) -> bool:
        """Get ready to commit the implicit transaction; False when it is not to be committed now.

        A new alarm is made durable first, see `Alarms`.
        """
        self._commit_planned = False
        transactions = self.transactions
        if self.broken is not None or transactions.pins:
            return False
        if not transactions.is_open:
            self.outlet.open()
            return False
        if transactions.alarm_touched:
            try:
                at_ms = self.storage.read_alarm()
                if at_ms is not None:
                    self.actor.alarms.prepare(str(self.actor.id), self.actor.id.name, at_ms)
            except Exception as error:  # a task root: nobody awaits a commit
                self.reset(error)
                return False
            self._alarm_ms = at_ms
        return True

    def end_commit(self, error: Exception | None) -> None:
        """The transaction is committed, so the output may leave; or it is lost, and the object is reset."""
        if error is None and self.transactions.alarm_touched:
            self.transactions.alarm_touched = False
            try:
                self.actor.alarms.settle(str(self.actor.id), self.actor.id.name, self._alarm_ms)
            except Exception as failure:  # a task root: nobody awaits a commit
                error = failure
        if error is not None:
            self.reset(error)
            return
        self.usage.commits += 1
        self.actor.host.observer.committed(self.actor.spec.unique_key)
        if self.broken is None:
            self.outlet.open()

    def _commit_now(self) -> None:
        if self.begin_commit():
            error: Exception | None = None
            try:
                self.transactions.commit()
            except Exception as failure:  # the object is reset
                error = failure
            self.end_commit(error)

    # -- the end

    def reset(self, error: Exception) -> None:
        """Break the instance: every call in flight fails with `error`, uncommitted writes and sockets are lost."""
        if self.broken is not None:
            return
        reset = error if isinstance(error, _RESETS) else cross(error, durableObjectReset=True)
        self.broken = cast(Exception, reset)
        self.outlet.discard()
        self._shut(self.broken)
        for future in list(self._pending):
            self._refuse(future, cross(self.broken))
        for ws in list(self.outlet.accepted):
            ws.drop()
        self.actor.hibernation.drop_all()
        self.actor.ended(self, str(self.broken))
        self.broken.__traceback__ = None  # its frames hold the memory of the object

    def _shut(self, reason: Exception) -> None:
        """Roll back, close the file and stop the tasks other than the running one."""
        self.transactions.rollback()
        self.file.dead = reason
        self.file.close()
        if self._eviction is not None:
            self._eviction.cancel()
        running = asyncio.current_task(self._loop)
        for task in list(self._tasks):
            if task is not running:
                task.cancel()

    def rest(self) -> None:
        """Note that an event ended; plan the eviction when it was the last one."""
        if self._active or self.broken is not None:
            return
        self._idle_since = now_s = self._loop.time()
        self.usage.busy_s += now_s - self._busy_since
        self._busy_since = now_s
        self._limit_s = None
        if self._eviction is None:
            self._eviction = self._loop.call_later(self.actor.host.eviction.hibernatable_s, self._maybe_evict)

    def obstacle(self) -> str | None:
        """Say why the instance cannot leave memory now, or None."""
        if self._active:
            return "an event is running"
        if self.outlet.accepted:
            return "accepted sockets"
        if self._background:
            return "waitUntil"
        if self.outlet.timers:
            return "timers"
        if self.outlet.exports:
            return "stubs of its functions"
        return "uncommitted writes" if self.outlet.held else None

    def _maybe_evict(self) -> None:
        self._eviction = None
        if self.broken is not None:
            return
        obstacle = self.obstacle()
        if obstacle is not None and self._limit_s is None:
            self.usage.obstructed(obstacle)
            self.actor.host.observer.kept_awake(self.actor.spec.unique_key, str(self.actor.id), obstacle)
        if self._active or self.outlet.accepted:
            return  # the next `rest` plans again
        times = self.actor.host.eviction
        if obstacle is None:
            self._limit_s = times.hibernatable_s
        elif self._limit_s is None:
            # DIFFERS(busy-eviction): the work is cancelled when the time is over.
            self._limit_s = self.actor.host.random.uniform(*times.other_s)
        remaining_s = self._idle_since + self._limit_s - self._loop.time()
        if remaining_s > 0.001 or not self.evict():
            look_again_s = min(max(remaining_s, 0.001), times.hibernatable_s or 0.001)  # what keeps it may end before
            self._eviction = self._loop.call_later(look_again_s, self._maybe_evict)

    def evict(self) -> bool:
        """Drop an idle instance, keeping committed data and hibernatable sockets; say whether it was idle."""
        if self._active or self.outlet.held or self.outlet.accepted:
            return False
        self._shut(ObjectReset(_EVICTED))
        self.actor.ended(self, "evicted")
        return True

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """The events and the background work that have not ended."""
        return list(self._tasks)

    def times(self) -> tuple[float, float]:
        """Return the seconds since the instance began, and those of the events that run now."""
        now_s = self._loop.time()
        return now_s - self.awake_since, now_s - self._busy_since if self._active else 0.0

    def stop(self, code: int) -> list[asyncio.Task[Any]]:
        """Commit what is written, close sockets with `code` and end; return the tasks that are still ending."""
        if self.transactions.is_open and not self.transactions.pins:
            self._commit_now()
        if self.broken is not None:
            return []
        self.broken = ObjectReset("The runtime is shutting down.")
        self.outlet.discard()
        for ws in list(self.outlet.accepted):
            ws.close_by_runtime(code, "")
        self._shut(self.broken)
        for future in list(self._pending):
            self._refuse(future, cross(self.broken))
        self.actor.ended(self, "closed")
        return list(self._tasks)
