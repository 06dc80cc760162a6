"""Values at the Python/JavaScript line: exceptions, proxies, attribute dicts and the two conversions.

There is no JavaScript engine here. A "JavaScript object" is an instance of a class deriving from `JsProxy`; plain
Python values stay themselves, and `to_js`/`to_py` only copy containers the way Pyodide does.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, Self, TypeVar, cast, overload

__all__ = [
    "ClassOrInstance",
    "Constructor",
    "JsArray",
    "JsDict",
    "JsException",
    "JsMap",
    "JsNull",
    "JsProxy",
    "JsRangeError",
    "JsSet",
    "JsSyntaxError",
    "JsTypeError",
    "MemberList",
    "PairList",
    "PyObject",
    "PyProxy",
    "create_proxy",
    "error_parts",
    "init_options",
    "jsnull",
    "to_js",
    "to_py",
]


_Made = TypeVar("_Made")
_Read = TypeVar("_Read")


class Constructor:
    """Answer of `proxy.constructor`: user code reads `.name` from it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class JsProxy(metaclass=ABCMeta):  # noqa: B024 - for `register`; nothing is abstract
    """Base of every object that stands for a JavaScript object; user code tests `isinstance(x, JsProxy)`.

    Attribute dicts and Maps count as proxies too, without its members: those would hide keys of the same name.
    """

    __slots__ = ()

    @classmethod
    def new(cls, *args: Any, **kwargs: Any) -> Self:
        """Construct as JavaScript's `new` does; keyword arguments are the members of the options object."""
        return cls(*args, **kwargs)

    @property
    def constructor(self) -> Constructor:
        """The JavaScript class; `constructor.name` is its name."""
        return Constructor(type(self).__name__)

    @property
    def typeof(self) -> str:
        """What JavaScript's `typeof` operator says."""
        return "object"

    @property
    def js_id(self) -> int:
        """A number that is equal for the same object only."""
        return id(self)

    def to_py(self, **_options: Any) -> Any:
        """Return the Python value; an object without a Python counterpart stays itself."""
        return self

    def destroy(self) -> None:  # noqa: B027 - empty on purpose
        """Release the proxy: nothing to do where no second garbage collector exists."""


class ClassOrInstance(Generic[_Made, _Read]):
    """An attribute with two meanings: on the class the class method named `maker`, on an instance the `reader`."""

    __slots__ = ("_maker", "_reader")

    def __init__(self, maker: str, reader: Callable[..., _Read]) -> None:
        self._maker = maker
        self._reader = reader

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[..., _Made]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[..., _Read]: ...
    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        return getattr(owner, self._maker) if instance is None else self._reader.__get__(instance, owner)


class JsException(Exception):
    """A JavaScript error seen from Python: `name`, `message`, and `str(e)` equal to "Name: message".

    Further own properties (`remote`, `retryable`, `code`, ...) are attributes, given as keyword arguments.
    """

    default_name = "Error"
    stackTraceLimit = 10

    @classmethod
    def new(cls, message: object = "", options: Mapping[str, Any] | None = None) -> Self:
        """Construct as JavaScript's `new Error(message, {cause})` does."""
        return cls(message, cause=(options or {}).get("cause"))

    def __init__(
        self, message: object = "", *, name: str | None = None, cause: object = None, **properties: object
    ) -> None:
        super().__init__(message)
        self.name = name or self.default_name
        self.message = str(message)
        self.cause = cause
        self.properties = properties
        self.__dict__.update(properties)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name

    def __repr__(self) -> str:
        return f"JsException({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {**self.__dict__}
        return (type(self), (self.message,), state)

    @property
    def stack(self) -> str:
        """The first line of a JavaScript stack; frames do not exist here."""
        return str(self)

    @property
    def js_error(self) -> Self:
        """The JavaScript error object, which is this exception."""
        return self


class JsTypeError(JsException, TypeError):
    """A JavaScript TypeError; Python code may catch it as `TypeError` too."""

    default_name = "TypeError"


class JsRangeError(JsException, ValueError):
    """A JavaScript RangeError; Python code may catch it as `ValueError` too."""

    default_name = "RangeError"


class JsSyntaxError(JsException, ValueError):
    """A JavaScript SyntaxError (JSON parsing); `ValueError` in Python, as json.JSONDecodeError is."""

    default_name = "SyntaxError"


