"""Functions of a test that stand where another service would be: a service binding, or the whole network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from workers.compat import web
from workers.compat.fetcher import Fetcher
from workers.compat.proxies import JsTypeError
from workers.request import Request
from workers.response import FetchResponse, Response

__all__ = ["answer_of", "service_double"]


async def answer_of(function: Callable[..., Any], request: web.Request) -> web.Response:
    """Ask a function, async or not, that takes a `workers.Request` and returns a `Response`.

    Raises:
        JsTypeError: It returned something else.
    """
    result = function(Request(request))
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, FetchResponse):
        return result.js_object
    if isinstance(result, web.Response):
        return result
    raise JsTypeError(f"the test's function answered with a {type(result).__name__} instead of a Response")


class _Double:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    async def fetch(self, request: web.Request) -> web.Response:
        """Answer a request."""
        return await answer_of(self._function, request)

    def method(self, name: str) -> None:
        """Nothing: a function answers requests only."""


def service_double(function: Callable[..., Any]) -> Fetcher:
    """Return a service binding whose requests a function answers."""
    return Fetcher(_Double(function), Response)
