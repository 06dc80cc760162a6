"""D1: an SQLite database behind Cloudflare's D1 interface, which tells what every commit changed.

Names are resolved on first use, so that importing one pure module loads neither sqlite3 nor sqlglot.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d1.changes import Commit, RowChange
    from d1.database import D1Database, D1DatabaseSession
    from d1.engine import Engine
    from d1.errors import D1Error
    from d1.migrations import apply_d1_migrations, read_d1_migrations
    from d1.statement import D1PreparedStatement, D1Result

__all__ = [
    "Commit",
    "D1Database",
    "D1DatabaseSession",
    "D1Error",
    "D1PreparedStatement",
    "D1Result",
    "Engine",
    "RowChange",
    "apply_d1_migrations",
    "read_d1_migrations",
]

_HOMES = {
    "Commit": "d1.changes",
    "D1Database": "d1.database",
    "D1DatabaseSession": "d1.database",
    "D1Error": "d1.errors",
    "D1PreparedStatement": "d1.statement",
    "D1Result": "d1.statement",
    "Engine": "d1.engine",
    "RowChange": "d1.changes",
    "apply_d1_migrations": "d1.migrations",
    "read_d1_migrations": "d1.migrations",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'd1' has no attribute {name!r}")
    return getattr(import_module(home), name)
