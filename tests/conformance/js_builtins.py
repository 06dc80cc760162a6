"""JavaScript's built-in behaviour for `js_machine.py`: truth, text, equality, and the methods of strings and arrays."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from typing import Any

from workers.compat.proxies import JsArray, JsException, JsMap, JsNull, JsTypeError, error_parts


class Thrown(Exception):
    """A thrown value that is no error object."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


class Regex:
    """A regular expression literal."""

    def __init__(self, source: str, flags: str) -> None:
        options = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
        self.pattern = re.compile(source.replace("\\/", "/"), sum(options.get(flag, 0) for flag in flags))
        self.everywhere = "g" in flags

    def test(self, text: Any) -> bool:
        return self.pattern.search(to_text(text)) is not None


class Promise:
    """`Promise`: its functions return futures."""

    @staticmethod
    def new(executor: Callable[..., Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def resolve(value: Any = None) -> None:
            if not future.done():
                future.set_result(value)

        def reject(reason: Any = None) -> None:
            if not future.done():
                future.set_exception(as_exception(reason))
                future.exception()

        executor(resolve, reject)
        return future

    @staticmethod
    def resolve(value: Any = None) -> asyncio.Future[Any]:
        return Promise.new(lambda resolve, reject: resolve(value))

    @staticmethod
    def reject(reason: Any = None) -> asyncio.Future[Any]:
        return Promise.new(lambda resolve, reject: reject(reason))

    @staticmethod
    async def all(promises: list[Any]) -> JsArray:
        return JsArray([await item if inspect.isawaitable(item) else item for item in promises])


def as_exception(value: Any) -> BaseException:
    return value if isinstance(value, BaseException) else Thrown(value)


def as_thrown(error: BaseException) -> Any:
    """Return what a `catch` clause sees."""
    if isinstance(error, Thrown):
        return error.value
    if isinstance(error, JsException):
        return error
    name, message = error_parts(error)
    return JsException(message, name=name)


def to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "undefined"
    if isinstance(value, JsNull):
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ",".join(to_text(item) for item in value)
    if isinstance(value, dict):
        return "[object Object]"
    return str(value)


def is_true(value: Any) -> bool:
    return value is not None and value is not False and value != "" and value != 0 and not isinstance(value, JsNull)


def is_nullish(value: Any) -> bool:
    return value is None or isinstance(value, JsNull)


def is_same(left: Any, right: Any) -> bool:
    if is_nullish(left) or is_nullish(right):
        return is_nullish(left) and is_nullish(right)
    plain = (str, int, float)
    if isinstance(left, plain) and isinstance(right, plain):
        return isinstance(left, bool) == isinstance(right, bool) and type(left == right) is bool and left == right
    return left is right


def type_of(value: Any) -> str:
    if value is None:
        return "undefined"
    for kind, name in ((bool, "boolean"), ((int, float), "number"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "function" if callable(value) else "object"


def _replace(text: str, found: Any, by: Any) -> str:
    if isinstance(found, Regex):
        count = 0 if found.everywhere else 1
        if callable(by):
            return found.pattern.sub(lambda match: to_text(by(match[0], *match.groups())), text, count)
        return found.pattern.sub(lambda match: re.sub(r"\$(\d)", lambda at: match[int(at[1])] or "", by), text, count)
    return text.replace(found, to_text(by(found)) if callable(by) else by, 1)


TEXT_METHODS: dict[str, Callable[..., Any]] = {
    "replace": _replace,
    "replaceAll": lambda text, found, by: text.replace(found, by),
    "split": lambda text, at: JsArray(list(text) if at == "" else text.split(at)),
    "slice": lambda text, start=0, end=None: text[start:end],
    "substring": lambda text, start=0, end=None: text[start:end],
    "startsWith": lambda text, head: text.startswith(head),
    "endsWith": lambda text, tail: text.endswith(tail),
    "includes": lambda text, part: part in text,
    "indexOf": lambda text, part: text.find(part),
    "toUpperCase": lambda text: text.upper(),
    "toLowerCase": lambda text: text.lower(),
    "trim": lambda text: text.strip(),
    "repeat": lambda text, count: text * int(count),
    "toString": lambda text: text,
    "charCodeAt": lambda text, place=0: ord(text[place]),
}
LIST_METHODS: dict[str, Callable[..., Any]] = {
    "map": lambda items, each: JsArray(each(item, place) for place, item in enumerate(items)),
    "filter": lambda items, each: JsArray(item for item in items if is_true(each(item))),
    "forEach": lambda items, each: [each(item, place) for place, item in enumerate(items)] and None,
    "find": lambda items, each: next((item for item in items if is_true(each(item))), None),
    "some": lambda items, each: any(is_true(each(item)) for item in items),
    "every": lambda items, each: all(is_true(each(item)) for item in items),
    "join": lambda items, by=",": by.join("" if is_nullish(item) else to_text(item) for item in items),
    "sort": lambda items: items.sort(key=to_text) or items,
    "slice": lambda items, start=0, end=None: JsArray(items[start:end]),
    "concat": lambda items, *more: JsArray([*items, *(item for part in more for item in part)]),
    "includes": lambda items, item: item in items,
    "indexOf": lambda items, item: items.index(item) if item in items else -1,
    "keys": lambda items: JsArray(range(len(items))),
}


async def _then(awaitable: Any, done: Any = None, failed: Any = None) -> Any:
    try:
        value = await awaitable
    except Exception as error:
        if failed is None:
            raise
        value = failed(as_thrown(error))
    else:
        value = value if done is None else done(value)
    return await value if inspect.isawaitable(value) else value


def _promise_method(awaitable: Any, name: str) -> Any:
    loop = asyncio.get_running_loop()
    if name == "then":
        return lambda done=None, failed=None: loop.create_task(_then(awaitable, done, failed))
    if name == "catch":
        return lambda failed=None: loop.create_task(_then(awaitable, None, failed))
    return None


def member_of(value: Any, name: Any) -> Any:
    if is_nullish(value):
        raise JsTypeError(f"Cannot read properties of {to_text(value)} (reading '{to_text(name)}')")
    if isinstance(value, (str, list)):
        return _sequence_member(value, name)
    if isinstance(value, dict):
        if name in value or not isinstance(value, JsMap):
            return value.get(name)
    elif inspect.isawaitable(value):
        return _promise_method(value, name)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        if isinstance(name, int):
            return value[name]
        if name in ("length", "byteLength"):
            return len(value)
    if isinstance(value, (int, float)) and name == "toString":
        return lambda base=10: to_text(value)
    if isinstance(name, int) and hasattr(value, "__getitem__"):
        return value[name]
    if isinstance(value, type) and name == "name":
        return value.__name__
    return getattr(value, str(name), None)


def _sequence_member(value: str | list[Any], name: Any) -> Any:
    if name == "length":
        return len(value)
    if isinstance(name, (int, float)):
        return value[int(name)] if 0 <= name < len(value) else None
    methods = TEXT_METHODS if isinstance(value, str) else LIST_METHODS
    if name in methods:
        method = methods[name]
        return lambda *args: method(value, *args)
    return getattr(value, str(name), None)
