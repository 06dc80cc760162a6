"""Publishes that have no ack yet, in order.

A publish waits here while there is no connection and is sent again, under the same id, after a loss; the server does
the same id once. A persisted one waits as long as it takes and its timeout begins when it is sent; any other gives up
after the timeout, since a cursor or a "typing" sent late is wrong. Full means refused, never dropped silently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flarelet_client.errors import RealtimeError, client_error
from flarelet_client.json_text import dumps
from flarelet_client.types import Ack

__all__ = ["Outbox"]


@dataclass(slots=True)
class _Waiting:
    text: str
    topic: str
    persist: bool
    done: asyncio.Future[Ack]
    timer: asyncio.TimerHandle | None = None


class Outbox:
    """The publishes of one client that wait for an ack."""

    def __init__(
        self, send: Callable[[str], bool], failed: Callable[[RealtimeError], None], *, limit: int, timeout_s: float
    ) -> None:
        self._send, self._failed, self._limit, self._timeout_s = send, failed, limit, timeout_s
        self._waiting: dict[str, _Waiting] = {}

    def add(self, frame: dict[str, Any]) -> asyncio.Future[Ack]:
        """Send a publish frame now or as soon as there is a connection; the future gets the ack or the error."""
        done: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        # Told as an event too, so a future nobody awaits must not be reported as forgotten.
        done.add_done_callback(lambda done: done.cancelled() or done.exception())
        ref = {"type": "publish", "channel": frame["topic"], "id": frame["id"]}
        try:
            text = dumps(frame)
        except (TypeError, ValueError, RecursionError) as error:
            message = f"data has no JSON form: {error}"
            return self._refuse(done, client_error("NOT_SERIALIZABLE", message, retry=False, **ref))
        if len(self._waiting) >= self._limit:
            message = f"{self._limit} publishes wait for an ack already"
            return self._refuse(done, client_error("QUEUE_FULL", message, retry=True, **ref))
        waiting = _Waiting(text, frame["topic"], bool(frame.get("persist")), done)
        self._waiting[frame["id"]] = waiting
        if not waiting.persist:
            self._limit_time(frame["id"], waiting)
        self._try(frame["id"], waiting)
        return done

    def flush(self) -> None:
        """Send everything that has no ack; called when the connection is open."""
        for id, waiting in self._waiting.items():
            self._try(id, waiting)

    def acknowledged(self, frame: dict[str, Any]) -> None:
        """Take the server's ack; one of something else is ignored."""
        waiting = self._take(frame.get("id"))
        if waiting is not None and not waiting.done.done():
            waiting.done.set_result(Ack.from_frame(frame))

    def refused(self, id: str, error: RealtimeError) -> str | None:
        """Take the server's refusal; return the topic of the publish, None when the id is not ours."""
        waiting = self._take(id)
        if waiting is None:
            return None
        if not waiting.done.done():
            waiting.done.set_exception(error)
        return waiting.topic

    def close(self, message: str) -> None:
        """Reject everything."""
        for id in list(self._waiting):
            self._fail(id, "DISCONNECTED", message)

    def _try(self, id: str, waiting: _Waiting) -> None:
        if self._send(waiting.text) and waiting.persist:
            self._limit_time(id, waiting)

    def _limit_time(self, id: str, waiting: _Waiting) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
        loop = asyncio.get_running_loop()
        message = f"no ack within {self._timeout_s:g} s"
        waiting.timer = loop.call_later(self._timeout_s, self._fail, id, "TIMEOUT", message)

    def _fail(self, id: str, name: str, message: str) -> None:
        waiting = self._take(id)
        if waiting is not None:
            ref = {"type": "publish", "channel": waiting.topic, "id": id}
            self._refuse(waiting.done, client_error(name, message, retry=True, **ref))

    def _refuse(self, done: asyncio.Future[Ack], error: RealtimeError) -> asyncio.Future[Ack]:
        if not done.done():
            done.set_exception(error)
        self._failed(error)
        return done

    def _take(self, id: str | None) -> _Waiting | None:
        waiting = self._waiting.pop(id, None) if id is not None else None
        if waiting is not None and waiting.timer is not None:
            waiting.timer.cancel()
        return waiting