def error_parts(error: BaseException) -> tuple[str, str]:
    """Return the (name, message) under which an exception crosses to JavaScript or into an HTTP 500.

    A `JsException` keeps its own name. Python classes named like JavaScript ones keep theirs; the others become
    `Error` prefixed with their class name only when that adds something, as `Exception("boom")` is `Error: boom`.
    """
    if isinstance(error, JsException):
        return error.name, error.message
    kind = type(error).__name__
    if kind in {"Exception", "RuntimeError"}:
        return "Error", str(error)
    return kind, str(error)


class JsNull:
    """JavaScript's null where it must differ from undefined (`None`); one falsy instance, `jsnull`."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "jsnull"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsNull)

    def __hash__(self) -> int:
        return hash(JsNull)

    def __reduce__(self) -> str:
        return "jsnull"


jsnull: Final = JsNull()


class JsDict(dict[str, Any]):
    """A plain JavaScript object in Python: a dict whose keys can also be read and set as attributes.

    Keys named like dict methods (`items`, `keys`, `get`, ...) are reachable with `[]` only.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_py(self, **_options: Any) -> dict[str, Any]:
        """Return a plain nested dict."""
        return {key: to_py(value) for key, value in self.items()}

    def object_keys(self) -> list[str]:
        """`Object.keys(self)`."""
        return list(self)

    def object_values(self) -> list[Any]:
        """`Object.values(self)`."""
        return list(self.values())

    def object_entries(self) -> list[tuple[str, Any]]:
        """`Object.entries(self)`."""
        return list(self.items())

    @classmethod
    def wrap(cls, value: Any) -> Any:
        """Return `value` with every dict in it, however deep, readable by attribute."""
        if isinstance(value, JsDict):
            return value
        if isinstance(value, Mapping):
            return cls({str(key): cls.wrap(item) for key, item in cast(Mapping[Any, Any], value).items()})
        if isinstance(value, (list, tuple)):
            return [cls.wrap(item) for item in cast(Iterable[Any], value)]
        return value


class JsMap(dict[Any, Any]):
    """A JavaScript Map: what `to_js(a_dict)` makes when no `dict_converter` is given."""

    __slots__ = ()

    def set(self, key: Any, value: Any) -> Self:
        """Set one entry and return the map, as JavaScript does."""
        self[key] = value
        return self

    def has(self, key: Any) -> bool:
        """Say whether the key is present."""
        return key in self

    def delete(self, key: Any) -> bool:
        """Remove the key; say whether it was there."""
        found = key in self
        self.pop(key, None)
        return found

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self)

    def entries(self) -> Iterator[tuple[Any, Any]]:
        """Iterate over (key, value) pairs in insertion order."""
        return iter(self.items())

    def to_py(self, **_options: Any) -> dict[Any, Any]:
        """Return a plain nested dict."""
        return {key: to_py(value) for key, value in self.items()}


class JsArray(list[Any]):
    """A JavaScript array: a list with the methods of both languages."""

    __slots__ = ()

    @property
    def length(self) -> int:
        """Number of elements."""
        return len(self)

    def push(self, *items: Any) -> int:
        """Append elements; return the new length."""
        self.extend(items)
        return len(self)

    def to_py(self, **_options: Any) -> list[Any]:
        """Return a plain nested list."""
        return [to_py(item) for item in self]

    def object_values(self) -> list[Any]:
        """`Object.values(self)`."""
        return list(self)


class MemberList(JsArray):
    """The members of a JavaScript Set that no Python set can hold, such as objects; stored again it is a Set."""

    __slots__ = ()


class PairList(JsArray):
    """The (key, value) pairs of a JavaScript Map whose keys no dict can hold; stored again it is a Map."""

    __slots__ = ()


class JsSet(set[Any]):
    """A JavaScript Set."""

    __slots__ = ()

    def has(self, item: Any) -> bool:
        """Say whether the value is present."""
        return item in self

    def delete(self, item: Any) -> bool:
        """Remove the value; say whether it was there."""
        found = item in self
        self.discard(item)
        return found

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self)

    def to_py(self, **_options: Any) -> set[Any]:
        """Return a plain set."""
        return {to_py(item) for item in self}


JsProxy.register(JsArray)
JsProxy.register(JsSet)
JsProxy.register(JsDict)
JsProxy.register(JsMap)


