"""The order in which logged rows can be replayed."""

from __future__ import annotations

from d1.changes import ChangeType, LoggedRow, Row, in_replay_order, same_row


def logged(kind: ChangeType, old: Row | None, new: Row | None, seq: int, table: str = "t") -> LoggedRow:
    return LoggedRow(kind, table, ("id", "v"), old, new, old and old[:1], new and new[:1], seq)


def test_unrelated_rows_keep_their_order() -> None:
    rows = [
        logged("INSERT", None, (1, "a"), 1),
        logged("UPDATE", (2, "b"), (2, "c"), 2),
        logged("DELETE", (3, 0), None, 3),
    ]
    assert in_replay_order(rows, [0], ()) == rows


def test_an_outer_update_comes_before_the_cascade_it_caused() -> None:
    cascade = logged("UPDATE", (7, 1), (7, 7), 1)
    outer = logged("UPDATE", (1, 1), (7, 1), 2)
    assert in_replay_order([cascade, outer], [0], {"t"}) == [outer, cascade]


def test_rows_of_different_statements_are_never_exchanged() -> None:
    first = logged("UPDATE", (7, 1), (7, 7), 1)
    second = logged("UPDATE", (1, 1), (7, 1), 2)
    assert in_replay_order([first, second], [0, 1], {"t"}) == [first, second]


def test_a_key_freed_in_between_belongs_to_another_row() -> None:
    rows = [
        logged("UPDATE", (7, "x"), (7, "y"), 1),
        logged("DELETE", (7, "y"), None, 2),
        logged("UPDATE", (1, "x"), (7, "x"), 3),
    ]
    assert in_replay_order(rows, [0], ()) == rows


def test_a_stale_old_row_is_replaced_by_the_latest_one() -> None:
    nested = logged("UPDATE", (1, "a"), (1, "early"), 1)
    outer = logged("UPDATE", (1, "a"), (1, "w"), 2)
    ordered = in_replay_order([nested, outer], [0], ())
    assert ordered[1].old == (1, "early")


def test_storage_classes_make_rows_differ() -> None:
    assert same_row((1, "a"), (1, "a"))
    assert not same_row((1, "a"), (1.0, "a"))
    assert same_row(None, None)
    assert not same_row(None, (1,))
