"""What user SQL may do: production's permissions as data, and the SQLite authorizer that asks them.

SQLite asks while it prepares a statement, so the answer must not depend on anything but the statement. Installing an
authorizer expires every prepared statement: it is installed once, when the connection opens.
"""

from __future__ import annotations

import re
import sqlite3
from enum import Enum
from typing import Final

__all__ = [
    "ABSENT_TABLES",
    "ALLOWED_FUNCTIONS",
    "DENIED_FUNCTIONS",
    "FUNCTION_GROUPS",
    "MODULES",
    "PRAGMAS",
    "Authorizer",
    "PragmaArgument",
    "is_reserved",
]


class PragmaArgument(Enum):
    """Which argument a permitted PRAGMA takes."""

    NONE = "none"
    BOOLEAN = "optional boolean word"
    NAME = "required object name"
    OPTIONAL_NAME = "optional object name"
    NAME_OR_NUMBER = "optional object name or number"
    OPTIONAL_NUMBER = "optional number"


PRAGMAS: Final = {
    "foreign_keys": PragmaArgument.BOOLEAN,
    "defer_foreign_keys": PragmaArgument.BOOLEAN,
    "case_sensitive_like": PragmaArgument.BOOLEAN,
    "ignore_check_constraints": PragmaArgument.BOOLEAN,
    "legacy_alter_table": PragmaArgument.BOOLEAN,
    "recursive_triggers": PragmaArgument.BOOLEAN,
    "reverse_unordered_selects": PragmaArgument.BOOLEAN,
    "table_list": PragmaArgument.OPTIONAL_NAME,
    "table_info": PragmaArgument.NAME,
    "table_xinfo": PragmaArgument.NAME,
    "index_list": PragmaArgument.NAME,
    "index_info": PragmaArgument.NAME,
    "index_xinfo": PragmaArgument.NAME,
    "foreign_key_list": PragmaArgument.NAME,
    "foreign_key_check": PragmaArgument.OPTIONAL_NAME,
    "quick_check": PragmaArgument.NAME_OR_NUMBER,
    "optimize": PragmaArgument.OPTIONAL_NUMBER,
    "data_version": PragmaArgument.NONE,
}
"""Permitted PRAGMAs; every other name is denied."""

_NUMBER: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|\d+)")
_BOOLEAN_WORDS: Final = ("1", "0", "on", "off", "yes", "no", "true", "false")

MODULES: Final = frozenset({"fts5", "fts5vocab"})
"""Virtual table modules that may be created."""

ABSENT_TABLES: Final = frozenset({"dbstat", "sqlite_stmt", "generate_series", "fts3tokenize", "bytecode"})
"""Built-in tables that SQLite may have here and production has not: reported as missing."""

DENIED_FUNCTIONS: Final = frozenset(
    {
        "ceiling",
        "fts5",
        "fts5_source_id",
        "json_error_position",
        "json_pretty",
        "log10",
        "power",
        "sqlite_compileoption_get",
        "sqlite_compileoption_used",
        "sqlite_log",
        "sqlite_source_id",
        "sqlite_version",
        "subtype",
    }
)
"""Functions that exist in production and are refused; other functions outside the allow list do not exist there."""

FUNCTION_GROUPS: Final = {
    "core": "-> ->> abs changes char coalesce concat concat_ws format glob hex ifnull iif instr last_insert_rowid "
    "length like likelihood likely load_extension lower ltrim match max min nullif octet_length printf quote random "
    "randomblob replace round rtrim sign substr substring total_changes trim typeof unhex unicode unlikely upper "
    "zeroblob",
    "date": "current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch",
    "aggregate": "avg count group_concat string_agg sum total",
    "window": "cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number",
    "math": "acos acosh asin asinh atan atan2 atanh ceil cos cosh degrees exp floor ln log log2 mod pi pow radians "
    "sin sinh sqrt tan tanh trunc",
    "json": "json json_array json_array_length json_each json_extract json_group_array "
    "json_group_object json_insert json_object json_patch json_quote json_remove json_replace json_set json_tree "
    "json_type json_valid jsonb jsonb_array jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert "
    "jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set",
    "fts5": "bm25 highlight snippet",
    "called by ALTER TABLE": "sqlite_drop_column sqlite_rename_column sqlite_rename_quotefix sqlite_rename_table "
    "sqlite_rename_test",
}
ALLOWED_FUNCTIONS: Final = frozenset(name for names in FUNCTION_GROUPS.values() for name in names.split())