class PyProxy(JsProxy):
    """A Python callable handed to JavaScript with `create_proxy`: still callable, and it can be destroyed."""

    __slots__ = ("_destroyed", "_once", "_target")

    def __init__(self, target: Callable[..., Any], *, once: bool = False) -> None:
        self._target = target
        self._once = once
        self._destroyed = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the Python function, unless the proxy was destroyed."""
        if self._destroyed:
            raise JsException("Object has already been destroyed")
        if self._once:
            self._destroyed = True
        return self._target(*args, **kwargs)

    def destroy(self) -> None:
        """Make later calls fail, as calling a destroyed proxy does."""
        self._destroyed = True

    def unwrap(self) -> Any:
        """Return the Python object behind the proxy."""
        return self._target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


class PyObject(JsProxy):
    """A Python object that cannot be called, handed to JavaScript with `create_proxy`: its members are its own."""

    __slots__ = ("_target",)

    def __init__(self, target: Any) -> None:
        self._target = target

    def unwrap(self) -> Any:
        """Return the Python object behind the proxy."""
        return self._target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


_ATOMS = (str, bytes, bool, int, float, type(None))


def create_proxy(target: Any, /, **_options: Any) -> Any:
    """Keep a Python object alive for JavaScript: it can be used as before, and has a `destroy()`."""
    if isinstance(target, (JsProxy, *_ATOMS)):
        return cast(Any, target)
    if callable(target):
        return PyProxy(target)
    # Containers and awaitables are what they are to everybody who looks at their class.
    is_plain = isinstance(target, (Mapping, list, tuple, set)) or hasattr(target, "__await__")
    return cast(Any, target) if is_plain else PyObject(target)


def _is_buffer(value: object) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview)) and not isinstance(value, JsProxy)


def _forget(_source: object, _result: object) -> None:
    """Stand in for the cache that `default_converter` may fill for cyclic values."""


def to_js(
    value: Any,
    /,
    *,
    depth: int = -1,
    pyproxies: list[Any] | None = None,
    create_pyproxies: bool = True,
    dict_converter: Callable[[Iterable[tuple[Any, Any]]], Any] | None = None,
    default_converter: Callable[..., Any] | None = None,
    eager_converter: Callable[..., Any] | None = None,
    bytes_converter: Callable[[Any], Any] | None = None,
) -> Any:
    """Copy Python containers into their JavaScript form: dict to Map (or by `dict_converter`), list and tuple to list.

    Strings, numbers and JavaScript objects pass unchanged, and bytes without a `bytes_converter`. `depth` counts
    container levels; -1 is all.
    """
    if bytes_converter is not None and _is_buffer(value):
        return bytes_converter(value)
    if depth == 0:
        return value

    def convert(item: Any) -> Any:
        return to_js(
            item,
            depth=depth - 1,
            pyproxies=pyproxies,
            create_pyproxies=create_pyproxies,
            dict_converter=dict_converter,
            default_converter=default_converter,
            eager_converter=eager_converter,
            bytes_converter=bytes_converter,
        )

    if value is None or isinstance(value, (str, bool, int, float, bytes, JsProxy, JsDict, JsMap)):
        return value
    if isinstance(value, Mapping):
        pairs = [(convert(key), convert(item)) for key, item in cast(Mapping[Any, Any], value).items()]
        return JsMap(pairs) if dict_converter is None else dict_converter(pairs)
    if isinstance(value, (list, tuple)):
        return JsArray(convert(item) for item in cast(Iterable[Any], value))
    if isinstance(value, (set, frozenset)):
        return JsSet(convert(item) for item in cast(Iterable[Any], value))
    if default_converter is not None and not isinstance(value, (bytearray, memoryview)) and not callable(value):
        return default_converter(value, convert, _forget)
    return cast(Any, value)


def to_py(value: Any, /) -> Any:
    """Copy a JavaScript value into plain Python: attribute dicts and Maps to dict, null to None, arrays to list."""
    if value is None or isinstance(value, (str, bool, int, float, bytes)):
        return value
    if isinstance(value, JsNull):
        return None
    if isinstance(value, JsProxy):
        return value.to_py()
    if isinstance(value, dict):
        return {key: to_py(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, (list, tuple)):
        return [to_py(item) for item in cast(Iterable[Any], value)]
    if isinstance(value, (set, frozenset)):
        return {to_py(item) for item in cast(Iterable[Any], value)}
    return value


def init_options(init: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a JavaScript options object (dict, Map, attribute dict, Python object or None) with keywords, which win."""
    if init is None or isinstance(init, JsNull):
        return dict(given)
    if isinstance(init, Mapping):
        return {**{str(key): value for key, value in cast(Mapping[Any, Any], init).items()}, **given}
    if isinstance(init, PyObject):
        members = init.unwrap()
        return {**{name: getattr(members, name) for name in dir(members) if name[:1] != "_"}, **given}
    raise JsTypeError(f"Incorrect type for the options: {type(init).__name__} is not an object.")
