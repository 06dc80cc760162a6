"""The module `js`: the global scope of a Worker as Python code imports it, `from js import Response, URL`.

What is missing here does not exist in this runtime; asking for it names the module and the name.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
import secrets
import sys
import uuid
from typing import Any

from workers.compat.abort import AbortController, AbortSignal
from workers.compat.blob import Blob, File
from workers.compat.buffers import ArrayBuffer, Uint8Array
from workers.compat.formdata import FormData
from workers.compat.headers import Headers
from workers.compat.html_rewriter import HTMLRewriter
from workers.compat.js_values import JSON, Array, Date, Map, Number, Object, Set, TextDecoder, TextEncoder
from workers.compat.outbound import fetch
from workers.compat.outgoing_websocket import OutgoingWebSocket as WebSocket
from workers.compat.proxies import JsException as Error
from workers.compat.proxies import JsProxy, JsRangeError, JsSyntaxError, JsTypeError
from workers.compat.streams import ReadableStream
from workers.compat.structured_clone import deserialize, serialize
from workers.compat.timers import clearInterval, clearTimeout, queueMicrotask, setInterval, setTimeout
from workers.compat.transform import FixedLengthStream, IdentityTransformStream, TransformStream, WritableStream
from workers.compat.typed_arrays import (
    BigInt64Array,
    BigUint64Array,
    DataView,
    Float32Array,
    Float64Array,
    Int8Array,
    Int16Array,
    Int32Array,
    Uint8ClampedArray,
    Uint16Array,
    Uint32Array,
)
from workers.compat.url import URL, URLSearchParams
from workers.compat.web import Request, Response
from workers.compat.websocket import WebSocketPair

__all__ = [
    "JSON",
    "URL",
    "AbortController",
    "AbortSignal",
    "Array",
    "ArrayBuffer",
    "BigInt64Array",
    "BigUint64Array",
    "Blob",
    "DataView",
    "Date",
    "Error",
    "File",
    "FixedLengthStream",
    "Float32Array",
    "Float64Array",
    "FormData",
    "HTMLRewriter",
    "Headers",
    "IdentityTransformStream",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Map",
    "Number",
    "Object",
    "RangeError",
    "ReadableStream",
    "RegExp",
    "Request",
    "Response",
    "Set",
    "SyntaxError",
    "TextDecoder",
    "TextEncoder",
    "TransformStream",
    "TypeError",
    "URLSearchParams",
    "Uint8Array",
    "Uint8ClampedArray",
    "Uint16Array",
    "Uint32Array",
    "WebSocket",
    "WebSocketPair",
    "WritableStream",
    "atob",
    "btoa",
    "clearInterval",
    "clearTimeout",
    "console",
    "crypto",
    "fetch",
    "globalThis",
    "navigator",
    "performance",
    "queueMicrotask",
    "scheduler",
    "setInterval",
    "setTimeout",
    "structuredClone",
    "undefined",
]

TypeError = JsTypeError
RangeError = JsRangeError
SyntaxError = JsSyntaxError
undefined = None
globalThis = sys.modules[__name__]


def atob(text: str) -> str:
    """Decode base64 into a string of one character a byte."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("latin-1")
    except ValueError:
        raise Error("atob() called with invalid base64-encoded data.", name="InvalidCharacterError") from None


def btoa(text: str) -> str:
    """Encode a string of one character a byte as base64."""
    try:
        return base64.b64encode(text.encode("latin-1")).decode()
    except UnicodeEncodeError:
        raise Error("btoa() can only operate on characters in the Latin1 (ISO/IEC 8859-1) range.",
                    name="InvalidCharacterError") from None  # fmt: skip


def structuredClone(value: Any) -> Any:
    """Return a deep copy by the structured clone algorithm."""
    return deserialize(serialize(value))


class Console(JsProxy):
    """`console`: what it is told goes to the logger "console"."""

    _log = logging.getLogger("console")

    def _say(self, level: int, values: tuple[Any, ...]) -> None:
        self._log.log(level, "%s", " ".join(str(value) for value in values))

    def log(self, *values: Any) -> None:
        """Log at level INFO."""
        self._say(logging.INFO, values)

    info = log

    def debug(self, *values: Any) -> None:
        """Log at level DEBUG."""
        self._say(logging.DEBUG, values)

    def warn(self, *values: Any) -> None:
        """Log at level WARNING."""
        self._say(logging.WARNING, values)

    def error(self, *values: Any) -> None:
        """Log at level ERROR."""
        self._say(logging.ERROR, values)


class SubtleCrypto(JsProxy):
    """`crypto.subtle`: digests; keys are not implemented, Python has libraries for them."""

    async def digest(self, algorithm: Any, data: Any) -> ArrayBuffer:
        """Return the digest of bytes by "SHA-1", "SHA-256", "SHA-384", "SHA-512" or "MD5"."""
        name = str(getattr(algorithm, "name", algorithm))
        plain = name.lower().replace("-", "")
        if plain not in ("md5", "sha1", "sha256", "sha384", "sha512"):
            raise Error(f"Unrecognized or unimplemented digest algorithm requested: {name}", name="NotSupportedError")
        return ArrayBuffer(hashlib.new(plain, bytes(data.to_bytes() if hasattr(data, "to_bytes") else data)).digest())


class Crypto(JsProxy):
    """`crypto`."""

    subtle = SubtleCrypto()

    def randomUUID(self) -> str:
        """Return a random UUID of version 4."""
        return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))

    def getRandomValues(self, array: Any) -> Any:
        """Fill a numeric view with random bytes and return it; a Uint8Array is returned anew."""
        if isinstance(array, (bytes, bytearray)):
            return Uint8Array(secrets.token_bytes(len(array)))
        view = array.to_py().cast("B")
        view[:] = secrets.token_bytes(len(view))
        return array


class Performance(JsProxy):
    """`performance`: the event loop's clock."""

    timeOrigin = 0

    def now(self) -> float:
        """Return milliseconds of the event loop's clock."""
        return asyncio.get_running_loop().time() * 1000


class Navigator(JsProxy):
    """`navigator`."""

    userAgent = "Cloudflare-Workers"


class Scheduler(JsProxy):
    """`scheduler`."""

    async def wait(self, milliseconds: float, options: Any = None) -> None:
        """Wait."""
        await asyncio.sleep(milliseconds / 1000)


console = Console()
crypto = Crypto()
performance = Performance()
navigator = Navigator()
scheduler = Scheduler()


class RegExp(JsProxy):
    """`RegExp`: a pattern in Python's notation, which covers the common part of both languages."""

    def __init__(self, source: str, flags: str = "") -> None:
        self.source, self.flags = source, flags
        options = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
        self._pattern = re.compile(source, sum(options.get(flag, 0) for flag in flags))

    def test(self, text: str) -> bool:
        """Say whether the pattern occurs in the text."""
        return self._pattern.search(text) is not None
