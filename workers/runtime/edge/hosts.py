"""Who may talk to a server on this machine: Host and Origin checks against DNS rebinding and foreign web pages.

A page on any web site can make a browser send requests to 127.0.0.1. It cannot choose the Host header (it names the
site, also after DNS rebinding), nor the Origin header of a WebSocket handshake.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = ["HostPolicy", "is_loopback"]

_REMEMBERED = 256


def is_loopback(address: str) -> bool:
    """Say whether a bind address, or a host name of a Host header, is this machine only."""
    name = address.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name_of(authority: str) -> str | None:
    """Return the host name of `name[:port]`, None when that is not an authority."""
    if not authority or any(character in authority for character in "/?#@\\ "):
        return None
    try:
        parts = urlsplit("//" + authority)
        return parts.hostname if parts.port is None or parts.port else None
    except ValueError:
        return None


class HostPolicy:
    """Accepts requests that name this machine. With `everybody` it accepts any name (a public bind)."""

    def __init__(self, names: frozenset[str] = frozenset(), *, everybody: bool = False) -> None:
        self._names = frozenset(name.strip("[]").lower() for name in names)
        self._everybody = everybody
        self._accepted: set[str] = set()  # Host headers already looked at: the check costs nothing on a busy server

    def accepts_host(self, header: str) -> bool:
        """Say whether a request with this Host header may be answered."""
        if header in self._accepted:
            return True
        name = _name_of(header)
        if name is None or not (self._everybody or is_loopback(name) or name in self._names):
            return False
        if len(self._accepted) < _REMEMBERED:
            self._accepted.add(header)
        return True

    def accepts_origin(self, origin: str | None, host: str) -> bool:
        """Say whether a page of this origin may open a WebSocket; programs other than browsers send none."""
        if self._everybody or origin is None:
            return True
        try:
            parts = urlsplit(origin)
            name = parts.hostname
        except ValueError:
            return False
        if name is None:
            return False  # "null": a sandboxed frame or a file, which any site can produce
        return is_loopback(name) or name in self._names or parts.netloc == host
