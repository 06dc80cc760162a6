"""Runs trees of `js_syntax.py` against the plain-Python web objects, as a JavaScript engine would run the handler.

JavaScript's undefined is `None` and null is `jsnull`; the web objects answer `None` for both, so they compare equal.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any

from js_builtins import (
    Promise,
    Regex,
    Thrown,
    as_exception,
    as_thrown,
    is_nullish,
    is_same,
    is_true,
    member_of,
    to_text,
    type_of,
)
from js_syntax import Unsupported, parse

from workers.compat import js
from workers.compat.proxies import (
    JsArray,
    JsDict,
    JsException,
    JsProxy,
    JsTypeError,
    jsnull,
)

Steps = Generator[Any, Any, Any]


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Scope:
    """Names of one block and of the blocks around it."""

    def __init__(self, outer: Scope | None, names: dict[str, Any] | None = None) -> None:
        self.outer = outer
        self.names = {} if names is None else names

    def find(self, name: str) -> Scope | None:
        scope: Scope | None = self
        while scope is not None and name not in scope.names:
            scope = scope.outer
        return scope


def drive(steps: Steps) -> Any:
    """Run code that does not wait."""
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise Unsupported("await outside an async function")


async def drive_async(steps: Steps) -> Any:
    """Run code that may wait: each step yields what to wait for."""
    value: Any = None
    failure: BaseException | None = None
    while True:
        try:
            waiting = steps.send(value) if failure is None else steps.throw(failure)
        except StopIteration as end:
            return end.value
        value, failure = None, None
        try:
            value = await waiting if inspect.isawaitable(waiting) else waiting
        except Exception as error:
            failure = error


class Machine:
    """An evaluator; every method is a generator that yields what JavaScript would await."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        builtins: dict[str, Any] = {name: getattr(js, name) for name in js.__all__}
        builtins |= {"null": jsnull, "true": True, "false": False, "NaN": math.nan, "Infinity": math.inf}
        builtins |= {"Promise": Promise, "String": to_text, "Boolean": is_true, "RegExp": Regex, **names}
        self.globals = Scope(None, builtins)

    async def run(self, source: str) -> Any:
        """Run a function body and return what it returns."""
        try:
            return await drive_async(self._body(parse(source), Scope(self.globals)))
        except Thrown as thrown:
            raise JsException(to_text(thrown.value)) from None

    def _body(self, tree: Any, scope: Scope) -> Steps:
        try:
            yield from self.statement(tree, scope)
        except _Return as end:
            return (yield end.value) if inspect.isawaitable(end.value) else end.value

    def function(self, tree: Any, scope: Scope) -> Callable[..., Any]:
        _, _, is_async, parameters, body = tree

        def steps(args: tuple[Any, ...]) -> Steps:
            inner = Scope(scope)
            given = list(args)
            for place, parameter in enumerate(parameters):
                if parameter[0] == "rest":
                    yield from self.bind(parameter[1], JsArray(given[place:]), inner)
                else:
                    yield from self.bind(parameter, given[place] if place < len(given) else None, inner)
            try:
                yield from self.statement(body, inner)
            except _Return as end:
                return end.value

        if not is_async:
            return lambda *args: drive(steps(args))
        return lambda *args: asyncio.get_running_loop().create_task(drive_async(steps(args)))

    # -- statements

    def statement(self, tree: Any, scope: Scope) -> Steps:
        yield from getattr(self, "do_" + tree[0].replace("-", "_"))(tree, scope)

    def do_block(self, tree: Any, scope: Scope) -> Steps:
        inner = Scope(scope)
        for statement in tree[1]:
            yield from self.statement(statement, inner)

    def do_block_less(self, tree: Any, scope: Scope) -> Steps:
        for statement in tree[1]:
            yield from self.statement(statement, scope)

    def do_expression(self, tree: Any, scope: Scope) -> Steps:
        yield from self.value(tree[1], scope)

    def do_declare(self, tree: Any, scope: Scope) -> Steps:
        value = None if tree[2] is None else (yield from self.value(tree[2], scope))
        yield from self.bind(tree[1], value, scope)

    def do_return(self, tree: Any, scope: Scope) -> Steps:
        raise _Return(None if tree[1] is None else (yield from self.value(tree[1], scope)))

    def do_throw(self, tree: Any, scope: Scope) -> Steps:
        raise as_exception((yield from self.value(tree[1], scope)))

    def do_if(self, tree: Any, scope: Scope) -> Steps:
        branch = tree[2] if is_true((yield from self.value(tree[1], scope))) else tree[3]
        if branch is not None:
            yield from self.statement(branch, scope)

    def do_break(self, tree: Any, scope: Scope) -> Steps:
        raise _Break
        yield

    def do_continue(self, tree: Any, scope: Scope) -> Steps:
        raise _Continue
        yield

    def do_for(self, tree: Any, scope: Scope) -> Steps:
        _, first, test, step, body = tree
        inner = Scope(scope)
        if first is not None:
            yield from self.statement(first if first[0] == "block-less" else ("expression", first), inner)
        while test is None or is_true((yield from self.value(test, inner))):
            try:
                yield from self.statement(body, inner)
            except _Break:
                return
            except _Continue:
                pass
            if step is not None:
                yield from self.value(step, inner)

    def do_for_each(self, tree: Any, scope: Scope) -> Steps:
        _, kind, is_async, target, source, body = tree
        items = yield from self.value(source, scope)
        if is_async:
            items = yield self._collected(items)
        for item in list(js.Object.keys(items)) if kind == "in" else list(items):
            inner = Scope(scope)
            yield from self.bind(target, item, inner)
            try:
                yield from self.statement(body, inner)
            except _Break:
                return
            except _Continue:
                continue

    async def _collected(self, items: Any) -> list[Any]:
        return [item async for item in items]

    def do_try(self, tree: Any, scope: Scope) -> Steps:
        _, body, target, handler, final = tree
        try:
            yield from self.statement(body, scope)
        except (_Return, _Break, _Continue, Unsupported):
            raise
        except Exception as error:
            if handler is None:
                raise
            inner = Scope(scope)
            if target is not None:
                yield from self.bind(target, as_thrown(error), inner)
            yield from self.statement(handler, inner)
        finally:
            if final is not None:
                yield from self.statement(final, scope)

    def bind(self, target: Any, value: Any, scope: Scope) -> Steps:
        kind = target[0]
        if kind == "name":
            scope.names[target[1]] = value
        elif kind == "default":
            value = (yield from self.value(target[2], scope)) if value is None else value
            yield from self.bind(target[1], value, scope)
        elif kind == "array-pattern":
            items = list(value)
            for place, part in enumerate(target[1]):
                if part is not None and part[0] == "rest":
                    yield from self.bind(part[1], JsArray(items[place:]), scope)
                elif part is not None:
                    yield from self.bind(part, items[place] if place < len(items) else None, scope)
        else:
            for key, part in target[1]:
                yield from self.bind(part, member_of(value, key), scope)

    # -- expressions

    def value(self, tree: Any, scope: Scope) -> Steps:
        return (yield from getattr(self, "get_" + tree[0])(tree, scope))

    def get_value(self, tree: Any, scope: Scope) -> Steps:
        return tree[1]
        yield

    def get_name(self, tree: Any, scope: Scope) -> Steps:
        owner = scope.find(tree[1])
        if owner is None:
            raise JsException(f"{tree[1]} is not defined", name="ReferenceError")
        return owner.names[tree[1]]
        yield

    def get_function(self, tree: Any, scope: Scope) -> Steps:
        return self.function(tree, scope)
        yield

    def get_regex(self, tree: Any, scope: Scope) -> Steps:
        return Regex(tree[1], tree[2])
        yield

    def get_template(self, tree: Any, scope: Scope) -> Steps:
        text = ""
        for part in tree[1]:
            text += to_text((yield from self.value(part, scope)))
        return text

    def items(self, trees: list[Any], scope: Scope) -> Steps:
        found: list[Any] = []
        for tree in trees:
            if tree[0] == "spread":
                found.extend(
                    JsArray(item) if isinstance(item, tuple) else item
                    for item in (yield from self.value(tree[1], scope))
                )
            else:
                found.append((yield from self.value(tree, scope)))
        return found

    def get_array(self, tree: Any, scope: Scope) -> Steps:
        return JsArray((yield from self.items(tree[1], scope)))

    def get_object(self, tree: Any, scope: Scope) -> Steps:
        made = JsDict()
        for member in tree[1]:
            if member[0] == "spread":
                made.update((yield from self.value(member[1], scope)) or {})
            else:
                key = to_text((yield from self.value(member[1], scope)))
                made[key] = yield from self.value(member[2], scope)
        return made

    def get_sequence(self, tree: Any, scope: Scope) -> Steps:
        yield from self.value(tree[1], scope)
        return (yield from self.value(tree[2], scope))

    def get_conditional(self, tree: Any, scope: Scope) -> Steps:
        return (yield from self.value(tree[2] if is_true((yield from self.value(tree[1], scope))) else tree[3], scope))

    def get_member(self, tree: Any, scope: Scope) -> Steps:
        owner = yield from self.value(tree[1], scope)
        if is_nullish(owner) and tree[3]:
            return None
        return member_of(owner, (yield from self.value(tree[2], scope)))

    def get_call(self, tree: Any, scope: Scope) -> Steps:
        called = yield from self.value(tree[1], scope)
        if is_nullish(called) and tree[3]:
            return None
        args = yield from self.items(tree[2], scope)
        if not callable(called):
            raise JsTypeError(f"{tree[1][1]} is not a function")
        result = called(*args)
        # What a web object does not have is null in JavaScript, not undefined.
        is_lookup = getattr(called, "__name__", "") == "get" and isinstance(getattr(called, "__self__", None), JsProxy)
        return jsnull if result is None and is_lookup else self.shown(result)

    def get_new(self, tree: Any, scope: Scope) -> Steps:
        made = yield from self.value(tree[1], scope)
        args = yield from self.items(tree[2], scope)
        return made.new(*args) if hasattr(made, "new") else made(*args)

    @staticmethod
    def shown(result: Any) -> Any:
        """Start what JavaScript would have started already: an async method runs before it is awaited."""
        return asyncio.get_running_loop().create_task(result) if inspect.iscoroutine(result) else result

    def get_unary(self, tree: Any, scope: Scope) -> Steps:
        sign, operand = tree[1], tree[2]
        if sign == "typeof" and operand[0] == "name" and scope.find(operand[1]) is None:
            return "undefined"
        value = yield from self.value(operand, scope)
        if sign == "await":
            return (yield value) if inspect.isawaitable(value) else value
        if sign == "delete":
            return True
        operations: dict[str, Callable[[], Any]] = {
            "!": lambda: not is_true(value),
            "-": lambda: -value,
            "+": lambda: float(value),
            "~": lambda: ~int(value),
            "typeof": lambda: type_of(value),
            "void": lambda: None,
        }
        return operations[sign]()

    def get_binary(self, tree: Any, scope: Scope) -> Steps:
        sign = tree[1]
        left = yield from self.value(tree[2], scope)
        if sign in ("&&", "||", "??"):
            keeps = {"&&": not is_true(left), "||": is_true(left), "??": not is_nullish(left)}[sign]
            return left if keeps else (yield from self.value(tree[3], scope))
        right = yield from self.value(tree[3], scope)
        if sign == "+":
            numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
            return left + right if numbers else to_text(left) + to_text(right)
        operations: dict[str, Callable[[], Any]] = {
            "===": lambda: is_same(left, right),
            "==": lambda: is_same(left, right),
            "!==": lambda: not is_same(left, right),
            "!=": lambda: not is_same(left, right),
            "<": lambda: left < right,
            ">": lambda: left > right,
            "<=": lambda: left <= right,
            ">=": lambda: left >= right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left / right,
            "%": lambda: left % right,
            "in": lambda: left in right,
            "instanceof": lambda: isinstance(left, right),
        }
        return operations[sign]()

    def get_assign(self, tree: Any, scope: Scope) -> Steps:
        _, sign, target, source = tree
        value = yield from self.value(source, scope)
        if sign != "=":
            value = yield from self.value(("binary", sign[0], target, ("value", value)), scope)
        if target[0] == "name":
            owner = scope.find(target[1]) or scope
            owner.names[target[1]] = value
        else:
            owner_value = yield from self.value(target[1], scope)
            key = yield from self.value(target[2], scope)
            if isinstance(owner_value, (dict, list)):
                owner_value[key] = value
            else:
                setattr(owner_value, key, value)
        return value

    def get_postfix(self, tree: Any, scope: Scope) -> Steps:
        before = yield from self.value(tree[2], scope)
        yield from self.get_assign(("assign", f"{tree[1]}=", tree[2], ("value", 1)), scope)
        return before
