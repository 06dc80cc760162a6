"""Parser for the part of JavaScript in which recorded handlers are written: source text to nested tuples.

A node is a tuple whose first item names it; `js_machine.py` runs it.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<template>`(?:[^`\\]|\\.)*`)
    |(?P<name>[A-Za-z_$][\w$]*)
    |(?P<punctuation>=>|\.\.\.|\?\.|\?\?|===|!==|==|!=|<=|>=|&&|\|\||\+\+|--|\+=|-=|\*\*|[-+*/%<>=!?:;,.(){}\[\]&|^~])""",
    re.VERBOSE | re.DOTALL,
)
REGEX = re.compile(r"/(?P<source>(?:[^/\\\[\n]|\\.|\[(?:[^\]\\]|\\.)*\])+)/(?P<flags>[a-z]*)")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "b": "\b", "f": "\f", "v": "\v"}
BINARY = {
    "??": 1, "||": 2, "&&": 3, "|": 4, "^": 5, "&": 6, "==": 7, "!=": 7, "===": 7, "!==": 7, "<": 8, ">": 8, "<=": 8,
    ">=": 8, "in": 8, "instanceof": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10, "**": 11,
}  # fmt: skip
DECLARATIONS = {"const", "let", "var"}


class Unsupported(Exception):
    """The source uses something this parser or machine does not know."""


def unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "ux" and len(code) > 1:
            return chr(int(code[1:].strip("{}"), 16))
        return ESCAPES.get(code, code)

    plain = re.sub(r"\\(u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", one, text, flags=re.DOTALL)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def tokens_of(source: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(source):
        previous = found[-1] if found else ("punctuation", "(")
        is_operator = previous[0] == "punctuation" and previous[1] not in ")]}"
        starts_value = is_operator or previous[1] in ("return", "typeof")
        regex = REGEX.match(source, at) if source[at] == "/" and starts_value else None
        if regex is not None and source[at : at + 2] not in ("//", "/*"):
            found.append(("regex", regex["source"] + "\n" + regex["flags"]))
            at = regex.end()
            continue
        match = TOKEN.match(source, at)
        if match is None or match.lastgroup is None:
            raise Unsupported(f"cannot read {source[at : at + 20]!r}")
        if match.lastgroup != "space":
            found.append((match.lastgroup, match[0]))
        at = match.end()
    found.append(("end", ""))
    return found


class Parser:
    """Recursive descent; one method a grammar rule."""

    def __init__(self, source: str) -> None:
        self.tokens = tokens_of(source)
        self.at = 0

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    @property
    def text(self) -> str:
        return self.tokens[self.at][1]

    def is_next(self, *texts: str) -> bool:
        return self.kind in ("punctuation", "name") and self.text in texts

    def take(self, *texts: str) -> bool:
        if self.is_next(*texts):
            self.at += 1
            return True
        return False

    def need(self, text: str) -> None:
        if not self.take(text):
            self.fail(f"expected {text!r}")

    def fail(self, message: str) -> NoReturn:
        raise Unsupported(f"{message} at {' '.join(token[1] for token in self.tokens[self.at : self.at + 6])!r}")

    def name(self) -> str:
        if self.kind != "name":
            self.fail("expected a name")
        self.at += 1
        return self.tokens[self.at - 1][1]

    # -- statements

    def program(self) -> tuple[Any, ...]:
        body = []
        while self.kind != "end":
            body.append(self.statement())
        return ("block", body)

    def block(self) -> tuple[Any, ...]:
        self.need("{")
        body = []
        while not self.take("}"):
            body.append(self.statement())
        return ("block", body)

    def statement(self) -> tuple[Any, ...]:
        if self.is_next("{"):
            return self.block()
        if self.take(";"):
            return ("block", [])
        if self.is_next(*DECLARATIONS):
            declaration = self.declaration()
            self.take(";")
            return declaration
        for word in ("return", "throw", "if", "for", "while", "try"):
            if self.take(word):
                return getattr(self, f"{word}_")()
        if self.is_next("break", "continue"):
            word = self.name()
            self.take(";")
            return (word,)
        if self.is_next("async", "function") and "function" in (self.text, self.tokens[self.at + 1][1]):
            function = self.primary()
            if function[0] == "function" and function[1]:
                return ("declare", ("name", function[1]), function)
            return ("expression", function)
        value = self.expression()
        self.take(";")
        return ("expression", value)

    def declaration(self) -> tuple[Any, ...]:
        self.at += 1
        items = []
        while True:
            target = self.pattern()
            items.append(("declare", target, self.assignment() if self.take("=") else None))
            if not self.take(","):
                return ("block-less", items)

    def pattern(self) -> tuple[Any, ...]:
        if self.take("["):
            items: list[Any] = []
            while not self.take("]"):
                items.append(None if self.is_next(",") else self.default_pattern())
                self.take(",")
            return ("array-pattern", items)
        if self.take("{"):
            members = []
            while not self.take("}"):
                key = self.name()
                members.append((key, self.default_pattern() if self.take(":") else ("name", key)))
                self.take(",")
            return ("object-pattern", members)
        return ("name", self.name())

    def default_pattern(self) -> tuple[Any, ...]:
        if self.take("..."):
            return ("rest", self.pattern())
        target = self.pattern()
        return ("default", target, self.assignment()) if self.take("=") else target

    def return_(self) -> tuple[Any, ...]:
        value = None if self.is_next(";", "}") or self.kind == "end" else self.expression()
        self.take(";")
        return ("return", value)

    def throw_(self) -> tuple[Any, ...]:
        value = self.expression()
        self.take(";")
        return ("throw", value)

    def if_(self) -> tuple[Any, ...]:
        self.need("(")
        test = self.expression()
        self.need(")")
        then = self.statement()
        return ("if", test, then, self.statement() if self.take("else") else None)

    def while_(self) -> tuple[Any, ...]:
        self.need("(")
        test = self.expression()
        self.need(")")
        return ("for", None, test, None, self.statement())

    def for_(self) -> tuple[Any, ...]:
        is_async = self.take("await")
        self.need("(")
        if self.is_next(*DECLARATIONS):
            start = self.at
            self.at += 1
            target = self.pattern()
            if self.take("of", "in"):
                kind = self.tokens[self.at - 1][1]
                source = self.expression()
                self.need(")")
                return ("for-each", kind, is_async, target, source, self.statement())
            self.at = start
        first = None if self.is_next(";") else self.declaration() if self.is_next(*DECLARATIONS) else self.expression()
        self.need(";")
        test = None if self.is_next(";") else self.expression()
        self.need(";")
        step = None if self.is_next(")") else self.expression()
        self.need(")")
        return ("for", first, test, step, self.statement())

    def try_(self) -> tuple[Any, ...]:
        body = self.block()
        target = handler = final = None
        if self.take("catch"):
            if self.take("("):
                target = self.pattern()
                self.need(")")
            handler = self.block()
        if self.take("finally"):
            final = self.block()
        return ("try", body, target, handler, final)

    # -- expressions

    def expression(self) -> tuple[Any, ...]:
        value = self.assignment()
        while self.take(","):
            value = ("sequence", value, self.assignment())
        return value

    def assignment(self) -> tuple[Any, ...]:
        arrow = self.arrow()
        if arrow is not None:
            return arrow
        value = self.conditional()
        for sign in ("=", "+=", "-="):
            if self.take(sign):
                return ("assign", sign, value, self.assignment())
        return value

    def arrow(self) -> tuple[Any, ...] | None:
        start = self.at
        is_async = self.is_next("async") and self.tokens[self.at + 1][1] != "function" and self.take("async")
        if self.kind == "name" and self.tokens[self.at + 1][1] == "=>":
            parameters = [("name", self.name())]
        elif self.is_next("(") and self.closing_is_arrow():
            parameters = self.parameters()
        else:
            self.at = start
            return None
        self.need("=>")
        if self.is_next("{"):
            return ("function", None, is_async, parameters, self.block())
        return ("function", None, is_async, parameters, ("return", self.assignment()))

    def closing_is_arrow(self) -> bool:
        depth = 0
        for place in range(self.at, len(self.tokens)):
            kind, text = self.tokens[place]
            if kind == "punctuation":
                depth += (text in "([{") - (text in ")]}")
                if depth == 0:
                    return self.tokens[place + 1][1] == "=>"
        return False

    def parameters(self) -> list[tuple[Any, ...]]:
        self.need("(")
        found = []
        while not self.take(")"):
            found.append(self.default_pattern())
            self.take(",")
        return found

    def conditional(self) -> tuple[Any, ...]:
        test = self.binary(0)
        if not self.take("?"):
            return test
        then = self.assignment()
        self.need(":")
        return ("conditional", test, then, self.assignment())

    def binary(self, floor: int) -> tuple[Any, ...]:
        left = self.unary()
        while self.kind in ("punctuation", "name") and BINARY.get(self.text, 0) > floor:
            sign = self.text
            self.at += 1
            left = ("binary", sign, left, self.binary(BINARY[sign]))
        return left

    def unary(self) -> tuple[Any, ...]:
        for sign in ("!", "-", "+", "~", "typeof", "await", "void", "delete"):
            if self.take(sign):
                return ("unary", sign, self.unary())
        for sign in ("++", "--"):
            if self.take(sign):
                return ("assign", f"{sign[0]}=", self.unary(), ("value", 1))
        value = self.postfix(self.primary())
        for sign in ("++", "--"):
            if self.take(sign):
                return ("postfix", sign[0], value)
        return value

    def postfix(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        while True:
            if self.take("."):
                value = ("member", value, ("value", self.name()), False)
            elif self.take("?."):
                if self.is_next("("):
                    value = ("call", value, self.arguments(), True)
                elif self.take("["):
                    value = ("member", value, self.expression(), True)
                    self.need("]")
                else:
                    value = ("member", value, ("value", self.name()), True)
            elif self.take("["):
                value = ("member", value, self.expression(), False)
                self.need("]")
            elif self.is_next("("):
                value = ("call", value, self.arguments(), False)
            else:
                return value

    def arguments(self) -> list[tuple[Any, ...]]:
        self.need("(")
        found = []
        while not self.take(")"):
            found.append(("spread", self.assignment()) if self.take("...") else self.assignment())
            self.take(",")
        return found

    def new(self) -> tuple[Any, ...]:
        callee = self.new() if self.take("new") else self.primary()
        while self.take("."):
            callee = ("member", callee, ("value", self.name()), False)
        return ("new", callee, self.arguments() if self.is_next("(") else [])

    def primary(self) -> tuple[Any, ...]:
        kind, text = self.tokens[self.at]
        if kind == "name":
            return self.word()
        self.at += 1
        if kind == "number":
            number = float(int(text, 16)) if text[:2] in ("0x", "0X") else float(text)
            return ("value", int(number) if number.is_integer() else number)
        if kind == "string":
            return ("value", unescape(text[1:-1]))
        if kind == "template":
            return self.template(text[1:-1])
        if kind == "regex":
            source, _, flags = text.rpartition("\n")
            return ("regex", source, flags)
        if text == "(":
            value = self.expression()
            self.need(")")
            return value
        if text == "[":
            self.at -= 1
            return ("array", self.list_items())
        if text == "{":
            return self.object()
        self.at -= 1
        self.fail("unexpected")

    def list_items(self) -> list[tuple[Any, ...]]:
        self.need("[")
        found = []
        while not self.take("]"):
            found.append(("spread", self.assignment()) if self.take("...") else self.assignment())
            self.take(",")
        return found

    def word(self) -> tuple[Any, ...]:
        if self.take("new"):
            return self.new()
        is_async = self.is_next("async") and self.tokens[self.at + 1][1] == "function" and self.take("async")
        if self.take("function"):
            name = self.name() if self.kind == "name" else None
            return ("function", name, is_async, self.parameters(), self.block())
        return ("name", self.name())

    def template(self, text: str) -> tuple[Any, ...]:
        parts: list[tuple[Any, ...]] = []
        for place, piece in enumerate(re.split(r"\$\{([^}]*)\}", text)):
            parts.append(Parser(piece).expression() if place % 2 else ("value", unescape(piece)))
        return ("template", parts)

    def object(self) -> tuple[Any, ...]:
        members: list[Any] = []
        while not self.take("}"):
            members.append(self.member())
            self.take(",")
        return ("object", members)

    def member(self) -> tuple[Any, ...]:
        if self.take("..."):
            return ("spread", self.assignment())
        following = self.tokens[self.at + 1][1]
        is_async = self.is_next("async") and following not in (":", ",", "}", "(") and self.take("async")
        if self.take("["):
            key: tuple[Any, ...] = self.expression()
            self.need("]")
        elif self.kind == "string":
            key = self.primary()
        else:
            key = ("value", self.text)
            self.at += 1
        if self.is_next("("):
            return ("member", key, ("function", None, is_async, self.parameters(), self.block()))
        if self.take(":"):
            return ("member", key, self.assignment())
        return ("member", key, ("name", key[1]))


def parse(source: str) -> tuple[Any, ...]:
    """Return the program's tree."""
    return Parser(source).program()
