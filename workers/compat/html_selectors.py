"""CSS selectors, the kinds that HTMLRewriter knows, matched against an element and its ancestors.

`E`, `*`, `.class`, `#id`, `[attr]` with every operator, `:nth-child()`, `:first-child`, `:nth-of-type()`,
`:first-of-type`, `:not()`, the combinators " " and ">", and lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from workers.compat.proxies import JsTypeError

__all__ = ["Node", "Selector"]

_SIMPLE = re.compile(
    r"""(?P<type>\*|[A-Za-z][\w-]*)
    |\.(?P<cls>[\w-]+)
    |\#(?P<id>[\w-]+)
    |\[\s*(?P<attr>[\w:-]+)\s*(?:(?P<sign>[~|^$*]?=)\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s\]]+))
      \s*(?P<flag>[iIsS])?\s*)?\]
    |:(?P<pseudo>[\w-]+)(?:\((?P<inner>[^()]*(?:\([^()]*\))?[^()]*)\))?""",
    re.VERBOSE,
)
_STEP = re.compile(r"\s*(?P<sign>[+-]?)\s*(?P<a>\d*)n\s*(?:(?P<plus>[+-])\s*(?P<b>\d+))?\s*\Z|\s*(?P<only>\d+)\s*\Z")


@dataclass(slots=True)
class Node:
    """An open element as selectors see it; `place` and `place_of_type` count from 1 among its siblings."""

    name: str
    attributes: Mapping[str, str]
    parent: Node | None
    place: int = 1
    place_of_type: int = 1
    children: int = 0
    children_of_type: dict[str, int] = field(default_factory=dict[str, int])

    def child(self, name: str, attributes: Mapping[str, str]) -> Node:
        """Return the next child element."""
        self.children += 1
        self.children_of_type[name] = self.children_of_type.get(name, 0) + 1
        return Node(name, attributes, self, self.children, self.children_of_type[name])


_Test: TypeAlias = "Callable[[Node], bool]"

_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "~=": lambda value, wanted: wanted in value.split(),
    "|=": lambda value, wanted: value == wanted or value.startswith(f"{wanted}-"),
    "^=": lambda value, wanted: bool(wanted) and value.startswith(wanted),
    "$=": lambda value, wanted: bool(wanted) and value.endswith(wanted),
    "*=": lambda value, wanted: bool(wanted) and wanted in value,
}


def _attribute(match: re.Match[str]) -> _Test:
    name, sign = match["attr"].lower(), match["sign"]
    if sign is None:
        return lambda node: name in node.attributes
    wanted = next(text for text in (match["double"], match["single"], match["bare"]) if text is not None)
    compare = _OPERATORS[sign]
    if (match["flag"] or "").lower() == "i":
        folded = wanted.lower()
        return lambda node: name in node.attributes and compare(node.attributes[name].lower(), folded)
    return lambda node: name in node.attributes and compare(node.attributes[name], wanted)


def _nth(text: str) -> Callable[[int], bool]:
    text = {"odd": "2n+1", "even": "2n"}.get(text.strip().lower(), text)
    match = _STEP.match(text)
    if match is None:
        raise JsTypeError(f"Parser error: {text!r} does not count children.")
    if match["only"] is not None:
        only = int(match["only"])
        return lambda place: place == only
    step = int(match["a"] or 1) * (-1 if match["sign"] == "-" else 1)
    start = int(match["b"] or 0) * (-1 if match["plus"] == "-" else 1)
    if step == 0:
        return lambda place: place == start
    return lambda place: (place - start) % step == 0 and (place - start) // step >= 0


def _pseudo(name: str, inner: str | None) -> _Test:
    if name == "first-child":
        return lambda node: node.place == 1
    if name == "first-of-type":
        return lambda node: node.place_of_type == 1
    if inner is not None and name == "nth-child":
        counts = _nth(inner)
        return lambda node: counts(node.place)
    if inner is not None and name == "nth-of-type":
        counts = _nth(inner)
        return lambda node: counts(node.place_of_type)
    if inner is not None and name == "not":
        other = Selector(inner)
        return lambda node: not other.matches(node)
    raise JsTypeError(f"Unsupported pseudo-class or pseudo-element in selector: {name}")


def _test(match: re.Match[str]) -> _Test:
    if match["type"] is not None:
        name = match["type"].lower()
        return (lambda node: True) if name == "*" else (lambda node: node.name == name)
    if match["cls"] is not None:
        wanted = match["cls"]
        return lambda node: wanted in node.attributes.get("class", "").split()
    if match["id"] is not None:
        identity = match["id"]
        return lambda node: node.attributes.get("id") == identity
    if match["attr"] is not None:
        return _attribute(match)
    return _pseudo(match["pseudo"].lower(), match["inner"])


class Selector:
    """A parsed selector list.

    Raises:
        JsTypeError: The text is no selector, or of a kind that HTMLRewriter does not know.
    """

    def __init__(self, text: str) -> None:
        self._alternatives = [self._parse(part) for part in _split(text)]

    def _parse(self, text: str) -> list[tuple[str, list[_Test]]]:
        """Return the compounds from left to right, each with the combinator before it."""
        at, combinator = 0, ""
        compounds: list[tuple[str, list[_Test]]] = []
        text = text.strip()
        while at < len(text):
            tests: list[_Test] = []
            while (match := _SIMPLE.match(text, at)) is not None:
                tests.append(_test(match))
                at = match.end()
            if not tests:
                raise JsTypeError(f"Parser error: The selector {text!r} is invalid.")
            compounds.append((combinator, tests))
            gap = re.compile(r"\s*(>)\s*|\s+").match(text, at)
            if gap is not None:
                combinator, at = gap[1] or " ", gap.end()
            elif at < len(text):
                raise JsTypeError(f"Parser error: The selector {text!r} is invalid.")
        if not compounds or (combinator == ">" and text.endswith(">")):
            raise JsTypeError("Parser error: The selector is empty.")
        return compounds

    def matches(self, node: Node) -> bool:
        """Say whether an element matches."""
        return any(_matches(compounds, len(compounds) - 1, node) for compounds in self._alternatives)


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets, parentheses and quotes."""
    return re.findall(r"""(?:[^,\["'(]|\[[^\]]*\]|"[^"]*"|'[^']*'|\([^)]*\))+""", text) or [text]


def _matches(compounds: list[tuple[str, list[_Test]]], last: int, node: Node) -> bool:
    combinator, tests = compounds[last]
    if not all(test(node) for test in tests):
        return False
    if last == 0:
        return True
    ancestor = node.parent
    while ancestor is not None and ancestor.name:
        if _matches(compounds, last - 1, ancestor):
            return True
        if combinator == ">":
            return False
        ancestor = ancestor.parent
    return False
