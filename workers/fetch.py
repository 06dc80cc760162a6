"""fetch: one outbound HTTP request."""

from __future__ import annotations

from typing import Any, Unpack, cast

from workers.compat import outbound
from workers.compat import web as js
from workers.compat.body import python_body, python_headers
from workers.compat.proxies import JsException
from workers.request import Request
from workers.response import Response
from workers.types import FetchKwargs

__all__ = ["fetch"]


async def fetch(resource: str | Request | js.Request, **other_options: Unpack[FetchKwargs]) -> Response:
    """Send a request and return the response as soon as its headers are there.

    The option `fetcher` sends it through a service binding instead of the network.

    Raises:
        OSError: The network failed; the JavaScript error is its cause.
    """
    options = cast("dict[str, Any]", other_options)
    if options.get("body") is not None:
        options["body"] = python_body(options["body"], "Request")
    if options.get("headers") is not None:
        options["headers"] = python_headers(options["headers"])
    request = resource.js_object if isinstance(resource, Request) else resource
    try:
        return Response(await outbound.fetch(request, **options))
    except JsException as error:
        # A TypeError or RangeError is the caller's mistake, not the network's.
        if error.name != "Error":
            raise
        raise OSError(str(error)) from error
