"""HTTP headers as the Fetch standard has them: an ordered, case-insensitive multi-map.

https://fetch.spec.whatwg.org/#headers-class, with the Workers' own `getAll`. Header lists that come from the network
are kept as they are and lower-cased only when somebody looks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, cast

from workers.compat.proxies import JsNull, JsProxy, JsTypeError

__all__ = ["Headers"]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z").match
_CLEAN_VALUE = re.compile(r"[^\0-\x20](?:[^\0\r\n]*[^\0-\x20])?\Z").match
_BAD_VALUE = re.compile(r"[\0\r\n]").search


def _value(value: object) -> str:
    if isinstance(value, str):
        text = value
    elif value is None:
        text = "undefined"
    elif isinstance(value, JsNull):
        text = "null"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = str(value)
    text = text.strip(" \t\r\n")
    if _BAD_VALUE(text):
        raise JsTypeError("Invalid header value.")
    return text


def _name(name: object) -> str:
    text = str(name)
    if not _NAME(text):
        raise JsTypeError("Invalid header name.")
    return text.lower()


_name_of = itemgetter(0)


class Headers(JsProxy):
    """Ordered multi-map of header fields; names are lower-cased, `set-cookie` values never joined."""

    __slots__ = ("_immutable", "_lowered", "_pairs")

    def __init__(self, init: object = None, /, **fields: object) -> None:
        self._pairs: list[tuple[str, str]] = []
        self._lowered = True
        self._immutable = False
        if init is not None and not isinstance(init, JsNull):
            self._fill(init)
        for name, value in fields.items():
            self.append(name, value)

    @classmethod
    def of_wire(cls, pairs: list[tuple[str, str]], *, immutable: bool = True) -> Headers:
        """Adopt a header list that the HTTP layer already checked; it is not copied, names may have any case."""
        headers = cls.__new__(cls)
        headers._pairs = pairs
        headers._lowered = False
        headers._immutable = immutable
        return headers

    def _fill(self, init: object) -> None:
        if type(init) is dict:
            self._add(cast(dict[Any, Any], init).items())
        elif isinstance(init, Headers):
            self._pairs = list(init.pairs())
        elif isinstance(init, Mapping):
            self._add(cast(Mapping[Any, Any], init).items())
        elif isinstance(init, Iterable) and not isinstance(init, (str, bytes)):
            self._add(cast(Iterable[Any], init))
        else:
            raise JsTypeError(f"Headers cannot be built from {type(init).__name__}; give a dict, pairs or Headers.")

    def _add(self, pairs: Iterable[Any]) -> None:
        add = self._pairs.append
        for pair in pairs:
            if len(pair) != 2:
                raise JsTypeError("To initialize a Headers object from a sequence, the inner sequence must be a pair.")
            name, value = pair
            if type(value) is str and _CLEAN_VALUE(value) and type(name) is str and _NAME(name):
                add((name.lower(), value))
            else:
                add((_name(name), _value(value)))

    def _writable(self) -> None:
        if self._immutable:
            raise JsTypeError("Can't modify immutable headers.")
        self.pairs()

    def pairs(self) -> list[tuple[str, str]]:
        """Return the wire form, in order of insertion: lower-cased names, one entry a value. Do not modify it."""
        if not self._lowered:
            self._pairs = [(name.lower(), value) for name, value in self._pairs]
            self._lowered = True
        return self._pairs

    def copy(self) -> Headers:
        """Return a modifiable copy."""
        headers = Headers()
        headers._pairs = list(self.pairs())
        return headers

    def append(self, name: object, value: object) -> None:
        """Add a value beside those that are there."""
        field, text = _name(name), _value(value)
        self._writable()
        self._pairs.append((field, text))

    def set(self, name: object, value: object) -> None:
        """Replace all values of a name by one, in the place of the first."""
        field, text = _name(name), _value(value)
        self._writable()
        kept: list[tuple[str, str]] = []
        placed = False
        for pair in self._pairs:
            if pair[0] != field:
                kept.append(pair)
            elif not placed:
                kept.append((field, text))
                placed = True
        if not placed:
            kept.append((field, text))
        self._pairs = kept

    def set_default(self, name: str, value: str) -> None:
        """Set a lower-case name unless it is present; for the runtime's own defaults."""
        if not any(field == name for field, _ in self.pairs()):
            self._pairs = [*self._pairs, (name, value)]

    def delete(self, name: object) -> None:
        """Remove all values of a name, if any."""
        field = _name(name)
        self._writable()
        self._pairs = [pair for pair in self._pairs if pair[0] != field]

    def get(self, name: object, default: Any = None) -> Any:
        """Return the values of a name joined by ", ", or `default` (None) when it is absent."""
        values = self._values(_name(name))
        return ", ".join(values) if values else default

    def has(self, name: object) -> bool:
        """Say whether the name is present."""
        return bool(self._values(_name(name)))

    def _values(self, field: str) -> list[str]:
        return [value for name, value in self.pairs() if name == field]

    def getSetCookie(self) -> list[str]:
        """Return every Set-Cookie value by itself."""
        return self._values("set-cookie")

    def getAll(self, name: object) -> list[str]:
        """Return every value of Set-Cookie; the Workers runtime refuses other names."""
        if str(name).lower() != "set-cookie":
            raise JsTypeError('getAll() can only be used with the header name "Set-Cookie".')
        return self._values("set-cookie")

    def combined(self) -> list[tuple[str, str]]:
        """Return what iterating in JavaScript gives: sorted by name, values joined, set-cookie one by one."""
        pairs = sorted(self.pairs(), key=_name_of)
        entries: list[tuple[str, str]] = []
        last = ""
        for pair in pairs:
            if pair[0] == last != "set-cookie":
                entries[-1] = (last, f"{entries[-1][1]}, {pair[1]}")
            else:
                entries.append(pair)
                last = pair[0]
        return entries

    def entries(self) -> Iterator[tuple[str, str]]:
        """Iterate over the combined (name, value) entries."""
        return iter(self.combined())

    def items(self) -> list[tuple[str, str]]:
        """Return the combined (name, value) entries."""
        return self.combined()

    def keys(self) -> list[str]:
        """Return the names of `entries()`."""
        return [name for name, _ in self.combined()]

    def values(self) -> list[str]:
        """Return the values of `entries()`."""
        return [value for _, value in self.combined()]

    def forEach(self, callback: Callable[..., object]) -> None:
        """Call `callback(value, name, headers)` for each entry."""
        for name, value in self.combined():
            callback(value, name, self)

    def to_py(self, **_options: Any) -> dict[str, str]:
        """Return a dict of the combined entries; of several cookies the last stays."""
        return dict(self.combined())

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.combined())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(field == name.lower() for field, _ in self.pairs())

    def __len__(self) -> int:
        return len(self.combined())

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __repr__(self) -> str:
        return f"Headers({self.pairs()!r})"