_NAMED: Final = frozenset(
    {
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_CREATE_VIEW,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_TABLE,
        sqlite3.SQLITE_DROP_TRIGGER,
        sqlite3.SQLITE_DROP_VIEW,
        sqlite3.SQLITE_DROP_VTABLE,
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_REINDEX,
    }
)
_ON_TABLE: Final = frozenset(
    {
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_TRIGGER,
    }
)

_WRITES: Final = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})

_OK: Final = sqlite3.SQLITE_OK
_DENY: Final = sqlite3.SQLITE_DENY


def is_reserved(name: str | None) -> bool:
    """Tell whether a table, index, view or trigger name belongs to the platform."""
    return name is not None and name[:4].lower() == "_cf_"


class Authorizer:
    """Answers SQLite's questions; permits everything while `is_user` is false (the engine's own statements).

    `own_prefix` begins the names of the engine's TEMP objects; only triggers of that prefix may reach them.
    """

    def __init__(self, own_prefix: str) -> None:
        self.is_user = False
        self.is_altering = False
        """ALTER TABLE looks into SQLite's TEMP schema by itself; nobody else may, for capture's objects are there."""
        self.denied_transaction = False
        """Set when BEGIN, COMMIT, SAVEPOINT and the like were refused: they have their own error text."""
        self.denied_table = ""
        """Set when reading a table was refused."""
        self.written: set[str] | None = None
        """Gathers the tables that statements write, when somebody asks for them."""
        self._own = own_prefix

    def forget(self) -> None:
        """Forget what was refused; it belonged to a statement that has been explained."""
        self.denied_transaction = False
        self.denied_table = ""

    def __call__(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None, /
    ) -> int:
        """Answer one question; see https://www.sqlite.org/c3ref/c_alter_table.html for the arguments."""
        if self.written is not None and first is not None and action in _WRITES:
            self.written.add(first)
        if not self.is_user or (trigger is not None and trigger.startswith(self._own)):
            return _OK
        if action in (sqlite3.SQLITE_READ, sqlite3.SQLITE_UPDATE):
            return self._table(first, database)
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return _OK
        if action == sqlite3.SQLITE_FUNCTION:
            return _OK if (second or "").lower() in ALLOWED_FUNCTIONS else _DENY
        if action in _NAMED:
            if action in _ON_TABLE and self._table(second, database):
                return _DENY
            return self._table(first, database)
        if action == sqlite3.SQLITE_ANALYZE:
            return self._table(first, database)
        if action == sqlite3.SQLITE_PRAGMA:
            return _OK if _pragma_allowed(first or "", second) else _DENY
        if action == sqlite3.SQLITE_ALTER_TABLE:
            return self._table(second, first)
        if action == sqlite3.SQLITE_CREATE_VTABLE:
            return _OK if (second or "").lower() in MODULES and not is_reserved(first) else _DENY
        if action in (sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT):
            self.denied_transaction = True
        return _DENY  # attach, detach, everything TEMP, whatever SQLite adds later

    def _table(self, name: str | None, database: str | None) -> int:
        if database == "temp" and self.is_altering:
            return _OK
        if is_reserved(name) or database == "temp" or (name is not None and name.startswith(self._own)):
            self.denied_table = name or ""
            return _DENY
        if name is not None and name.lower() in ABSENT_TABLES:
            self.denied_table = name
            return _DENY
        return _OK


def _pragma_allowed(name: str, argument: str | None) -> bool:
    kind = PRAGMAS.get(name)  # production compares the name as it is written
    match kind:
        case None:
            return False
        case PragmaArgument.NONE:
            return argument is None
        case PragmaArgument.BOOLEAN:
            return argument is None or argument.strip("'\"").lower().startswith(_BOOLEAN_WORDS)
        case PragmaArgument.NAME:
            return argument is not None and not is_reserved(argument)
        case PragmaArgument.OPTIONAL_NAME | PragmaArgument.NAME_OR_NUMBER:
            return not is_reserved(argument)
        case PragmaArgument.OPTIONAL_NUMBER:
            return argument is None or _NUMBER.fullmatch(argument.strip()) is not None
