from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from workers.compat.proxies import JsDict, JsException, JsTypeError


async def test_values_survive_and_are_copies(bench: Any):
    value = {"list": [1, None, "é☃"], "set": {1, 2}, "when": dt.datetime(2024, 1, 2, 3, 4, 5, 6000), "raw": b"\x00"}
    await bench.storage.put("k", value)
    found = await bench.storage.get("k")
    assert found == value
    assert isinstance(found, JsDict)
    assert found.list == [1, None, "é☃"]
    found["list"].append(2)
    assert (await bench.storage.get("k")).list == [1, None, "é☃"]


async def test_several_keys_at_once(bench: Any):
    await bench.storage.put({"b": 1, "a": 2})
    assert list((await bench.storage.get(["b", "zz", "a", "b"])).items()) == [("a", 2), ("b", 1)]
    assert await bench.storage.delete(["a", "a", "zz"]) == 1
    assert await bench.storage.delete("b") is True
    assert await bench.storage.delete("b") is False


async def test_work_is_done_when_it_is_called(bench: Any):
    bench.storage.put("k", 1)
    assert bench.storage.kv.get("k") == 1


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (0, "alarm time <= 0"),
        (float("nan"), "not a valid Date"),
        ("2099", "not of type 'date'"),
        (None, "not of type 'date'"),
        (10**18, "dates after 2189"),
    ],
)
async def test_alarm_times_are_checked(bench: Any, time: object, message: str):
    with pytest.raises(JsTypeError, match=message):
        await bench.storage.setAlarm(time)
    assert await bench.storage.getAlarm() is None


async def test_an_alarm_may_be_a_datetime_and_is_kept_in_nanoseconds(bench: Any):
    await bench.storage.setAlarm(dt.datetime(2100, 1, 1))
    assert await bench.storage.getAlarm() == 4102444800000
    assert bench.file.run("SELECT key, value FROM _cf_METADATA").fetchall() == [(1, 4102444800000 * 1_000_000)]
    await bench.storage.deleteAlarm()
    assert await bench.storage.getAlarm() is None


async def test_an_alarm_in_the_past_is_an_alarm_now(bench: Any):
    await bench.storage.setAlarm(5)
    assert await bench.storage.getAlarm() == 1000


async def test_delete_all_takes_everything(bench: Any):
    await bench.storage.put("k", 1)
    bench.storage.sql.exec("CREATE TABLE t(a)")
    await bench.storage.setAlarm(4102444800000)
    bench.commit()
    await bench.storage.deleteAll()
    assert await bench.storage.list() == {}
    assert await bench.storage.getAlarm() is None
    bench.commit()
    assert bench.storage.sql.exec("SELECT name FROM sqlite_master").toArray() == []


async def test_delete_all_is_refused_inside_a_transaction(bench: Any):
    with pytest.raises(JsException, match=r"Cannot call deleteAll\(\) within a transaction"):
        bench.storage.transactionSync(bench.storage.deleteAll)


async def test_a_synchronous_transaction_takes_no_coroutine(bench: Any):
    async def closure() -> None: ...

    with pytest.raises(JsTypeError, match="must be a synchronous function"):
        bench.storage.transactionSync(closure)


async def test_wrong_arguments_are_told_as_production_tells_them(bench: Any):
    with pytest.raises(JsTypeError, match=r"put\(\) called with undefined value"):
        bench.storage.put("k")
    with pytest.raises(JsTypeError, match=r"put\(\) may only be called with a single key-value pair"):
        bench.storage.put({"a": 1}, "text")
    with pytest.raises(JsTypeError, match="not of type 'string or Array'"):
        bench.storage.get()
    with pytest.raises(JsException, match="does not implement point-in-time recovery"):
        bench.storage.getBookmarkForTime(1)


async def test_bookmarks_grow(bench: Any):
    first, second = await bench.storage.getCurrentBookmark(), await bench.storage.getCurrentBookmark()
    assert len(first) == 59
    assert first < second


async def test_a_value_may_be_too_big(bench: Any):
    with pytest.raises(JsException, match="string or blob too big: SQLITE_TOOBIG"):
        await bench.storage.put("k", "v" * 2_200_000)
