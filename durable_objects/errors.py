"""Errors of the Durable Object runtime. Texts that Cloudflare users match on are kept word for word.

JsException
|-- ObjectReset          the instance is gone; `durableObjectReset` is True
|   `-- BlockedTooLong   blockConcurrencyWhile took over 30 s
|-- CommitFailed         the implicit transaction was rolled back and the object reset
|   `-- ConstraintsLeftViolated
|-- StorageError         SQLite refused (plain JavaScript `Error`)
|   `-- UnreadableValue  what is stored under a key has no Python value
`-- ReceiverHasNoMethod  (a TypeError) no such RPC method
"""

from __future__ import annotations

from workers.compat.proxies import JsException, JsTypeError

__all__ = [
    "BlockedTooLong",
    "CommitFailed",
    "ConstraintsLeftViolated",
    "ObjectReset",
    "ReceiverHasNoMethod",
    "StorageError",
    "UnreadableValue",
]


class ObjectReset(JsException):
    """The object was reset: its memory and uncommitted writes are gone, a new stub reaches a new instance."""

    def __init__(
        self, message: object = "", *, name: str | None = None, cause: object = None, **properties: object
    ) -> None:
        super().__init__(message, name=name, cause=cause, **{"durableObjectReset": True, **properties})


class BlockedTooLong(ObjectReset):
    """A `blockConcurrencyWhile` callback ran into the time limit."""

    def __init__(self) -> None:
        super().__init__(
            "A call to blockConcurrencyWhile() in a Durable Object waited for too long. "
            "The call was canceled and the Durable Object was reset.",
            overloaded=True,
        )


class CommitFailed(JsException):
    """The implicit transaction could not commit: it was rolled back, and the object is reset."""


class ConstraintsLeftViolated(CommitFailed):
    """The implicit transaction could not commit because a deferred constraint is violated."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "Durable Object was reset and rolled back to its last known good state because the application left the "
            f"database in a state where constraints were violated: {detail}"
        )


class StorageError(JsException):
    """SQLite refused a statement or a value."""


class UnreadableValue(StorageError):
    """JavaScript stored something under a key that Python cannot express, or the bytes are damaged."""

    def __init__(self, key: str, problem: Exception) -> None:
        super().__init__(f'The value of the key "{key}" cannot be read: {problem}.')


class ReceiverHasNoMethod(JsTypeError):
    """The class has no such method, or one that RPC may not reach."""

    def __init__(self, method: str) -> None:
        super().__init__(f'The RPC receiver does not implement the method "{method}".')
