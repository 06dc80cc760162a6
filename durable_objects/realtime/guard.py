"""What one connection may do: its credentials and their end, the rules, what was taken back, and how often it speaks.

`Guards` are those of all live connections of an endpoint, which is how a server finds a user whose access it takes
back. A revocation lives in memory: after a restart only what keys, tokens and rules say counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from durable_objects.realtime.admission import admission
from durable_objects.realtime.core.access import Admission, Connection, credentials
from durable_objects.realtime.core.codes import CLOSE_DENIED, CLOSE_EXPIRED, Code, RealtimeError
from durable_objects.realtime.core.names import TopicName
from durable_objects.realtime.core.rate_limit import Bucket, Buckets
from durable_objects.realtime.core.rules import RuleAction, Verdict, decide
from durable_objects.realtime.directory import Directory

__all__ = ["Guard", "Guarded", "Guards"]

_MAX_REVOCATIONS = 10_000
_LONGEST_TIMER_S = 86_400.0


class Guarded(Protocol):
    """A client's connection, as its guard sees it."""

    identity: Connection

    def identified(self, identity: Connection) -> None:
        """The connection may do more or less from now on: pass it on to its topics."""
        ...

    def topics(self) -> Iterable[TopicName]:
        """Return the topics it is subscribed to."""
        ...

    def police(self, topic: str, rows: Mapping[str, Any] | None) -> None:
        """Show it only these rows of a table from now on."""
        ...

    def drop(self, topic: str, error: RealtimeError) -> None:
        """End its subscriptions of a topic and tell it why."""
        ...

    def tell(self, error: RealtimeError) -> None:
        """Send an error frame."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        ...


@dataclass(frozen=True, slots=True)
class _Revocation:
    user_id: str | None
    connection: str | None
    pattern: str | None
    until_s: float

    def means(self, who: Connection) -> bool:
        if self.user_id is not None and self.user_id != who.user_id:
            return False
        return self.connection is None or self.connection == who.id


class Guards:
    """The guards of an endpoint's live connections, what was taken back, and the topics' rate limits."""

    def __init__(self, directory: Directory) -> None:
        settings = directory.settings
        self.directory = directory
        self.live: dict[Guard, None] = {}
        rate, burst = settings.max_topic_rate, settings.max_topic_burst
        self.topic_buckets = Buckets(rate, burst) if rate else None
        self._revoked: list[_Revocation] = []

    def revoke(
        self,
        *,
        user_id: str | None = None,
        connection: str | None = None,
        topic: str | None = None,
        for_s: float = 0.0,
        reason: str = "access was taken back",
    ) -> int:
        """Take access back, to the topics that match the glob `topic` or to everything, and refuse it for a time.

        Returns how many live connections this was about.

        Raises:
            ValueError: Neither a user nor a connection nor a topic is named.
        """
        if user_id is None and connection is None and topic is None:
            raise ValueError("revoke needs a user_id, a connection or a topic")
        now_s = self._now_s()
        revoked = _Revocation(user_id, connection, topic, now_s + for_s)
        if for_s > 0:
            self._revoked = [entry for entry in self._revoked if entry.until_s > now_s][1 - _MAX_REVOCATIONS :]
            self._revoked.append(revoked)
        found = [guard for guard in list(self.live) if revoked.means(guard.client.identity)]
        for guard in found:
            if topic is None:
                guard.end(RealtimeError(Code.REVOKED, reason))
            else:
                guard.drop_where(lambda name: fnmatchcase(name.text, topic), RealtimeError(Code.REVOKED, reason))
        return len(found)

    def is_revoked(self, who: Connection, topic: str | None = None) -> bool:
        """Whether the access of `who` was taken back, to a topic or, without one, to everything."""
        if not self._revoked:
            return False
        now_s = self._now_s()
        return any(
            entry.until_s > now_s
            and entry.means(who)
            and (entry.pattern is None or (topic is not None and fnmatchcase(topic, entry.pattern)))
            for entry in self._revoked
        )

    def allow(self, who: Connection, action: RuleAction, topic: TopicName) -> Verdict:
        """Return what the rules say of an action that is allowed.

        Raises:
            RealtimeError: REVOKED or REFUSED.
        """
        if self.is_revoked(who, topic.text):
            raise RealtimeError(Code.REVOKED, f"access to {topic.text} was taken back", "topic")
        if action == "subscribe" and topic.is_table:
            action = "table-read"
        settings = self.directory.settings
        verdict = decide(settings, action, topic.text, who.role, who.claims)
        if not verdict.is_allowed:
            raise RealtimeError(Code.REFUSED, f"the rules do not allow {action} on {topic.text}", "topic")
        return verdict

    def _now_s(self) -> float:
        return self.directory.clock.now_ms() / 1000


class Guard:
    """The guard of one connection. It must be told when the connection is `over`."""

    __slots__ = ("_bucket", "_guards", "_timer", "client", "rights")

    def __init__(self, guards: Guards, client: Guarded, rights: Admission) -> None:
        settings = guards.directory.settings
        self.client = client
        self.rights = rights
        self._guards = guards
        self._bucket = Bucket(settings.max_client_rate, settings.max_client_burst) if settings.max_client_rate else None
        self._timer: asyncio.TimerHandle | None = None
        guards.live[self] = None
        self._watch_the_time()

    def over(self) -> None:
        """The connection has ended."""
        self._guards.live.pop(self, None)
        self._forget_the_time()

    def allow(self, action: RuleAction, topic: TopicName) -> Verdict:
        """Return what the rules say of an action that is allowed; see `Guards.allow`."""
        return self._guards.allow(self.client.identity, action, topic)

    def allow_publish(self, topic: TopicName) -> None:
        """Count a publish against the topic's rate.

        Raises:
            RealtimeError: REVOKED, REFUSED or RATE_LIMITED.
        """
        self.allow("publish", topic)
        buckets = self._guards.topic_buckets
        if buckets is not None and (wait_s := buckets.take(topic.text, asyncio.get_running_loop().time())):
            raise _too_fast(f"too many publishes on {topic.text}", wait_s)

    def hears(self) -> bool:
        """Count a frame of the client; False when it sends too many and this one is dropped, of which it is told."""
        bucket = self._bucket
        if bucket is None:
            return True
        now_s = asyncio.get_running_loop().time()
        wait_s = bucket.take(now_s)
        if not wait_s:
            return True
        if bucket.is_notice_due(now_s):
            dropped = bucket.told()
            self.client.tell(_too_fast(f"too many frames on this connection; {dropped} dropped", wait_s, dropped))
        return False

    async def authenticate(self, token: str) -> None:
        """Take a new token on the live connection; a bad one changes nothing.

        A token of another user is refused: topics know the connection by its user.

        Raises:
            RealtimeError: The token is refused.
        """
        rights = await admission(credentials(tokens=(token,)), self._guards.directory)
        who = self.client.identity
        if who.role == "secret" and rights.role != "secret":
            return
        if rights.role == "jwt":
            if who.user_id is not None and rights.user_id != who.user_id and self.rights.user_id is not None:
                raise RealtimeError(Code.FORBIDDEN, "the token is of another user; open another connection")
            rights = Admission(
                rights.role,
                rights.user_id,
                rights.claims,
                rights.expires_s,
                has_key=self.rights.has_key or self.rights.role == "public",
            )
        if self in self._guards.live:
            self._become(rights)

    def end(self, error: RealtimeError) -> None:
        """Tell the client why, and end the connection."""
        self.client.tell(error)
        code = CLOSE_EXPIRED if error.code is Code.TOKEN_EXPIRED else CLOSE_DENIED
        self.client.close(code, error.message[:120])

    def drop_where(self, chosen: Callable[[TopicName], bool], error: RealtimeError) -> None:
        """End the subscriptions of the chosen topics."""
        for name in list(self.client.topics()):
            if chosen(name):
                self.client.drop(name.text, error)

    def recheck(self) -> None:
        """End the subscriptions that are not allowed any more."""
        for name in list(self.client.topics()):
            try:
                self.client.police(name.text, self.allow("subscribe", name).rows)
            except RealtimeError as error:
                self.client.drop(name.text, RealtimeError(Code.REVOKED, error.message))

    def _become(self, rights: Admission) -> None:
        who = self.client.identity
        self.rights = rights
        user_id = rights.user_id if rights.role == "jwt" else who.user_id
        self.client.identified(Connection(who.id, user_id, rights.role, who.project, rights.claims))
        self._watch_the_time()
        self.recheck()

    def _watch_the_time(self) -> None:
        self._forget_the_time()
        if self.rights.expires_s is not None:
            left_s = self.rights.expires_s - self._guards.directory.clock.now_ms() / 1000
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(max(left_s, 0.0), _LONGEST_TIMER_S), self._look_at_the_time)

    def _forget_the_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_the_time(self) -> None:
        rights, directory = self.rights, self._guards.directory
        if rights.expires_s is None or directory.clock.now_ms() / 1000 < rights.expires_s - 0.001:
            self._watch_the_time()
            return
        error = RealtimeError(Code.TOKEN_EXPIRED, "the token has expired")
        jwt = directory.settings.jwt
        if jwt is not None and jwt.on_expiry == "downgrade" and rights.has_key:
            self.client.tell(error)
            self._become(Admission("public"))
        else:
            self.end(error)


def _too_fast(message: str, wait_s: float, dropped: int = 0) -> RealtimeError:
    more: dict[str, object] = {"retryAfterMs": max(1, round(wait_s * 1000))}
    return RealtimeError(Code.RATE_LIMITED, message, more=more | ({"dropped": dropped} if dropped else {}))
