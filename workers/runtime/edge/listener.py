"""An address that is listened on, apart from the server behind it: it is claimed before an application is opened, and
stays claimed while one application takes the place of another."""

from __future__ import annotations

import errno
import os
import socket

__all__ = ["BindError", "Listener"]

_BACKLOG = 4096


class BindError(Exception):
    """The address cannot be listened on; the text is one line for the person at the terminal."""


class Listener:
    """The listening sockets of one host and port. Connections that nobody accepts yet wait in the kernel's queue."""

    def __init__(self, host: str, port: int) -> None:
        """Begin to listen; port 0 picks a free one.

        Raises:
            BindError: The address is in use or not ours.
        """
        self.host = host
        self._sockets: list[socket.socket] = []
        try:
            for family, address in _addresses(host, port):
                # A name with several addresses (localhost) has one port on all of them.
                self._listen(family, (address, self.port if self._sockets else port))
        except OSError as error:
            self.close()
            where = f"{host}:{port}"
            if error.errno == errno.EADDRINUSE:
                raise BindError(
                    f"{where} is already in use (another flarelet or wrangler?); choose another with --port"
                ) from error
            raise BindError(f"cannot listen on {where}: {error.strerror or error}") from error
        except UnicodeError as error:
            raise BindError(f"cannot listen on {host}: that is not a host name") from error

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._sockets[0].getsockname()[1])

    def duplicates(self) -> list[socket.socket]:
        """Return the sockets for one server to accept from and close; this listener goes on without it."""
        return [own.dup() for own in self._sockets]

    def close(self) -> None:
        """Give the address back."""
        for own in self._sockets:
            own.close()
        self._sockets = []

    def _listen(self, family: int, address: tuple[str, int]) -> None:
        made = socket.socket(family, socket.SOCK_STREAM)
        self._sockets.append(made)
        if os.name == "posix":  # elsewhere the option would let two servers share one port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
        # At once: two sockets that only bound one address do not see each other.
        made.listen(_BACKLOG)


def _addresses(host: str, port: int) -> list[tuple[int, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))
