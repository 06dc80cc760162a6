"""Rows as a table of box-drawing characters, for a terminal of a given width."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final, cast

__all__ = ["cell", "draw"]

_SHOWN_BYTES: Final = 16
_NARROWEST: Final = 8
_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def draw(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return the table as lines; columns are cut with an ellipsis, widest first, until it fits into `width`."""
    widths = [
        max([_width(name), *(_width(row[index]) for row in rows)], default=0) for index, name in enumerate(columns)
    ]
    if width is not None:
        _shrink(widths, width - 3 * len(widths) - 1)
    lines = [_rule(widths, "┌┬┐"), _line(columns, widths), _rule(widths, "├┼┤")]
    lines += [_line(row, widths) for row in rows]
    lines.append(_rule(widths, "└┴┘"))
    return "\n".join(lines)


def cell(value: object) -> str:
    """Return a value of a row as one line of text."""
    if value is None:
        return "null"
    if isinstance(value, list):
        items = cast("list[object]", value)
        shown = ", ".join(str(item) for item in items[:_SHOWN_BYTES])
        return f"[{shown}, … {len(items)} bytes]" if len(items) > _SHOWN_BYTES else f"[{shown}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "".join(
        character if character.isprintable() else _ESCAPES.get(character, f"\\x{ord(character):02x}")
        for character in str(value)
    )


def _shrink(widths: list[int], room: int) -> None:
    for index, width in enumerate(widths):
        widths[index] = min(width, max(room, _NARROWEST))
    while (surplus := sum(widths) - room) > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            return
        next_one = sorted(widths)[-2] if len(widths) > 1 else 0
        target = max(widths[widest] - surplus, next_one, _NARROWEST)
        widths[widest] = min(target, widths[widest] - 1)


def _rule(widths: Sequence[int], corners: str) -> str:
    return corners[0] + corners[1].join("─" * (width + 2) for width in widths) + corners[2]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = [_fit(text, width) for text, width in zip(cells, widths, strict=True)]
    return "│ " + " │ ".join(fitted) + " │"


def _fit(text: str, width: int) -> str:
    if _width(text) > width:
        kept, used = "", 0
        for character in text:
            used += _width(character)
            if used > width - 1:
                break
            kept += character
        text = kept + "…"
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return how many terminal cells a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
