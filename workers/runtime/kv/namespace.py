"""`env.KV`: get, put, delete, list, with the values that the Python SDK gives.

https://developers.cloudflare.com/kv/api/
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from durable_objects.clock import Clock
from durable_objects.rpc import send
from workers.compat.js_string import js_string
from workers.compat.json_text import js_json, parse_json
from workers.compat.proxies import JsDict, JsNull, JsProxy, JsSyntaxError, JsTypeError, init_options
from workers.compat.streams import ReadableStream
from workers.compat.websocket import current_owner
from workers.rpc import python_from_rpc, python_to_rpc
from workers.runtime.kv import limits
from workers.runtime.kv.store import KvEntry, KvStore, TooLong

__all__ = ["KvNamespace"]

_MISSING: Final = object()


@contextmanager
def _as(method: str) -> Generator[None, None, None]:
    """Say what the machine's files refuse as the service would say that it is unwell."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise limits.failed(method, 500, str(error)) from error


def _options(given: Any, members: Mapping[str, Any], name: str = "type") -> dict[str, Any]:
    """Return options given as an object or as keywords; a string stands for the one called `name`."""
    given = {name: given} if isinstance(given, str) else given
    return {
        key: None if isinstance(value, JsNull) else value
        for key, value in init_options(python_to_rpc(given), python_to_rpc(dict(members))).items()
    }


