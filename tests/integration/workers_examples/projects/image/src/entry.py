import struct
import zlib

from js import Uint8Array, crypto
from pyodide.ffi import to_js
from workers import Response, WorkerEntrypoint


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    rows = b"".join(b"\0" + b"".join(bytes([x % 256, y % 256, 128]) for x in range(width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        image = png(16, 8)
        if request.url.endswith("/digest"):
            data = Uint8Array.new(to_js(image))
            digest = await crypto.subtle.digest("SHA-256", data)
            return Response(digest.to_bytes().hex())
        return Response(to_js(image).buffer, headers={"Content-Type": "image/png"})
