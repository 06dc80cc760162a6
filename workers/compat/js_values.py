"""The value classes of JavaScript that user code names: Object, JSON, Array, Map, Set, Number, Date, text codecs."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self, cast

from workers.compat.buffers import Uint8Array
from workers.compat.clock import now_ms
from workers.compat.json_text import iso_time, parse_json, stringify
from workers.compat.proxies import JsArray, JsDict, JsMap, JsProxy, JsRangeError, JsSet, JsTypeError

__all__ = ["JSON", "Array", "Date", "Map", "Number", "Object", "Set", "TextDecoder", "TextEncoder"]


class Object(JsProxy):
    """`Object`: its functions work on attribute dicts and plain dicts."""

    @classmethod
    def new(cls, *args: Any, **kwargs: Any) -> Any:
        """Return an empty object, or one with the given members."""
        return JsDict(**kwargs)

    @staticmethod
    def fromEntries(pairs: Iterable[Iterable[Any]]) -> JsDict:
        """Make an object of (name, value) pairs; the usual `dict_converter`."""
        return JsDict({str(name): value for name, value in pairs})

    @staticmethod
    def keys(value: Any) -> JsArray:
        """Return the names."""
        return JsArray(_members(value))

    @staticmethod
    def values(value: Any) -> JsArray:
        """Return the values."""
        return JsArray(_members(value).values())

    @staticmethod
    def entries(value: Any) -> JsArray:
        """Return the (name, value) pairs."""
        return JsArray(JsArray(pair) for pair in _members(value).items())

    @staticmethod
    def assign(target: Any, *sources: Any) -> Any:
        """Copy the members of the sources into `target`."""
        for source in sources:
            target.update(_members(source))
        return target


def _members(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return cast(Mapping[Any, Any], value)
    values = getattr(value, "object_values", None)
    if callable(values):
        return {str(place): item for place, item in enumerate(cast(Iterable[Any], values()))}
    raise JsTypeError(f"{type(value).__name__} is not an object with members")


class JSON(JsProxy):
    """`JSON`: parse and stringify."""

    @staticmethod
    def parse(text: object) -> Any:
        """Parse; objects are readable by attribute."""
        return parse_json(str(text))

    @staticmethod
    def stringify(value: Any, replacer: Any = None, space: int | str | None = None) -> str | None:
        """Serialise; functions and absent values are dropped from objects and become null in arrays."""
        return stringify(value, space)


class Array(JsArray):
    """`Array`: a constructor of JavaScript arrays."""

    __slots__ = ()

    @classmethod
    def new(cls, *items: Any) -> JsArray:
        """Make an array of the arguments; one number is a length."""
        if len(items) == 1 and isinstance(items[0], int):
            return JsArray([None] * items[0])
        return JsArray(items)

    @classmethod
    def of(cls, *items: Any) -> JsArray:
        """Make an array of the arguments."""
        return JsArray(items)

    @staticmethod
    def from_(items: Iterable[Any], mapper: Callable[[Any, int], Any] | None = None) -> JsArray:
        """`Array.from`: make an array of any iterable."""
        return JsArray(items if mapper is None else [mapper(item, place) for place, item in enumerate(items)])

    @staticmethod
    def isArray(value: object) -> bool:
        """Say whether the value is an array."""
        return isinstance(value, list)


setattr(Array, "from", Array.from_)


class Map(JsMap):
    """`Map`: a constructor of JavaScript Maps."""

    __slots__ = ()

    @classmethod
    def new(cls, pairs: Iterable[Iterable[Any]] | None = None) -> JsMap:
        """Make a Map of (key, value) pairs."""
        return JsMap({key: value for key, value in pairs or ()})


class Set(JsSet):
    """`Set`: a constructor of JavaScript Sets."""

    __slots__ = ()

    @classmethod
    def new(cls, items: Iterable[Any] | None = None) -> JsSet:
        """Make a Set of values."""
        return JsSet(items or ())


class Number(float):
    """`Number`: a number object."""

    MAX_SAFE_INTEGER = 2**53 - 1
    MIN_SAFE_INTEGER = -(2**53 - 1)

    @classmethod
    def new(cls, value: Any = 0) -> Self:
        """Make a number object of a number or its text; other text is NaN."""
        try:
            return cls(value or 0)
        except ValueError:
            return cls("nan")

    def valueOf(self) -> int | float:
        """Return the number."""
        return int(self) if self.is_integer() else float(self)

    def to_py(self, **_options: Any) -> int | float:
        """Return the number."""
        return self.valueOf()

    @staticmethod
    def isInteger(value: object) -> bool:
        """Say whether the value is a whole number."""
        return isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()


JsProxy.register(Number)


class Date(datetime):
    """`Date`: a datetime in UTC, of whole milliseconds, with JavaScript's methods."""

    @classmethod
    def new(cls, *args: Any) -> Self:
        """Make a date: of now, milliseconds, text, another date, or year, month (from 0), day, hours, ..."""
        values = list(args)
        if not values:
            return cls.of_ms(now_ms())
        if len(values) > 1:
            defaults = [1970, 0, 1, 0, 0, 0, 0]
            numbers = [int(number) for number in values]
            year, month, day, hours, minutes, seconds, milliseconds = [*numbers, *defaults[len(numbers) :]]
            start = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000
            return cls.of_ms(start + (((day - 1) * 24 + hours) * 60 + minutes) * 60000 + seconds * 1000 + milliseconds)
        value = values[0]
        if isinstance(value, datetime):
            return cls.of_ms(value.timestamp() * 1000)
        return cls.of_ms(value if isinstance(value, (int, float)) else cls.parse(str(value)))

    @classmethod
    def of_ms(cls, milliseconds: float) -> Self:
        """Make a date of milliseconds since 1970."""
        return cls.fromtimestamp(math.floor(milliseconds) / 1000, UTC)

    @classmethod
    def now(cls, tz: Any = None) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - JavaScript's Date.now
        """Return the milliseconds since 1970."""
        return now_ms()

    @staticmethod
    def parse(text: str) -> float:
        """Return the milliseconds of an ISO 8601 text.

        Raises:
            JsRangeError: `Invalid time value`.
        """
        try:
            parsed = datetime.fromisoformat(text.strip())
        except ValueError:
            raise JsRangeError("Invalid time value") from None
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp() * 1000

    def getTime(self) -> int:
        """Return the milliseconds since 1970."""
        return round(self.timestamp() * 1000)

    valueOf = getTime

    def toISOString(self) -> str:
        """Return the text `2024-01-02T03:04:05.678Z`."""
        return iso_time(self)

    toJSON = toISOString

    def getUTCFullYear(self) -> int:
        """Return the year."""
        return self.year

    def getUTCMonth(self) -> int:
        """Return the month, from 0."""
        return self.month - 1

    def getUTCDate(self) -> int:
        """Return the day of the month."""
        return self.day

    def getUTCDay(self) -> int:
        """Return the day of the week, Sunday 0."""
        return self.isoweekday() % 7

    def getUTCHours(self) -> int:
        """Return the hour."""
        return self.hour

    getFullYear, getMonth, getDate, getDay, getHours = (
        getUTCFullYear,
        getUTCMonth,
        getUTCDate,
        getUTCDay,
        getUTCHours,
    )

    def to_py(self, **_options: Any) -> datetime:
        """Return a plain datetime."""
        return datetime.fromtimestamp(self.timestamp(), UTC)


