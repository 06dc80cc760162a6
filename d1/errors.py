"""Errors of D1, with production's texts word for word because programs match on them.

    JsException
      D1Error                  "D1_ERROR: <reason>"; `cause` is the reason alone
        D1ExecError            "D1_EXEC_ERROR: Error in line 1: <line>: <reason>"
        D1TypeError            "D1_TYPE_ERROR: ..." from `bind`
        D1ColumnNotFound       "D1_COLUMN_NOTFOUND: ..." from `first(column)`
        D1DumpError            "D1_DUMP_ERROR: ..."
      D1ObjectError            no prefix, no cause: the object behind the database failed as a whole
      D1UsageError             a TypeError of the JavaScript face
    EngineClosed               the program went on using a database after its runtime stopped

https://developers.cloudflare.com/d1/observability/debug-d1/
"""

from __future__ import annotations

from workers.compat.proxies import JsException, JsTypeError

__all__ = [
    "BINDING_COUNT",
    "DATABASE_FULL",
    "MULTIPLE_WITH_PARAMETERS",
    "NOT_A_STATEMENT",
    "NO_STATEMENTS",
    "OUT_OF_MEMORY",
    "OVERLOADED",
    "TIMED_OUT",
    "TOO_MANY_CALLS",
    "TRANSACTION_STATEMENT",
    "D1ColumnNotFound",
    "D1DumpError",
    "D1Error",
    "D1ExecError",
    "D1ObjectError",
    "D1TypeError",
    "D1UsageError",
    "EngineClosed",
    "Failure",
    "ObjectFailure",
]

NO_STATEMENTS = "No SQL statements detected."
NOT_A_STATEMENT = "SQL code did not contain a statement."
BINDING_COUNT = "Wrong number of parameter bindings for SQL query."
MULTIPLE_WITH_PARAMETERS = (
    "When executing multiple SQL statements in a single call, only the last statement can have parameters."
)
TRANSACTION_STATEMENT = (
    "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs "
    "instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because it will "
    "automatically roll back on exceptions, and because it interacts correctly with Durable Objects' automatic "
    "atomic write coalescing."
)
TIMED_OUT = "D1 DB storage operation exceeded timeout which caused object to be reset."
DATABASE_FULL = "Exceeded maximum DB size"
TOO_MANY_CALLS = "Too many API requests by single worker invocation."
OUT_OF_MEMORY = "out of memory: SQLITE_NOMEM"
OVERLOADED = "D1 DB is overloaded. Too many requests queued."


class Failure(Exception):
    """A statement failed; `reason` is the text without D1's prefix."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ObjectFailure(Failure):
    """The whole call failed inside the database object: production sends such a text without any prefix."""


class D1Error(JsException):
    """A query failed; `cause` holds the reason without the prefix."""

    prefix = "D1_ERROR"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self.prefix}: {reason}", cause=JsException(reason))
        self.reason = reason

    def __reduce__(self) -> tuple[type[D1Error], tuple[str]]:
        return (type(self), (self.reason,))


class D1ExecError(D1Error):
    """A line given to `exec` failed; production always names line 1 and quotes it, whichever line failed."""

    prefix = "D1_EXEC_ERROR"


class D1TypeError(D1Error):
    """`bind` was given a value that SQLite has no type for."""

    prefix = "D1_TYPE_ERROR"


class D1ColumnNotFound(D1Error):
    """`first(column)` named a column that the row does not have."""

    def __init__(self, column: str) -> None:
        super().__init__("")
        self.column = self.reason = column
        self.message = f"D1_COLUMN_NOTFOUND: Column not found ({column})"
        self.args = (self.message,)
        self.cause = JsException("Column not found")


class D1DumpError(D1Error):
    """`dump` is not served: production has ended it for databases of the current kind."""

    prefix = "D1_DUMP_ERROR"

    def __init__(self, status: int) -> None:
        super().__init__(f"Status + {status}")
        self.cause = JsException(f"Status {status}")
        self.status = status

    def __reduce__(self) -> tuple[type[D1Error], tuple[int]]:  # type: ignore[override] - another constructor
        return (type(self), (self.status,))


class D1ObjectError(JsException):
    """The database object failed as a whole; nothing of the call was stored."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, remote=True)

    def __reduce__(self) -> tuple[type[D1ObjectError], tuple[str]]:
        return (type(self), (self.message,))


class D1UsageError(JsTypeError):
    """The binding was called with something that its JavaScript face cannot work on."""


class EngineClosed(RuntimeError):
    """The database file was closed; a binding must not outlive its runtime."""

    def __init__(self, path: object) -> None:
        super().__init__(f"database {path} is closed")
