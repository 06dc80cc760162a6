from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_objects.realtime.core.codes import Code, RealtimeError
from durable_objects.realtime.core.row_filter import read_filter

ROW = {"id": 7, "status": "open", "total": 12.5, "note": None, "raw": [1, 2]}


@pytest.mark.parametrize(
    ("given_filter", "is_in"),
    [
        ({}, True),
        ({"status": "open"}, True),
        ({"STATUS": "open"}, True),
        ({"status": "OPEN"}, False),
        ({"id": 7, "status": "open"}, True),
        ({"id": 7, "status": "shut"}, False),
        ({"id": 7.0}, True),
        ({"id": "7"}, False),
        ({"total": {"gt": 12, "lt": 13}}, True),
        ({"total": {"gt": 12.5}}, False),
        ({"total": {"gte": 12.5}}, True),
        ({"total": {"lte": 12}}, False),
        ({"status": {"gt": 999}}, True),
        ({"id": {"lt": "a"}}, True),
        ({"status": ["open", "new"]}, True),
        ({"status": {"in": []}}, False),
        ({"status": {"nin": []}}, True),
        ({"status": {"nin": ["open"]}}, False),
        ({"note": None}, True),
        ({"note": {"null": False}}, False),
        ({"status": {"null": False}}, True),
        ({"note": {"ne": 1}}, True),
        ({"note": {"nin": [1]}}, True),
        ({"note": {"lt": 1}}, False),
        ({"note": {"gte": 0}}, False),
        ({"status": {"ne": "open"}}, False),
        ({"raw": {"eq": [1, 2]}}, True),
        ({"raw": {"gt": "zzz"}}, True),
        ({"or": [{"id": 1}, {"status": "open"}]}, True),
        ({"or": []}, False),
        ({"and": []}, True),
        ({"and": [{"id": 7}, {"or": [{"total": 1}, {"note": None}]}]}, True),
        ({"not": {"id": 7}}, False),
        ({"not": {"note": {"gt": 3}}}, True),
        ({"columns": {"id": 7}}, True),
        ({"missing": None}, True),
        ({"missing": 1}, False),
        ({"id": True}, False),
    ],
)
def test_a_filter_decides(given_filter: dict[str, Any], is_in: bool):
    assert read_filter(given_filter).matches(ROW) is is_in


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ([], "filter"),
        (None, "filter"),
        ({"a": {}}, "filter.a"),
        ({"a": {"like": "x"}}, "filter.a.like"),
        ({"a": {"in": 5}}, "filter.a.in"),
        ({"a": {"in": [1, None]}}, "filter.a.in.1"),
        ({"a": {"null": 1}}, "filter.a.null"),
        ({"a": {"eq": {"b": 1}}}, "filter.a.eq"),
        ({"a": {"eq": None}}, "filter.a.eq"),
        ({"a": {"gt": [256]}}, "filter.a.gt"),
        ({"a": 2**63}, "filter.a.eq"),
        ({"or": {}}, "filter.or"),
        ({"and": [1]}, "filter.and.0"),
        ({"not": 1}, "filter.not"),
        ({"a": list(range(300))}, "filter.a.in"),
    ],
)
def test_what_is_no_filter_is_told_with_the_place(wrong: object, place: str):
    with pytest.raises(RealtimeError) as caught:
        read_filter(wrong)
    assert (caught.value.code, caught.value.field) == (Code.BAD_FILTER, place)


def test_nesting_is_bounded():
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"not": deep}
    with pytest.raises(RealtimeError):
        read_filter(deep)


COLUMNS = ("a", "B", "odd ` name")
VALUES = (
    st.none()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, -1.5, 1e300, "", "a", "B", "b", "10", "é"])
    | st.binary(max_size=2)
)


def in_json(value: Any) -> Any:
    return list(value) if isinstance(value, bytes) else value


OPERANDS = VALUES.filter(lambda value: value is not None).map(in_json)
COMPARISONS = st.one_of(
    st.tuples(st.sampled_from(["eq", "ne", "lt", "lte", "gt", "gte"]), OPERANDS),
    st.tuples(st.sampled_from(["in", "nin"]), st.lists(OPERANDS, max_size=3)),
    st.tuples(st.just("null"), st.booleans()),
).map(lambda pair: {pair[0]: pair[1]})
LEAVES = st.dictionaries(st.sampled_from(["a", "b", "odd ` name"]), COMPARISONS | st.none(), max_size=2)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, max_size=3).map(lambda parts: {"or": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)


@given(FILTERS, st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=6))
def test_a_filter_and_its_sql_choose_the_same_rows(wanted: dict[str, Any], rows: list[tuple[Any, ...]]):
    """Columns with an affinity and a collation: neither may matter."""
    found = read_filter(wanted)
    database = sqlite3.connect(":memory:")
    try:
        database.execute('CREATE TABLE t (a INTEGER, B TEXT COLLATE NOCASE, "odd ` name")')
        database.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        stored = database.execute("SELECT * FROM t").fetchall()
        chosen = database.execute(f"SELECT * FROM t WHERE {found.sql}", found.parameters).fetchall()
    finally:
        database.close()
    as_json = [{name: in_json(value) for name, value in zip(COLUMNS, row, strict=True)} for row in stored]
    assert chosen == [row for row, shown in zip(stored, as_json, strict=True) if found.matches(shown)]
