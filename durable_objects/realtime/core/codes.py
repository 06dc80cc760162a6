"""Every error a realtime client can see: number, name, retry flag; and the close codes.

Numbers are never reused. 1xx credentials, 2xx malformed frames, 3xx topics, 6xx the HTTP endpoints.

    RealtimeError
    +-- Malformed      a frame that says nothing usable; carries the field at fault
    +-- Refused        a topic class said no
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "CLOSE_DENIED",
    "CLOSE_EXPIRED",
    "CLOSE_LEFT",
    "CLOSE_LOST",
    "CLOSE_RESTART",
    "Code",
    "Malformed",
    "RealtimeError",
    "Refused",
]

CLOSE_LEFT = 1000
"""A leg ends because its client unsubscribed or closed its socket properly."""
CLOSE_RESTART = 1012
"""The server stops or restarts. Never 1000 or 1001: one public client does not reconnect after those."""
CLOSE_DENIED = 4403
"""The client's access was taken back."""
CLOSE_EXPIRED = 4401
"""The client's token has expired: with a newer one it finds everything again."""
CLOSE_LOST = 4001
"""A leg ends because its client's transport vanished without a Close frame."""


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    retry: bool
    status: int


class Code(Enum):
    """What went wrong. `number` and `retry` are for frames, `name` and `status` for HTTP bodies."""

    UNAUTHORIZED = _Entry(101, False, 401)
    FORBIDDEN = _Entry(102, False, 403)
    TOKEN_NOT_VERIFIED = _Entry(103, False, 401)
    TOKEN_EXPIRED = _Entry(104, False, 401)
    REVOKED = _Entry(105, False, 403)

    NOT_JSON = _Entry(201, False, 400)
    NOT_AN_OBJECT = _Entry(202, False, 400)
    UNKNOWN_TYPE = _Entry(203, False, 400)
    BAD_FIELD = _Entry(204, False, 400)
    TOO_BIG = _Entry(205, False, 413)
    BAD_TOPIC = _Entry(206, False, 400)
    BINARY_FRAME = _Entry(207, False, 400)

    TOO_MANY_TOPICS = _Entry(301, False, 429)
    REFUSED = _Entry(302, False, 403)
    HANDLER_FAILED = _Entry(303, True, 500)
    NO_SUCH_TABLE = _Entry(304, False, 404)
    TOPIC_UNAVAILABLE = _Entry(305, True, 503)
    OVERLOADED = _Entry(306, True, 503)
    NOT_STORED = _Entry(307, True, 500)
    RATE_LIMITED = _Entry(308, True, 429)
    BAD_FILTER = _Entry(309, False, 400)
    NO_SNAPSHOT = _Entry(310, True, 503)
    NO_SUCH_STREAM = _Entry(311, False, 404)

    BAD_REQUEST = _Entry(601, False, 400)
    UNKNOWN_METHOD = _Entry(602, False, 404)
    BAD_SQL = _Entry(603, False, 400)
    CROSS_SITE = _Entry(604, False, 403)
    NOT_FOUND = _Entry(605, False, 404)
    METHOD_NOT_ALLOWED = _Entry(606, False, 405)
    UPGRADE_REQUIRED = _Entry(607, False, 426)

    @property
    def number(self) -> int:
        """The number a frame carries."""
        return self.value.number

    @property
    def retry(self) -> bool:
        """Whether the same frame may succeed later."""
        return self.value.retry

    @property
    def status(self) -> int:
        """The HTTP status of an answer that carries this code."""
        return self.value.status


class RealtimeError(Exception):
    """Something a client did, or that happened to it, which it is told about."""

    def __init__(
        self, code: Code, message: str, field: str | None = None, *, more: Mapping[str, object] | None = None
    ) -> None:
        """`more` are further members of the error frame."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.more = more


class Malformed(RealtimeError):
    """A frame that cannot be acted on.

    `frame` is the frame's `type` as far as it could be read, `channel` its topic and `publish_id` its id.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        field: str | None = None,
        frame: str | None = None,
        channel: str | None = None,
        publish_id: str | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code, message, field, more=more)
        self.frame = frame
        self.channel = channel
        self.publish_id = publish_id


class Refused(RealtimeError):
    """Raise it in a hook of a topic class to refuse what the client asked; the client is told `message`."""

    def __init__(self, message: str = "refused") -> None:
        super().__init__(Code.REFUSED, message)
