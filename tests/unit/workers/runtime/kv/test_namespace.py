from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workers.compat.buffers import Uint8Array
from workers.compat.js_values import Object
from workers.compat.proxies import JsException, JsTypeError, to_js
from workers.compat.streams import ReadableStream
from workers.runtime.kv.namespace import KvNamespace
from workers.runtime.kv.store import KvStore


@pytest.fixture
def clock() -> SimpleNamespace:
    clock = SimpleNamespace(at=1_600_000_000_000)
    clock.now_ms = lambda: clock.at
    return clock


@pytest.fixture
def kv(tmp_path: Path, clock: Any) -> Iterator[KvNamespace]:
    store = KvStore(tmp_path, "names", clock)
    yield KvNamespace(store, clock)
    store.close()


def blobs(folder: Path) -> int:
    return len(list((folder / "names" / "blobs").iterdir()))


async def test_values_come_back_as_the_sdk_gives_them(kv: KvNamespace) -> None:
    await kv.put("json", '{"items": [1, 2.0, {"a": null}]}')
    assert await kv.get("missing") is None
    value = await kv.get("json", type="json")
    assert value["items"][2].a is None
    assert isinstance(value["items"][1], int)
    assert isinstance(await kv.get("json", "arrayBuffer"), memoryview)
    stream = await kv.get("json", {"type": "stream"})
    assert (stream.length, await stream.read_all()) == (32, b'{"items": [1, 2.0, {"a": null}]}')
    assert repr(await kv.get(["json", "no"])) == repr({"json": '{"items": [1, 2.0, {"a": null}]}', "no": None})
    assert kv.constructor.name == "KvNamespace"


@pytest.mark.parametrize("value", [b"a\xff", memoryview(b"a\xff"), Uint8Array(b"a\xff")])
async def test_bytes_of_every_kind_are_stored(kv: KvNamespace, value: Any) -> None:
    await kv.put("k", value)
    assert bytes(await kv.get("k", "arrayBuffer")) == b"a\xff"
    assert await kv.get("k") == "a\ufffd"


async def test_what_the_sdk_cannot_send_is_refused(kv: KvNamespace) -> None:
    for value in ((1, 2), bytearray(b"x")):
        with pytest.raises(TypeError, match="cannot be sent over RPC"):
            await kv.put("k", value)
    for value in ({"a": 1}, [1]):
        with pytest.raises(JsTypeError, match=r"KV put\(\) accepts only strings"):
            await kv.put("k", value)
    with pytest.raises(JsTypeError, match="parameter 2 is not of type"):
        await kv.put("k")
    with pytest.raises(JsTypeError, match="parameter 1 is not of type"):
        await kv.get()
    with pytest.raises(JsException, match="400 Could not URL-decode key name"):
        await kv.put("\ud800", "v")


async def test_options_come_as_keywords_as_an_object_or_as_javascript_makes_it(kv: KvNamespace) -> None:
    await kv.put("a", "1", metadata={"n": 1}, expirationTtl=60)
    await kv.put("b", "2", {"metadata": {"n": 2}, "expirationTtl": 60})
    await kv.put("c", "3", to_js({"metadata": {"n": 3}, "expirationTtl": 60}, dict_converter=Object.fromEntries))
    keys = (await kv.list(prefix="", limit=10)).keys
    assert [(key.name, key.metadata.n, key.expiration) for key in (await kv.list())["keys"]] == [
        ("a", 1, 1_600_000_060),
        ("b", 2, 1_600_000_060),
        ("c", 3, 1_600_000_060),
    ]
    assert callable(keys)  # a name that dicts have is reached with [] only, as in the SDK
    found = await kv.getWithMetadata("a", type="json")
    assert (found.value, found.metadata.n, found["cacheStatus"]) == (1, 1, None)


async def test_a_value_whose_time_is_over_is_gone_with_its_file(kv: KvNamespace, clock: Any, tmp_path: Path) -> None:
    await kv.put("soon", "v", expirationTtl=60)
    await kv.put("other", "v", expirationTtl=60)
    clock.at += 59_999
    assert await kv.get("soon") == "v"
    clock.at += 1
    assert await kv.get("soon") is None
    assert blobs(tmp_path) == 1
    clock.at += 1
    assert (await kv.list())["keys"] == []
    assert blobs(tmp_path) == 0


async def test_a_replaced_value_takes_its_file_with_it(kv: KvNamespace, tmp_path: Path) -> None:
    for number in range(5):
        await kv.put("k", str(number))
    assert (await kv.get("k"), blobs(tmp_path)) == ("4", 1)
    await kv.delete("k")
    assert (await kv.get("k"), blobs(tmp_path)) == (None, 0)


async def test_pages_of_a_list_join_up(kv: KvNamespace) -> None:
    names = sorted(f"key {number}" for number in range(25))
    for name in reversed(names):
        await kv.put(name, "v")
    await kv.put("zebra", "v")
    found, cursor = list[str](), None
    while True:
        page = await kv.list(prefix="key", limit=10, cursor=cursor)
        found += [key.name for key in page["keys"]]
        if page.list_complete:
            break
        cursor = page.cursor
    assert found == names


async def test_a_stream_is_stored_as_it_comes_and_a_long_one_is_refused_whole(kv: KvNamespace, tmp_path: Path) -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 2**20

    await kv.put("k", ReadableStream.from_iterator(chunks(3)))
    assert len(await kv.get("k")) == 3 * 2**20
    with pytest.raises(JsException, match=r"KV PUT failed: 413 Value length of 27262976 exceeds limit of 26214400\."):
        await kv.put("k", ReadableStream.from_iterator(chunks(30)))
    assert (len(await kv.get("k")), blobs(tmp_path)) == (3 * 2**20, 1)


async def test_a_big_value_is_read_in_chunks_while_it_is_replaced(kv: KvNamespace) -> None:
    await kv.put("k", b"a" * 2**20)
    stream = await kv.get("k", type="stream")
    chunks = stream.raw_chunks()
    first = await anext(chunks)
    await kv.put("k", "new")
    rest = b"".join([chunk async for chunk in chunks])
    assert first + rest == b"a" * 2**20


async def test_many_callers_at_once(kv: KvNamespace) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(kv.put(f"k{number % 10}", str(number)))
    found = await kv.get([f"k{number}" for number in range(10)])
    assert found == {f"k{number}": f"9{number}" for number in range(10)}


async def test_a_folder_that_cannot_be_written_is_an_error_of_the_service(tmp_path: Path, clock: Any) -> None:
    (tmp_path / "file").write_text("")
    kv = KvNamespace(KvStore(tmp_path / "file", "names", clock), clock)
    with pytest.raises(JsException, match="KV PUT failed: 500 "):
        await kv.put("k", "v")


@pytest.mark.parametrize(
    ("namespace", "folder"),
    [
        ("0f2ac74b498b48028cb68387c421e279", None),
        ("../up", "___up"),
        ("a/b:c", "a_b_c"),
        ("nul", "_"),
        ("ü ", "%C3%BC_"),
    ],
)
def test_the_folder_of_a_namespace_stays_where_it_belongs(
    tmp_path: Path, clock: Any, namespace: str, folder: str | None
) -> None:
    store = KvStore(tmp_path, namespace, clock)
    store.put("k", b"v")
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["miniflare-KVNamespaceObject", folder or namespace]
    )
