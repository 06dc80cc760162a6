"""Compression of WebSocket messages (RFC 7692, permessage-deflate), server side. Pure: no socket.

Neither side keeps its window from one message to the next: an idle socket then holds no compression state at all (a
kept pair of windows takes about 300 KiB), and the bytes of a compressed message are the same for every receiver, so a
broadcast is compressed once.
"""

from __future__ import annotations

import re
import zlib

from workers.runtime.edge.errors import ProtocolError

__all__ = ["MIN_BYTES", "Inflater", "deflate", "negotiate"]

MIN_BYTES = 512
"""Messages smaller than this are never compressed: the header and the time cost more than they save."""

_TAIL = b"\x00\x00\xff\xff"
_LEVEL = 4
_MAX_HEADER = 4096
_OFFER = re.compile(r'\s*([!#$%&\'*+.^_`|~\w-]+)\s*(?:=\s*(?:"([^"\\]*)"|([!#$%&\'*+.^_`|~\w-]+))\s*)?', re.ASCII)
_FLAGS = frozenset({"server_no_context_takeover", "client_no_context_takeover"})
_BITS = frozenset({"server_max_window_bits", "client_max_window_bits"})


def negotiate(header: str | None) -> tuple[int, str]:
    """Return the window bits to compress with and the answer's header value for what a client offers.

    `(0, "")` when nothing that was offered can be taken. Of several offers the first good one is taken.
    """
    if not header or len(header) > _MAX_HEADER:
        return 0, ""
    for offer in header.split(","):
        parameters = _parameters(offer)
        if parameters is None:
            continue
        bits = int(parameters.get("server_max_window_bits") or 15)
        if bits == 8:  # zlib cannot write raw deflate data with so small a window
            continue
        answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        return bits, f"{answer}; server_max_window_bits={bits}" if "server_max_window_bits" in parameters else answer
    return 0, ""


def _parameters(offer: str) -> dict[str, str] | None:
    """Return the parameters of one offer, None when it is malformed or another extension (RFC 7692 section 7)."""
    name, *rest = offer.split(";")
    if name.strip().lower() != "permessage-deflate":
        return None
    found: dict[str, str] = {}
    for text in rest:
        match = _OFFER.fullmatch(text)
        if match is None:
            return None
        key, quoted, plain = match.groups()
        value = quoted if quoted is not None else plain
        if key in found or not _is_good(key, value):
            return None
        found[key] = value or ""
    return found


def _is_good(key: str, value: str | None) -> bool:
    if key in _FLAGS:
        return value is None
    if key not in _BITS:
        return False
    if value is None:
        return key == "client_max_window_bits"
    return value in ("8", "9", "10", "11", "12", "13", "14", "15")


def deflate(payload: bytes, bits: int) -> bytes:
    """Return the payload of a compressed message, which depends on nothing sent before."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


class Inflater:
    """Decompresses one message; never gives out more than was allowed, however small what came in was."""

    __slots__ = ("_inflate",)

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-15)

    def feed(self, data: bytes, room: int) -> bytes:
        """Return what `data` holds.

        Raises:
            ProtocolError: 1009, it is more than `room` bytes; 1007, it is not deflate data.
        """
        inflate = self._inflate
        if inflate.eof:  # a last block was marked: what follows is padding (RFC 7692 section 7.2.3.4)
            return b""
        try:
            out = inflate.decompress(data, room + 1)
        except zlib.error:
            raise ProtocolError(1007, "invalid compressed data") from None
        if len(out) > room:
            raise ProtocolError(1009, "Message is too large")
        return out

    def finish(self, room: int) -> bytes:
        """Return the rest, at the end of the message.

        Raises:
            ProtocolError: As `feed`.
        """
        return self.feed(_TAIL, room)
