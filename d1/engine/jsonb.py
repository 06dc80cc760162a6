"""SQLite's JSONB encoding, for an SQLite older than 3.45 that lacks the `jsonb` functions.

DIFFERS(jsonb): with such an SQLite JSONB values can be made and stored, but its JSON functions cannot read them.

https://sqlite.org/jsonb.html
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

__all__ = ["define_jsonb", "encode"]

_NULL, _TRUE, _FALSE, _INT, _FLOAT, _TEXT, _TEXT_ESCAPED, _ARRAY, _OBJECT = 0, 1, 2, 3, 5, 7, 8, 11, 12

_CONTAINERS: Final = ("array", "insert", "object", "patch", "remove", "replace", "set")


class _Number(str):
    """A number as it was written: JSONB keeps the digits."""


class _Float(_Number):
    pass


def encode(text: str) -> bytes:
    """Encode a JSON text."""
    return _element(json.loads(text, parse_int=_Number, parse_float=_Float))


def _element(value: object) -> bytes:
    match value:
        case None:
            return _framed(_NULL, b"")
        case bool():
            return _framed(_TRUE if value else _FALSE, b"")
        case _Float():
            return _framed(_FLOAT, value.encode())
        case _Number():
            return _framed(_INT, value.encode())
        case str():
            return _string(value)
        case list():
            return _framed(_ARRAY, b"".join(_element(item) for item in cast("list[object]", value)))
        case dict():
            pairs = cast("dict[str, object]", value).items()
            return _framed(_OBJECT, b"".join(_string(key) + _element(item) for key, item in pairs))
        case _:
            raise TypeError(f"not a JSON value: {value!r}")


def _string(value: str) -> bytes:
    quoted = json.dumps(value, ensure_ascii=False)[1:-1]
    return _framed(_TEXT_ESCAPED if "\\" in quoted else _TEXT, quoted.encode())


def _framed(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= 11:
        return bytes([size << 4 | kind]) + payload
    for code, width in ((12, 1), (13, 2), (14, 4)):
        if size < 1 << (8 * width):
            return bytes([code << 4 | kind]) + size.to_bytes(width, "big") + payload
    return bytes([15 << 4 | kind]) + size.to_bytes(8, "big") + payload


def define_jsonb(connection: sqlite3.Connection) -> None:
    """Define the `jsonb` functions: each is the `json` function of the same name with its result encoded."""
    helper = sqlite3.connect(":memory:", check_same_thread=False)  # a function may not use the connection it runs on

    def ask(sql: str, arguments: Sequence[Any]) -> Any:
        return helper.execute(sql.format(",".join("?" * len(arguments))), arguments).fetchone()[0]

    def encoded(plain: str) -> Callable[..., bytes | None]:
        def call(*arguments: Any) -> bytes | None:
            text = ask(f"SELECT {plain}({{}})", arguments)
            return None if text is None else encode(text)

        return call

    def extract(text: Any, *paths: Any) -> Any:
        value = ask("SELECT json_extract({})", (text, *paths))
        is_json = len(paths) > 1 or ask("SELECT json_type({})", (text, *paths)) in ("array", "object")
        return encode(value) if is_json and value is not None else value

    connection.create_function("jsonb", 1, encoded("json"), deterministic=True)
    for name in _CONTAINERS:
        connection.create_function(f"jsonb_{name}", -1, encoded(f"json_{name}"), deterministic=True)
    connection.create_function("jsonb_extract", -1, extract, deterministic=True)
