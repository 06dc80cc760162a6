"""Delete what an application has stored, while it runs and its bindings stay in use."""

from __future__ import annotations

from typing import Final

from d1.database import D1Database
from workers.runtime.app import App

__all__ = ["erase"]

# Views and triggers first: they may name tables that are gone a moment later. Virtual tables take their own shadow
# tables with them.
_ORDER: Final = """
SELECT type, name FROM sqlite_master
WHERE type IN ('trigger', 'view', 'table')
  AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_cf!_%' ESCAPE '!'
ORDER BY CASE type WHEN 'trigger' THEN 0 WHEN 'view' THEN 1 ELSE 2 END, sql NOT LIKE 'CREATE VIRTUAL%', rowid DESC
"""
_QUOTE: Final = '"'


async def erase(app: App) -> None:
    """Delete all Durable Objects with their alarms, all keys of KV, and all tables of D1."""
    app.host.erase()
    for store in app.resources.stores:
        store.erase()
    for database in app.resources.databases:
        await _empty(database)


async def _empty(database: D1Database) -> None:
    found = (await database.prepare(_ORDER).all())["results"]
    drops = [f'DROP {row["type"]} IF EXISTS "{row["name"].replace(_QUOTE, _QUOTE * 2)}"' for row in found]
    if drops:
        # one transaction: tables may refer to each other in circles
        await database.batch([database.prepare(sql) for sql in ("PRAGMA defer_foreign_keys = on", *drops)])