JsProxy.register(Date)


class TextEncoder(JsProxy):
    """`TextEncoder`: text to UTF-8."""

    encoding = "utf-8"

    def encode(self, text: object = "") -> Uint8Array:
        """Return the UTF-8 bytes."""
        return Uint8Array(str(text).encode("utf-8", "replace"))


class TextDecoder(JsProxy):
    """`TextDecoder`: bytes to text, in one piece or as a stream."""

    def __init__(self, label: str = "utf-8", options: Mapping[str, Any] | None = None, **members: Any) -> None:
        settings = {**(options or {}), **members}
        try:
            codec = codecs.lookup(label.strip())
        except LookupError:
            raise JsRangeError(f'"{label}" is not a valid encoding.') from None
        self.encoding = codec.name
        self.fatal = bool(settings.get("fatal"))
        self.ignoreBOM = bool(settings.get("ignoreBOM"))
        self._codec = codec
        self._decoder: codecs.IncrementalDecoder | None = None

    def decode(self, data: Any = b"", options: Mapping[str, Any] | None = None, **members: Any) -> str:
        """Return the text; with `stream` true, an unfinished character waits for the next piece."""
        is_stream = bool({**(options or {}), **members}.get("stream"))
        is_start = self._decoder is None
        decoder = self._decoder or codecs.getincrementaldecoder(self._codec.name)("strict" if self.fatal else "replace")
        raw = data.to_bytes() if hasattr(data, "to_bytes") else bytes(data)
        try:
            text = decoder.decode(raw, final=not is_stream)
        except UnicodeDecodeError:
            raise JsTypeError("The encoded data was not valid for encoding utf-8") from None
        self._decoder = decoder if is_stream else None
        return text.removeprefix("\ufeff") if is_start and not self.ignoreBOM else text
