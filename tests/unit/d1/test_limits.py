"""The table of limits, and that SQLite enforces it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from d1.limits import LIMITS, apply_limits, limit


def test_every_limit_says_where_it_comes_from() -> None:
    assert len({(entry.name, entry.plan) for entry in LIMITS}) == len(LIMITS)
    assert all(entry.source and entry.plan and entry.unit for entry in LIMITS)


def test_sqlite_enforces_every_limit_it_has_a_category_for() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        apply_limits(connection)
        for entry in LIMITS:
            if entry.category is not None:
                assert connection.getlimit(entry.category) == entry.value
        with pytest.raises(sqlite3.OperationalError, match="too many columns"):
            connection.execute(f"CREATE TABLE t({','.join(f'c{i}' for i in range(limit('columns') + 1))})")
