"""WebSocket frames (RFC 6455 section 5), server side. Pure: bytes in, messages out; no socket.

`encode` builds unmasked frames, whose bytes are the same for every receiver. `FrameReader` takes what arrives from a
client, checks it and hands out whole messages and control frames. Extensions are never negotiated.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

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


class ProtocolError(Exception):
    """The client broke the protocol; `code` is the close code to answer with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def encode(opcode: int, payload: bytes) -> bytes:
    """Return one final, unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


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


class FrameReader:
    """Cuts a client's byte stream into messages.

    A message is handed out when it is whole; fragments are joined. Sizes are checked on the frame header, so a message
    that is too big is refused before its bytes are stored.
    """

    __slots__ = ("_buffer", "_fragments", "_fragments_opcode", "_fragments_size", "_limit", "_needed")

    def __init__(self, limit: int) -> None:
        self._buffer: bytes | bytearray = b""
        self._needed = 2  # bytes to have before another look at the buffer can lead anywhere
        self._limit = limit
        self._fragments: list[bytes] | None = None
        self._fragments_opcode = _TEXT
        self._fragments_size = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`.

        Raises:
            ProtocolError: The client must be told and closed; what was yielded before stays valid.
        """
        buffer = self._buffer
        if buffer:
            if not isinstance(buffer, bytearray):
                buffer = bytearray(buffer)
            buffer += data
        else:
            buffer = data
        at, end = 0, len(buffer)
        while end - at >= self._needed:
            header = self._header(buffer, at, end)
            if header is None:
                break
            first, start, size = header
            if end - start < size:
                self._needed = start - at + size
                break
            self._needed = 2
            payload = _unmask(bytes(buffer[start - 4 : start]), bytes(buffer[start : start + size]))
            at = start + size
            frame = self._take(first, payload)
            if frame is not None:
                yield frame
        if at < end:
            if at:
                buffer = buffer[at:]
            self._buffer = buffer
        else:
            self._buffer = b""

    def _header(self, buffer: bytes | bytearray, at: int, end: int) -> tuple[int, int, int] | None:
        """Return (first byte, start of payload, size of payload), None when the header is not whole yet."""
        first, second = buffer[at], buffer[at + 1]
        if not second & 0x80:
            raise ProtocolError(1002, "client frames must be masked")
        if first & 0x70:
            raise ProtocolError(1002, "reserved bits set without an extension")
        opcode, size, start = first & 0x0F, second & 0x7F, at + 6
        if opcode not in _KNOWN:
            raise ProtocolError(1002, f"unknown opcode {opcode}")
        if opcode >= 8:
            if size > 125 or not first & 0x80:
                raise ProtocolError(1002, "control frames are short and whole")
        elif size >= 126:
            start += 2 if size == 126 else 8
        if end < start:
            self._needed = start - at
            return None
        if opcode < 8:
            if size == 126:
                (size,) = struct.unpack_from("!H", buffer, at + 2)
            elif size == 127:
                (size,) = struct.unpack_from("!Q", buffer, at + 2)
            if size + self._fragments_size > self._limit:
                raise ProtocolError(1009, "Message is too large")
        return first, start, size

    def _take(self, first: int, payload: bytes) -> Frame | None:
        opcode = _KNOWN[first & 0x0F]
        if opcode >= 8:
            return opcode, payload
        if opcode is _CONTINUATION:
            if self._fragments is None:
                raise ProtocolError(1002, "continuation of nothing")
            opcode = self._fragments_opcode
        elif self._fragments is not None:
            raise ProtocolError(1002, "a new message inside a fragmented one")
        if not first & 0x80:
            if self._fragments is None:
                self._fragments, self._fragments_opcode = [], opcode
            if payload:  # endless empty fragments must not fill the list
                self._fragments.append(payload)
                self._fragments_size += len(payload)
            return None
        if self._fragments is not None:
            payload = b"".join((*self._fragments, payload))
            self._fragments, self._fragments_size = None, 0
        if opcode is _BINARY:
            return opcode, payload
        try:
            return opcode, payload.decode()
        except UnicodeDecodeError:
            raise ProtocolError(1007, "text message is not UTF-8") from None
