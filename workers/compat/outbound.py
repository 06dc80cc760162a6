"""`fetch` as JavaScript has it: `data:` URLs are answered here, the rest goes to the running Worker's port."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote_to_bytes

from workers.compat import ambient
from workers.compat.abort import guarded
from workers.compat.proxies import JsException, JsTypeError
from workers.compat.web import EDGE_ENCODINGS, URL, Request, Response

__all__ = ["fetch"]

_NETWORK = {"http:", "https:", "ws:", "wss:"}


def _data_response(url: str) -> Response:
    head, comma, payload = url.removeprefix("data:").partition(",")
    if not comma:
        raise JsTypeError("Invalid data: URL")
    data = unquote_to_bytes(payload.partition("#")[0])
    if head.rstrip().lower().endswith(";base64"):
        head = head.rstrip()[: -len(";base64")]
        data = base64.b64decode(data + b"=" * (-len(data) % 4))
    kind = head.strip() or "text/plain;charset=US-ASCII"
    return Response.fetched(200, "OK", [("content-type", kind)], data, url=url)


async def fetch(resource: object, init: object = None, /, **options: Any) -> Response:
    """Send a request through the running Worker's outbound port, or through `fetcher` when one is given.

    `resource` is a URL or a Request; the options are those of `Request`.
    """
    request = (
        Request(resource, init, **options)
        if init is not None or options or not isinstance(resource, Request)
        else resource
    )
    return await guarded(request.given_signal, _sent(request))


async def _sent(request: Request) -> Response:
    if request.fetcher is not None:
        answer = await request.fetcher.fetch(request)
        return answer if isinstance(answer, Response) else answer.js_object
    protocol = URL(request.url).protocol
    if protocol == "data:":
        return _data_response(request.url)
    if protocol not in _NETWORK:
        raise JsTypeError(f"Fetch API cannot load: {request.url}")
    if request.headers.get("accept-encoding") == EDGE_ENCODINGS:
        # A forwarded request carries the edge's choice; which encodings can be decoded here is this way out's affair.
        pairs = [pair for pair in request.header_pairs() if pair[0] != "accept-encoding"]
        request = Request(request, headers=pairs)
    try:
        return await ambient.get().fetch(request)
    except OSError as error:
        raise JsException(str(error) or "Network connection lost.") from error
