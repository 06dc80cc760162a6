"""How JavaScript sees a Python value: `String(x)` and whole numbers."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import cast

from workers.compat.proxies import JsException, JsMap, JsNull

__all__ = ["js_string", "whole"]

_SAFE_INTEGER = 2**53 - 1


def js_string(value: object) -> str:
    """Return what JavaScript's `String(value)` says of the value's JavaScript counterpart."""
    if isinstance(value, str):
        return str(value)
    if value is None:
        return "undefined"
    if isinstance(value, JsNull):
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**21 else _number_text(float(value))
    if isinstance(value, float):
        return _number_text(value)
    if isinstance(value, (list, tuple)):
        items = cast("list[object]", value)
        return ",".join("" if item is None or isinstance(item, JsNull) else js_string(item) for item in items)
    if isinstance(value, dt.datetime):
        return value.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")
    if isinstance(value, BaseException):
        return str(value) if isinstance(value, JsException) else f"Error: {value}"
    if isinstance(value, JsMap):
        return "[object Map]"
    if isinstance(value, Mapping):
        return "[object Object]"
    if isinstance(value, (set, frozenset)):
        return "[object Set]"
    own = getattr(value, "toString", None)
    return str(own()) if callable(own) else str(value)


def _number_text(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number.is_integer() and abs(number) < 1e21:
        return str(int(number))
    text = repr(number)
    if "e-0" in text:
        text = text.replace("e-0", "e-")
    if text.endswith(("e-5", "e-6")) and abs(number) >= 1e-6:  # JavaScript keeps six decimals before it uses exponents
        return f"{number:.{17}f}".rstrip("0") if float(f"{number:.17f}") == number else format(number, "f")
    return text


def whole(number: float) -> int | float:
    """Return the number as the SDK does: int when it is a safe integer (5.0 too), else float."""
    if number.is_integer() and -_SAFE_INTEGER <= number <= _SAFE_INTEGER:
        return int(number)
    return number
