"""How much of what was written to a socket has not reached the other machine, as far as the kernel knows."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

__all__ = ["undelivered_bytes"]

_SIOCOUTQ = 0x5411
_FULL_BYTES = 65_536


def undelivered_bytes(transport: asyncio.Transport, high_water: int) -> int:
    """Return an upper bound of the bytes the other side has not acknowledged; 0 where the kernel does not tell.

    A transport that was cut has thrown its own buffer away; it had one, of up to `high_water`, if the kernel's is full.
    """
    connection: socket.socket | None = transport.get_extra_info("socket")
    queued = transport.get_write_buffer_size()
    if connection is None or sys.platform != "linux":
        return queued
    import fcntl

    try:
        answer = fcntl.ioctl(connection.fileno(), _SIOCOUTQ, struct.pack("i", 0))
    except (OSError, ValueError):
        return queued
    (held,) = struct.unpack("i", answer)
    return held + (queued or (high_water if held >= _FULL_BYTES else 0))
