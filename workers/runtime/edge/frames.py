"""WebSocket frames (RFC 6455 section 5), server side. Pure: bytes in, messages out; no socket.

`encode` builds unmasked frames, whose bytes are the same for every receiver. `FrameReader` takes what arrives from a
client, checks it and hands out whole messages and control frames; compressed ones are inflated (`deflate`).
"""

from __future__ import annotations

import codecs
import enum
import struct
from collections.abc import Iterator

from workers.runtime.edge.deflate import Inflater
from workers.runtime.edge.errors import ProtocolError

__all__ = ["Frame", "FrameReader", "Opcode", "ProtocolError", "close_payload", "encode", "parse_close"]


class Opcode(enum.IntEnum):
    """What a frame carries (RFC 6455 section 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


Frame = tuple[Opcode, "str | bytes"]

_TEXT, _BINARY, _CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
_KNOWN = {int(opcode): opcode for opcode in Opcode}
_COMPRESSED = 0x40  # the first reserved bit (RFC 7692 section 6)
_utf8_decoder = codecs.getincrementaldecoder("utf-8")


def encode(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """Return one final, unmasked frame."""
    size, first = len(payload), 0x80 | opcode | (_COMPRESSED if compressed else 0)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_payload(code: int, reason: str) -> bytes:
    """Return the body of a Close frame; 1005 stands for a frame without a code."""
    return b"" if code == 1005 else struct.pack("!H", code) + reason.encode()[:123]


def parse_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a Close frame.

    Raises:
        ProtocolError: The code may not appear on the wire, or the reason is not UTF-8.
    """
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise ProtocolError(1002, "close frame of one byte")
    (code,) = struct.unpack_from("!H", payload)
    if code < 1000 or code >= 5000 or code in (1004, 1005, 1006) or 1015 <= code < 3000:
        raise ProtocolError(1002, f"invalid close code {code}")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(1007, "close reason is not UTF-8") from None


def _unmask(mask: bytes, payload: bytes) -> bytes:
    size = len(payload)
    if not size:
        return b""
    key = (mask * ((size + 3) // 4))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


class _Message:
    """A data message of which not everything has arrived."""

    __slots__ = ("data", "decoder", "inflater", "opcode")

    def __init__(self, opcode: Opcode, *, compressed: bool) -> None:
        self.opcode = opcode
        self.data = bytearray()
        self.decoder = _utf8_decoder() if opcode is _TEXT else None
        self.inflater = Inflater() if compressed else None

    def add(self, chunk: bytes, limit: int, *, is_last: bool) -> None:
        """Take in the next bytes; text that can never become UTF-8 is noticed at once, not at the end."""
        inflater = self.inflater
        if inflater is not None:
            chunk = inflater.feed(chunk, limit - len(self.data)) if chunk else b""
            if is_last:
                chunk += inflater.finish(limit - len(self.data) - len(chunk))
        if self.decoder is not None:
            try:
                self.decoder.decode(chunk, is_last)
            except UnicodeDecodeError:
                raise ProtocolError(1007, "text message is not UTF-8") from None
        self.data += chunk

    def whole(self) -> Frame:
        return self.opcode, self.data.decode() if self.opcode is _TEXT else bytes(self.data)


class FrameReader:
    """Cuts a client's byte stream into messages.

    A message is handed out when it is whole. Sizes are checked on the frame header, so a message that is too big is
    refused before its bytes are stored; a message in pieces is checked piece by piece. Between messages the reader
    holds nothing but a cut header.
    """

    __slots__ = ("_deflates", "_is_final", "_left", "_limit", "_mask", "_message", "_rest")

    def __init__(self, limit: int, *, deflates: bool = False) -> None:
        """Read messages of up to `limit` bytes; `deflates` when the client may compress them."""
        self._limit = limit
        self._deflates = deflates
        self._rest = b""  # a header, or a control frame, that is not whole
        self._message: _Message | None = None
        self._left = 0  # payload bytes of the current data frame that are still to come
        self._mask = b""
        self._is_final = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`.

        Raises:
            ProtocolError: The client must be told and closed; what was yielded before stays valid.
        """
        at = 0
        if self._left:
            at = min(self._left, len(data))
            frame = self._go_on(data[:at] if at < len(data) else data)
            if frame is not None:
                yield frame
        elif self._rest:
            data, self._rest = self._rest + data, b""
        end = len(data)
        while end - at >= 2:
            header = self._header(data, at, end)
            if header is None:
                break
            first, start, size = header
            opcode, mask = _KNOWN[first & 0x0F], data[start - 4 : start]
            if opcode >= 8:
                if end - start < size:
                    break
                at = start + size
                yield opcode, _unmask(mask, data[start:at])
            elif size <= end - start and self._message is None and first & 0xC0 == 0x80:
                at = start + size
                payload = _unmask(mask, data[start:at])
                yield opcode, payload if opcode is _BINARY else _text(payload)
            else:
                at = min(start + size, end)
                frame = self._begin(first, mask, size, data[start:at])
                if frame is not None:
                    yield frame
        if at < end:
            self._rest = data[at:] if at else data

    def _header(self, data: bytes, at: int, end: int) -> tuple[int, int, int] | None:
        """Return (first byte, start of payload, size of payload), None when the header is not whole yet."""
        first, second = data[at], data[at + 1]
        if not second & 0x80:
            raise ProtocolError(1002, "client frames must be masked")
        opcode, size, start = first & 0x0F, second & 0x7F, at + 6
        if first & 0x70 and not (first & 0x70 == _COMPRESSED and self._deflates and opcode in (1, 2)):
            raise ProtocolError(1002, "reserved bits set without an extension")
        if opcode not in _KNOWN:
            raise ProtocolError(1002, f"unknown opcode {opcode}")
        if opcode >= 8:
            if size > 125 or not first & 0x80:
                raise ProtocolError(1002, "control frames are short and whole")
        elif (opcode == 0) is (self._message is None):
            raise ProtocolError(1002, "a new message inside a fragmented one" if opcode else "continuation of nothing")
        elif size >= 126:
            start += 2 if size == 126 else 8
        if end < start:
            return None
        if size == 126 and opcode < 8:
            (size,) = struct.unpack_from("!H", data, at + 2)
        elif size == 127:
            (size,) = struct.unpack_from("!Q", data, at + 2)
            if size >> 63:
                raise ProtocolError(1002, "a length of more than 63 bits")
        if size + (0 if self._message is None else len(self._message.data)) > self._limit:
            raise ProtocolError(1009, "Message is too large")
        return first, start, size

    def _begin(self, first: int, mask: bytes, size: int, payload: bytes) -> Frame | None:
        """Begin a data frame that is not a whole message by itself; `payload` is what has arrived of it."""
        if first & 0x0F:
            self._message = _Message(_KNOWN[first & 0x0F], compressed=bool(first & _COMPRESSED))
        self._left, self._mask, self._is_final = size, mask, bool(first & 0x80)
        return self._go_on(payload)

    def _go_on(self, payload: bytes) -> Frame | None:
        message = self._message
        assert message is not None
        self._left -= len(payload)
        is_last = self._is_final and not self._left
        message.add(_unmask(self._mask, payload), self._limit, is_last=is_last)
        turn = len(payload) & 3
        self._mask = self._mask[turn:] + self._mask[:turn]
        if not is_last:
            return None
        self._message = None
        return message.whole()


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError(1007, "text message is not UTF-8") from None
