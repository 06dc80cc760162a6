"""Errors as they look at the other side of a call."""

from __future__ import annotations

import types
from functools import lru_cache
from typing import cast

from workers.compat.proxies import JsException, error_parts

__all__ = ["cross"]


@lru_cache(maxsize=256)
def _crossing_class(kind: type[BaseException]) -> type[BaseException] | None:
    """Return a class that both `except <original class>` and `except JsException` catch."""
    if issubclass(kind, JsException):
        return kind
    members = {"__str__": kind.__str__, "__repr__": kind.__repr__, "__module__": kind.__module__}
    try:
        return cast(
            "type[BaseException]",
            types.new_class(kind.__name__, (kind, JsException), {}, lambda body: body.update(members)),
        )
    except TypeError:  # the two layouts do not mix
        return None


# DIFFERS(rpc-error): in production it arrives as a JsException named PythonError with the traceback as message.
def cross(error: BaseException, **properties: object) -> BaseException:
    """Return the error as the caller sees it: same class, name, message, cause and own properties, plus `properties`.

    A Python exception is also a `JsException` on the caller's side, as every remote error is in a Python Worker.
    """
    kind = _crossing_class(type(error))
    name, message = error_parts(error)
    if kind is None:
        return JsException(message, name=name, **properties)
    crossed = kind.__new__(kind, *error.args)  # not __init__: the user's own may want other arguments
    crossed.args = error.args
    crossed.__dict__.update(error.__dict__)
    own = dict(cast("dict[str, object]", getattr(error, "properties", {})))
    own.update(properties)
    cause = getattr(error, "cause", None) or error.__cause__
    for attribute, value in {"name": name, "message": message, "cause": cause, "properties": own, **own}.items():
        setattr(crossed, attribute, value)  # not through __dict__: NameError and others have a `name` of their own
    crossed.__cause__ = error.__cause__
    crossed.__suppress_context__ = True
    return crossed.with_traceback(error.__traceback__)
