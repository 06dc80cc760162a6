"""Splits HTML into tokens that keep their source text, by the parts of the HTML standard's tokenizer that matter here.

https://html.spec.whatwg.org/multipage/parsing.html#tokenization
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Token", "tokens"]

_MARKUP = re.compile(r"<(?:!--|!|\?|/(?=[A-Za-z])|(?=[A-Za-z]))")
_NAME = re.compile(r"[^\s/>]+")
_ATTRIBUTE = re.compile(r"""\s*/?\s*([^\s"'<>/=][^\s/>=]*)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*)))?""")
_RAW_TEXT = frozenset({"script", "style", "textarea", "title", "iframe", "noembed", "noframes", "xmp"})


@dataclass(slots=True)
class Token:
    """One token; `source` is its text in the document, `name` a tag's name in lower case."""

    kind: Literal["text", "start", "end", "comment", "doctype", "other"]
    source: str
    name: str = ""
    attributes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def _end_of_tag(source: str, at: int) -> int:
    """Return the place after the ">" of a tag, ignoring those in quoted values; the end if there is none."""
    while at < len(source):
        character = source[at]
        if character == ">":
            return at + 1
        if character == "=":
            quoted = re.compile(r"""=\s*("[^"]*"|'[^']*')""").match(source, at)
            if quoted is not None:
                at = quoted.end()
                continue
        at += 1
    return len(source)


def _start_tag(text: str) -> Token:
    name = _NAME.match(text, 1)
    assert name is not None
    attributes: list[tuple[str, str]] = []
    inside = text[name.end() : -1]
    for match in _ATTRIBUTE.finditer(inside):
        value = next((group for group in match.groups()[1:] if group is not None), "")
        attributes.append((match[1].lower(), html.unescape(value)))
    return Token("start", text, name[0].lower(), attributes)


def tokens(source: str) -> Iterator[Token]:
    """Yield the tokens of a document; joined, their sources are the document."""
    at = 0
    while at < len(source):
        match = _MARKUP.search(source, at)
        if match is None:
            yield Token("text", source[at:])
            return
        if match.start() > at:
            yield Token("text", source[at : match.start()])
        token, at = _markup(source, match)
        yield token
        if token.kind == "start" and token.name in _RAW_TEXT and not token.source.endswith("/>"):
            closing = re.compile(rf"</{re.escape(token.name)}(?=[\s/>])", re.IGNORECASE).search(source, at)
            end = len(source) if closing is None else closing.start()
            if end > at:
                yield Token("text", source[at:end])
            at = end


def _markup(source: str, match: re.Match[str]) -> tuple[Token, int]:
    start, opening = match.start(), match[0]
    if opening == "<!--":
        end = source.find("-->", match.end())
        stop = len(source) if end < 0 else end + 3
        return Token("comment", source[start:stop]), stop
    stop = _end_of_tag(source, match.end())
    text = source[start:stop]
    if opening == "</":
        name = _NAME.match(text, 2)
        return Token("end", text, "" if name is None else name[0].lower()), stop
    if opening == "<" and text.endswith(">"):
        return _start_tag(text), stop
    return Token("doctype" if text[:9].lower() == "<!doctype" else "other", text), stop
