"""JSON of frames: strict when it is read, compact when it is written.

Without the models of frames: the edge needs this at every start, and they take long to make.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["dumps", "dumps_ascii", "loads"]

_HALF_SURROGATE = re.compile("[\ud800-\udfff]")


def loads(text: str) -> Any:
    """Parse JSON strictly: no NaN or Infinity, no nesting beyond what the parser can follow.

    Raises:
        ValueError: `text` is not JSON.
    """
    try:
        return _parse(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def dumps(value: object) -> str:
    """Write compact JSON that can always be encoded as UTF-8.

    Raises:
        ValueError: A float is not finite, or the value is nested too deeply.
        TypeError: Something in it has no JSON form.
    """
    try:
        text = _encode(value)
    except RecursionError as error:
        raise ValueError("value is nested too deeply") from error
    if not text.isascii() and _HALF_SURROGATE.search(text):
        text = _encode_ascii(value)
    return text


def dumps_ascii(value: object) -> str:
    """Write compact JSON of ASCII characters only, whose length is its size in bytes.

    Raises:
        ValueError: A float is not finite, or the value is nested too deeply.
    """
    try:
        return _encode_ascii(value)
    except RecursionError as error:
        raise ValueError("value is nested too deeply") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# Made once: json.dumps and json.loads make new ones for every call with options.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_parse = json.JSONDecoder(parse_constant=_no_constant).decode
