"""Python <-> SQLite, the way D1 does it: everything passes through JSON and JavaScript numbers on its way.

So every bound number is a REAL, NaN and the infinities are NULL in both directions, integers beyond 2**53 are rounded
when read, and a BLOB is read as a list of bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final, cast

from d1.changes import SqlValue
from d1.errors import D1TypeError
from workers.compat.js_string import js_string
from workers.compat.proxies import JsDict, JsNull
from workers.compat.typed_arrays import TypedArray

__all__ = ["MAX_SAFE_INTEGER", "bind_values", "read_object", "read_objects", "read_row", "well_formed"]

MAX_SAFE_INTEGER: Final = 2**53 - 1
_FEW_ROWS: Final = 8
_NEVER_CONVERTED: Final[frozenset[type]] = frozenset({str, type(None)})


def bind_values(values: Sequence[object]) -> tuple[SqlValue, ...]:
    """Convert the arguments of `bind`.

    Raises:
        D1TypeError: A value has no SQLite counterpart.
        TypeError: A Python type that cannot cross to JavaScript at all (tuple, bytearray).
    """
    return tuple(
        [
            value
            if type(value) is str
            else float(value)
            if type(value) is int and -1 << 53 < value < 1 << 53
            else _BINDERS.get(type(value), _bind_other)(value)
            for value in values
        ]
    )


def _bind_other(value: object) -> SqlValue:
    for kind, by_kind in _BINDERS.items():
        if isinstance(value, kind):
            return by_kind(value)
    if callable(value):
        raise _unsupported("function", str(value))
    raise _unsupported("object", f"[object {_class_name(value)}]")


def _bind_int(value: int) -> float:
    if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return float(value)
    raise _unsupported("bigint", str(value))


def _bind_float(value: float) -> float | None:
    return value if isfinite(value) else None


def _bind_list(value: list[object]) -> bytes:
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or not 0 <= item < 256:
            raise _unsupported("object", _js_text(value))
    return bytes(int(cast(float, item)) for item in value)  # fractions are cut off, as Uint8Array does


def _bind_memoryview(value: memoryview) -> bytes:
    if value.format in {"B", "b", "c"}:
        return value.tobytes()
    # a typed array of wider elements: each element becomes one byte, as JavaScript's Uint8Array does
    return bytes(int(item) & 0xFF if isfinite(item) else 0 for item in array(value.format, value.tobytes()))


def _bind_typed_array(value: TypedArray) -> bytes:
    return _bind_memoryview(value.to_memoryview())


def _bind_datetime(value: datetime) -> SqlValue:
    raise _unsupported("object", _js_text(value))


def _refuse_transfer(value: object) -> SqlValue:
    raise TypeError(f"{type(value)} cannot be sent over RPC.")


def _bind_dict(value: object) -> SqlValue:
    raise _unsupported("object", f"[object {_class_name(value)}]")


def _bind_exception(value: BaseException) -> SqlValue:
    raise _unsupported("object", js_string(value))


def _same(value: SqlValue) -> SqlValue:
    return value


def _null(_value: object) -> SqlValue:
    return None


_BINDERS: Final[dict[type, Callable[[Any], SqlValue]]] = {
    str: _same,
    type(None): _null,
    bool: float,
    int: _bind_int,
    float: _bind_float,
    bytes: _same,
    memoryview: _bind_memoryview,
    TypedArray: _bind_typed_array,
    list: _bind_list,
    JsNull: _null,
    dict: _bind_dict,
    datetime: _bind_datetime,
    BaseException: _bind_exception,
    tuple: _refuse_transfer,
    bytearray: _refuse_transfer,
}


def _unsupported(kind: str, text: str) -> D1TypeError:
    return D1TypeError(f"Type '{kind}' not supported for value '{text}'")


def _js_text(value: object) -> str:
    match value:
        case list():
            items = cast("list[object]", value)
            return ",".join("" if item is None or isinstance(item, JsNull) else _js_text(item) for item in items)
        case datetime():
            return js_string(value.astimezone(UTC))
        case bytes() | memoryview() | TypedArray():
            return ",".join(map(js_string, cast("Iterable[object]", value)))  # of `bytes`: their numbers
        case str() | bool() | int() | float() | BaseException():
            return js_string(value)
        case _:
            return f"[object {_class_name(value)}]"


def _class_name(value: object) -> str:
    name = type(value).__name__
    return {"JsMap": "Map", "set": "Set", "frozenset": "Set"}.get(name, "Object")


def well_formed(text: str) -> str:
    """Replace lone surrogates as JSON over UTF-8 does (three replacement characters each); pairs are joined."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return joined.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def read_row(row: Sequence[Any]) -> list[Any]:
    """Convert one row as `raw` returns it."""
    values = list(row)
    for index, value in enumerate(values):
        kind = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is str or value is None:
            continue
        if kind is int:
            if not -1 << 53 < value < 1 << 53:
                values[index] = float(value)
        elif kind is float:
            if value.is_integer():
                if -1 << 53 < value < 1 << 53:
                    values[index] = int(value)
            elif not isfinite(value):
                values[index] = None
        else:
            values[index] = list(value)
    return values


def read_object(columns: Sequence[str], row: Sequence[Any]) -> JsDict:
    """Convert one row as `read_objects` does."""
    if min(columns) < ":":
        return read_objects(columns, [row])[0]
    return JsDict(zip(columns, read_row(row), strict=True))


def read_objects(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[JsDict]:
    """Convert rows to objects; of columns with the same name the last one wins, at the place of the first.

    As in JavaScript, names that look like an array index come first, ascending.
    """
    readable = _by_row(rows) if len(rows) < _FEW_ROWS else _by_column(rows)
    objects = [JsDict(zip(columns, row, strict=True)) for row in readable]
    if columns and min(columns) < ":":  # some name may begin with a digit
        indexes = sorted({int(name): name for name in columns if _is_array_index(name)}.items())
        if indexes:
            return [JsDict({name: one[name] for _, name in indexes} | one) for one in objects]
    return objects


def _by_row(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for row in rows:
        for value in row:
            kind = type(value)  # pyright: ignore[reportUnknownVariableType]
            if kind is str or value is None or (kind is int and -1 << 53 < value < 1 << 53):
                continue
            yield read_row(row)
            break
        else:
            yield row


def _by_column(rows: Sequence[Sequence[Any]]) -> Iterable[Sequence[Any]]:
    """Look at whole columns: most of them hold one kind of value, and often none that must be converted."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    is_changed = False
    for place, column in enumerate(columns):
        kinds = set(map(type, column))
        if kinds <= _NEVER_CONVERTED or (kinds == {int} and min(column) > -1 << 53 and max(column) < 1 << 53):
            continue
        columns[place] = read_row(column)
        is_changed = True
    return zip(*columns, strict=True) if is_changed else rows


def _is_array_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and (name == "0" or name[0] != "0") and int(name) < 2**32 - 1
