"""JSON as it is sent."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["dumps"]


def dumps(frame: dict[str, Any]) -> str:
    """Write a frame compactly, as text that can be sent.

    Raises:
        TypeError: A value has no JSON form.
        ValueError: A number is not finite, or a value contains itself.
    """
    text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8, but a JSON escape
        return json.dumps(frame, separators=(",", ":"), allow_nan=False)
    return text
