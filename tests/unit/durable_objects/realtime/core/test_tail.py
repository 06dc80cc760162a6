from __future__ import annotations

from durable_objects.realtime.core.tail import Entry, Tail, Tails, heard_until


def told(tails: Tails, tail: Tail, count: int, *, at_ms: int = 1_000, max_bytes: int = 10_000, size: int = 10) -> None:
    for _ in range(count):
        tail.offset += 1
        entry = Entry(tails.next_order(), "event", "x" * size, at_ms, "e", tail.epoch, tail.offset)
        tail.add(entry, max_bytes)


def test_what_was_said_after_a_place_is_told_again_in_order():
    tails = Tails()
    tail = Tail(tails, "e")
    told(tails, tail, 5)
    assert [entry.offset for entry in tail.after(2)] == [3, 4, 5]
    assert tail.is_whole_after(2)
    assert tail.offset_at(3) == 3


def test_a_full_tail_lets_go_of_the_oldest_and_knows_it():
    tails = Tails()
    tail = Tail(tails, "e")
    told(tails, tail, 10, max_bytes=1_000)
    assert [entry.offset for entry in tail.after(0)] == [8, 9, 10]
    assert (tail.is_whole_after(7), tail.is_whole_after(6)) == (True, False)
    assert (tail.is_whole_since(7), tail.is_whole_since(6)) == (True, False)
    assert tails.size == tail.size


def test_the_topics_that_were_silent_longest_give_way():
    tails = Tails(max_bytes=2_000)
    first, second = Tail(tails, "a"), Tail(tails, "b")
    told(tails, first, 4)
    told(tails, second, 4)
    assert not first.is_whole_after(0)
    assert second.is_whole_after(4)
    assert tails.size <= 2_000


def test_old_events_expire_and_what_nobody_waits_for_is_not_kept():
    tails = Tails()
    tail = Tail(tails, "e")
    told(tails, tail, 2, at_ms=1_000)
    told(tails, tail, 1, at_ms=5_000)
    tails.expire(2_000)
    assert [entry.at_ms for entry in tail.after(0)] == [5_000]
    tail.skip(tails.next_order())
    assert (list(tail.newest_first()), tails.size) == ([], 0)


FRAME = 2 + len('{"type":"event","topic":"t"') + 10


def heard(tails: Tails, spellings: dict[Tail, list[str]], lost: int, **more: int) -> int:
    given = {"doubtful_ms": 10_000, "heard_at_ms": 0} | more
    return heard_until(spellings, tails.next_order(), lost_bytes=lost, **given)


def test_what_was_on_its_way_is_counted_back_over_all_topics_of_a_connection():
    tails = Tails()
    one, two = Tail(tails, "a"), Tail(tails, "b")
    for _ in range(3):
        told(tails, one, 1)
        told(tails, two, 1)
    spellings = {one: ["t"], two: ["t"]}
    assert heard(tails, spellings, 0) > 6
    assert heard(tails, spellings, 1) == 5
    assert heard(tails, spellings, FRAME) == 5
    assert heard(tails, spellings, FRAME + 1) == 4
    assert heard(tails, spellings, 10**9) == 0


def test_what_was_said_long_before_the_client_was_heard_has_arrived():
    tails = Tails()
    tail = Tail(tails, "a")
    told(tails, tail, 1, at_ms=1_000)
    told(tails, tail, 1, at_ms=9_000)
    assert heard(tails, {tail: ["t"]}, 1_000, heard_at_ms=9_500) == 1
    assert heard(tails, {tail: ["t"]}, 10**6, heard_at_ms=9_500) == 0


def test_what_was_said_just_before_the_end_may_not_have_been_read():
    tails = Tails()
    tail = Tail(tails, "a")
    told(tails, tail, 1, at_ms=1_000)
    told(tails, tail, 1, at_ms=1_900)
    assert heard(tails, {tail: ["t"]}, 0, doubtful_ms=1_500) == 1


def test_what_was_said_after_a_close_was_never_on_its_way():
    tails = Tails()
    tail = Tail(tails, "a")
    told(tails, tail, 2)
    until = tails.next_order()
    told(tails, tail, 2)
    order = heard_until({tail: ["t"]}, until, lost_bytes=0, doubtful_ms=10_000, heard_at_ms=0)
    assert [entry.offset for entry in tail.after(order)] == [3, 4]