class KvNamespace(JsProxy):
    """One namespace. Options are given as in JavaScript, as one object or type name, or as keywords."""

    __slots__ = ("_clock", "_store")

    def __init__(self, store: KvStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # -- reading

    async def get(self, key: Any = _MISSING, options: Any = None, **members: Any) -> Any:
        """Return the value of a key, None when there is none; of a list of keys, a dict with all of them.

        `type` is "text" (str), "json", "arrayBuffer" (memoryview) or "stream"; for several keys "text" or "json".
        """
        self._needs(key, "get", 1, "string or Array")
        wanted = _options(options, members)
        if isinstance(key, (list, tuple)):
            return await self._bulk(cast("list[Any]", key), wanted, with_metadata=False)
        return (await self._one(key, wanted)).value

    async def getWithMetadata(self, key: Any = _MISSING, options: Any = None, **members: Any) -> Any:
        """Like `get`, but the result is `{value, metadata, cacheStatus}`."""
        self._needs(key, "getWithMetadata", 1, "string or Array")
        wanted = _options(options, members)
        if isinstance(key, (list, tuple)):
            return await self._bulk(cast("list[Any]", key), wanted, with_metadata=True)
        return await self._one(key, wanted)

    get_with_metadata = getWithMetadata

    async def _one(self, given: Any, options: dict[str, Any]) -> JsDict:
        key = limits.key_name("GET", given)
        kind = limits.value_type(options.get("type", "text"))
        limits.cache_ttl("GET", options.get("cacheTtl"))
        with _as("GET"):
            entry = self._store.find(key)
            value = None if entry is None else await self._value(entry, kind)
        metadata = None if entry is None or value is None else _metadata(entry)
        return JsDict(value=value, metadata=metadata, cacheStatus=None)

    async def _value(self, entry: KvEntry, kind: str) -> Any:
        if kind == "stream":
            found = self._store.open(entry)
            return None if found is None else ReadableStream.from_iterator(found[1], length=found[0])
        data = await self._store.read(entry)
        if data is None:
            return None
        if kind == "arrayBuffer":
            return memoryview(data)
        text = data.decode("utf-8", "replace")
        return python_from_rpc(parse_json(text)) if kind == "json" else text

    async def _bulk(self, given: list[Any], options: dict[str, Any], *, with_metadata: bool) -> JsDict:
        kind = limits.bulk_type(options.get("type", "text"))
        limits.bulk_size(len(given))
        found, size = JsDict(), 0
        for key in map(limits.bulk_key, given):
            limits.cache_ttl("GET_BULK", options.get("cacheTtl"))
            with _as("GET_BULK"):
                entry = self._store.find(key)
                data = None if entry is None else await self._store.read(entry)
            if entry is None or data is None:
                found[key] = None
                continue
            text = data.decode("utf-8", "replace")
            size += len(text)
            value = _json_of(text) if kind == "json" else text
            found[key] = JsDict(value=value, metadata=_metadata(entry)) if with_metadata else value
        if size > limits.MOST_BULK_BYTES:
            megabytes = limits.MOST_BULK_BYTES // 1024**2
            raise limits.failed("GET_BULK", 413, f"Total size of request exceeds the limit of {megabytes}MB")
        return found

    async def list(self, options: Any = None, **members: Any) -> JsDict:
        """Return `{keys, list_complete, cursor}`: names in the order of their bytes, 1,000 or `limit` at a time."""
        wanted = _options(options, members)
        limit = limits.list_limit(wanted.get("limit"))
        prefix = limits.list_prefix(wanted.get("prefix"))
        with _as("GET"):
            entries = self._store.list(prefix, _after(wanted.get("cursor")), limit + 1)
        page = JsDict(keys=[_listed(entry) for entry in entries[:limit]], list_complete=len(entries) <= limit)
        if len(entries) > limit:
            page["cursor"] = base64.b64encode(entries[limit - 1].key.encode()).decode()
        page["cacheStatus"] = None
        return page

    # -- writing

    async def put(self, key: Any = _MISSING, value: Any = _MISSING, options: Any = None, **members: Any) -> None:
        """Set the value of a key: text, bytes or a stream.

        Options are `expiration` (seconds since the epoch), `expirationTtl` (seconds from now, 60 or more) and
        `metadata` (anything JSON can say, up to 1,024 bytes).
        """
        self._needs(key, "put", 1, "string")
        self._needs(value, "put", 2, "string or JsObject")
        name = limits.key_name("PUT", key)
        wanted = _options(options, members)
        expires = limits.expiration_ms(wanted.get("expiration"), wanted.get("expirationTtl"), self._clock.now_ms())
        metadata = None
        if "metadata" in wanted and (given := wanted["metadata"]) is not None:
            metadata = limits.metadata_text(js_json(given))
        content = _content(value)
        await _after_own_writes()
        if isinstance(content, bytes):
            limits.value_length(len(content))
            with _as("PUT"):
                self._store.put(name, content, expires, metadata)
            return
        limits.value_length(content.length or 0)
        try:
            with _as("PUT"):
                await self._store.put_stream(name, content.raw_chunks(), expires, metadata, limits.MOST_VALUE_BYTES)
        except TooLong as error:
            limits.value_length(error.length)

    async def delete(self, key: Any = _MISSING) -> None:
        """Remove a key or a list of keys; it is no error when one is not there."""
        self._needs(key, "delete", 1, "string or Array")
        given = cast("Iterable[Any]", key) if isinstance(key, (list, tuple)) else (key,)
        names = [limits.key_name("DELETE", one) for one in given]
        await _after_own_writes()
        for name in names:
            with _as("DELETE"):
                self._store.delete(name)

    def _needs(self, value: object, method: str, position: int, kind: str) -> None:
        if value is _MISSING:
            raise JsTypeError(
                f"Failed to execute '{method}' on 'KvNamespace': parameter {position} is not of type '{kind}'."
            )

    def __repr__(self) -> str:
        return "KvNamespace"


async def _after_own_writes() -> None:
    """Let what the calling Durable Object has written be committed first, as before all that it sends."""
    owner = current_owner.get()
    if owner is not None and owner.held:
        await send(lambda future: future.set_result(None))


def _metadata(entry: KvEntry) -> Any:
    return None if entry.metadata is None else python_from_rpc(parse_json(entry.metadata))


def _json_of(text: str) -> Any:
    try:
        return python_from_rpc(parse_json(text))
    except JsSyntaxError:
        raise limits.failed(
            "GET_BULK", 400, "At least one of the requested keys corresponds to a non-json value"
        ) from None


def _listed(entry: KvEntry) -> JsDict:
    listed = JsDict(name=entry.key)
    if entry.expiration_ms is not None:
        listed["expiration"] = entry.expiration_ms // 1000
    if entry.metadata is not None:
        listed["metadata"] = _metadata(entry)
    return listed


def _after(cursor: Any) -> str:
    """Return the key that a cursor stands for; a cursor that says nothing is the beginning, as with miniflare."""
    if cursor is None:
        return ""
    text = "".join(character for character in js_string(cursor) if character.isalnum() or character in "+/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _content(value: Any) -> bytes | ReadableStream:
    """Return what is stored of a value: numbers and the like are stored as JavaScript writes them."""
    given = python_to_rpc(value)
    if isinstance(given, ReadableStream):
        known = given.known_bytes
        return given if known is None else known
    if isinstance(given, bytes):
        return bytes(given)
    to_bytes = getattr(given, "to_bytes", None)
    if callable(to_bytes) and isinstance(given, JsProxy):
        return bytes(cast(bytes, to_bytes()))
    if given is None or isinstance(given, (str, bool, int, float, JsNull)):
        text = "null" if given is None else js_string(given)
        return text.encode("utf-8", "replace")
    raise JsTypeError("KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values.")
