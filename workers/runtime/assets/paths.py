"""Which file answers a path: html handling and what is said when nothing is found. Pure: asks `exists` about files.

https://developers.cloudflare.com/workers/static-assets/routing/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote

__all__ = ["Intent", "Resolver", "decode_path", "encode_path"]

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Intent:
    """What to answer: a file with a status, or a redirect to a path."""

    file: str | None = None
    status: int = 200
    redirect: str | None = None


def decode_path(path: str) -> str:
    """Return a path without escapes and without empty segments in it; a segment that is not UTF-8 stays."""
    return re.sub("/+", "/", "/".join(_decoded(segment) for segment in path.split("/")))


def _decoded(segment: str) -> str:
    if _BAD_ESCAPE.search(segment):
        return segment
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return segment


def encode_path(path: str) -> str:
    """Return a path with everything escaped that `encodeURIComponent` escapes."""
    return "/".join(quote(segment, safe="!~*'()", errors="surrogatepass") for segment in path.split("/"))


class Resolver:
    """The rules of one configuration."""

    def __init__(self, exists: Callable[[str], bool], html_handling: str) -> None:
        """Take the rules of `html_handling`; `exists` says whether a path below the folder is a file."""
        self._exists = exists
        rules: dict[str, Callable[[str], Iterator[tuple[str, str | None]]]] = {
            "auto-trailing-slash": self._auto,
            "force-trailing-slash": self._force,
            "drop-trailing-slash": self._drop,
            "none": self._none,
        }
        self._rules = rules[html_handling]

    def resolve(self, path: str, not_found: str) -> Intent | None:
        """Return what a path gets, by the rules and then by `not_found_handling`; None when nothing is found."""
        return self._find(path) or self._nothing(path, not_found)

    def _find(self, path: str, *, follow: bool = True) -> Intent | None:
        """Try the candidates in their order: a file to send, or one that has another address of its own."""
        for file, address in self._candidates(path):
            if address is None:
                if self._exists(file):
                    return Intent(file)
            elif follow and self._has_address(file, address):
                return Intent(redirect=address)
        return None

    def _has_address(self, file: str, address: str) -> bool:
        """Say whether `file` is what `address` would be answered with."""
        if self._exists(address) or not self._exists(file):
            return False
        found = self._find(address, follow=False)
        return found is not None and found.file == file

    def _candidates(self, path: str) -> Iterator[tuple[str, str | None]]:
        """Return files that may answer; one with an address is answered with a redirect to that, if it leads back."""
        return self._rules(path)

    def _none(self, path: str) -> Iterator[tuple[str, str | None]]:
        yield path, None

    def _auto(self, path: str) -> Iterator[tuple[str, str | None]]:
        if path.endswith("/index"):
            yield path, None
            yield f"{path}.html", path[:-5]
            yield f"{path[:-6]}.html", path[:-6]
        elif path.endswith("/index.html"):
            yield path, path[:-10]
            yield f"{path[:-11]}.html", path[:-11]
        elif path.endswith("/"):
            yield f"{path}index.html", None
            yield f"{path[:-1]}.html", path[:-1]
        elif path.endswith(".html"):
            yield path, path[:-5]
            yield f"{path[:-5]}/index.html", f"{path[:-5]}/"
        yield path, None
        yield f"{path}.html", None
        yield f"{path}/index.html", f"{path}/"

    def _force(self, path: str) -> Iterator[tuple[str, str | None]]:
        if path.endswith("/index"):
            yield path, None
            yield f"{path}.html", path[:-5]
            yield f"{path[:-6]}.html", path[:-5]
        elif path.endswith("/index.html"):
            yield path, path[:-10]
            yield f"{path[:-11]}.html", path[:-10]
        elif path.endswith("/"):
            yield f"{path}index.html", None
            yield f"{path[:-1]}.html", None
        elif path.endswith(".html"):
            yield path, f"{path[:-5]}/"
            yield path, None
            yield f"{path[:-5]}/index.html", f"{path[:-5]}/"
        yield path, None
        yield f"{path}.html", f"{path}/"
        yield f"{path}/index.html", f"{path}/"

    def _drop(self, path: str) -> Iterator[tuple[str, str | None]]:
        if path in ("/index", "/index.html"):
            if path == "/index":
                yield path, None
            yield "/index.html", "/"
        elif path.endswith("/index"):
            yield path, None
            yield f"{path[:-6]}.html", path[:-6]
            yield f"{path}.html", path[:-6]
        elif path.endswith("/index.html"):
            yield path, path[:-11]
            yield path, None
            yield f"{path[:-11]}.html", path[:-11]
        elif path == "/":
            yield "/index.html", None
        elif path.endswith("/"):
            yield f"{path[:-1]}.html", path[:-1]
            yield f"{path[:-1]}/index.html", path[:-1]
        elif path.endswith(".html"):
            yield path, path[:-5]
            yield f"{path[:-5]}/index.html", path[:-5]
        yield path, None
        yield f"{path}.html", None
        yield f"{path}/index.html", None

    def _nothing(self, path: str, not_found: str) -> Intent | None:
        if not_found == "single-page-application":
            return Intent("/index.html") if self._exists("/index.html") else None
        if not_found == "404-page":
            folder = path
            while folder:
                folder = folder.rpartition("/")[0]
                if self._exists(f"{folder}/404.html"):
                    return Intent(f"{folder}/404.html", 404)
        return None
