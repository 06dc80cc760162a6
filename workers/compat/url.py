"""URL and URLSearchParams by the WHATWG URL standard (https://url.spec.whatwg.org), the parts HTTP needs.

`normalise` is the door for request URLs: what is already in normal form, as nearly all are, costs one regex match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import AddressValueError, IPv6Address
from typing import Any, cast
from urllib.parse import parse_qsl, quote_plus, unquote_to_bytes

from workers.compat.proxies import JsProxy, JsTypeError

__all__ = ["URL", "URLSearchParams", "normalise"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_SPECIAL = {*_DEFAULT_PORTS, "file"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):").match
# A URL already in normal form: nothing to lower, encode, drop or resolve. Everything else takes the long way.
_CLEAN = re.compile(
    r"https?://(?:127\.0\.0\.1|(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*)(?::(?!80/|443/)[1-9][0-9]{0,3}|:[1-5][0-9]{4})?"
    r"(?:/(?!\.|%2[eE])[A-Za-z0-9\-_~!$&'()*+,;=:@%.|\[\]]*)+"
    r"(?:\?[A-Za-z0-9\-_~!$&()*+,;=:@%./?\[\]{}|^`\\]*)?\Z"
).match
_FORBIDDEN_HOST = re.compile(r"[\0-\x20#/:<>?@\[\\\]^|%\x7f]").search
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?\Z").search


def _encoder(unsafe: str) -> Callable[[str], str]:
    # By what stays as it is: a class that names ranges up to U+10FFFF takes 12 ms to compile.
    safe = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in unsafe)
    pattern = re.compile(f"[^{re.escape(safe)}]")

    def replacement(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace"))

    return lambda text: pattern.sub(replacement, text)


_encode_path = _encoder(' "#<>?`{}^')
_encode_query = _encoder(" \"#<>'")
_encode_fragment = _encoder(' "<>`')
_encode_user = _encoder(' "#<>?`{}/:;=@[\\]^|')


def _ipv4(host: str) -> str:
    parts = host.rstrip(".").split(".")
    if len(parts) > 4:
        raise ValueError(host)
    numbers: list[int] = []
    for part in parts:
        if part[:2].lower() == "0x":
            numbers.append(int(part[2:] or "0", 16))
        elif len(part) > 1 and part[0] == "0":
            numbers.append(int(part, 8))
        else:
            numbers.append(int(part))
    *front, last = numbers
    if any(number > 255 for number in front) or last >= 256 ** (5 - len(numbers)):
        raise ValueError(host)
    value = last + sum(number << (8 * (3 - place)) for place, number in enumerate(front))
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError as error:
        raise ValueError(text) from error
    # The URL standard always writes hexadecimal groups; Python writes mapped addresses with dots since 3.13.
    words = address.exploded.split(":")
    return f"[{IPv6Address(':'.join(words)).compressed}]"


def _host(text: str) -> str:
    if text.startswith("["):
        if not text.endswith("]"):
            raise ValueError(text)
        return _ipv6(text[1:-1])
    decoded = unquote_to_bytes(text).decode("utf-8", "replace")
    if decoded.isascii():
        host = decoded.lower()
    else:
        try:
            host = decoded.encode("idna").decode("ascii").lower()
        except UnicodeError as error:
            raise ValueError(text) from error
    if not host or _FORBIDDEN_HOST(host):
        raise ValueError(text)
    return _ipv4(host) if _ENDS_IN_NUMBER(host) else host


def _segments(path: str, special: bool) -> str:
    kept: list[str] = []
    parts = (path.replace("\\", "/") if special else path).split("/")
    last = len(parts) - 1
    for index, part in enumerate(parts):
        plain = part.lower().replace("%2e", ".")
        if plain == "..":
            if kept:
                kept.pop()
            if index == last:
                kept.append("")
        elif plain == ".":
            if index == last:
                kept.append("")
        else:
            kept.append(_encode_path(part))
    return "/" + "/".join(kept)


class URL(JsProxy):
    """A parsed URL; `URL(text, base)` raises `TypeError: Invalid URL: ...` for what cannot be parsed."""

    __slots__ = ("_fragment", "_host", "_password", "_path", "_port", "_query", "_scheme", "_search_params", "_user")

    def __init__(self, url: object, base: object = None) -> None:
        text = str(url)
        try:
            self._parse(text, None if base is None else URL(base))
        except ValueError:
            raise JsTypeError(f"Invalid URL: {text}") from None

    @classmethod
    def parse(cls, url: object, base: object = None) -> URL | None:
        """Return the URL, or None when it cannot be parsed."""
        try:
            return cls(url, base)
        except JsTypeError:
            return None

    @classmethod
    def canParse(cls, url: object, base: object = None) -> bool:
        """Say whether the constructor would accept the arguments."""
        return cls.parse(url, base) is not None

    def _parse(self, text: str, base: URL | None) -> None:
        text = re.sub(r"[\t\n\r]", "", text.strip("".join(map(chr, range(33)))))
        self._scheme, self._user, self._password, self._host, self._port = "", "", "", None, None
        self._query: str | None = None
        self._fragment: str | None = None
        self._search_params: URLSearchParams | None = None
        text, mark, fragment = text.partition("#")
        if mark:
            self._fragment = _encode_fragment(fragment)
        scheme = _SCHEME(text)
        if scheme is not None:
            self._scheme = scheme[1].lower()
            rest = text[scheme.end() :]
            if base is not None and self._scheme == base._scheme in _SPECIAL and rest[:1] not in ("/", "\\"):
                self._relative(rest, base)
            else:
                self._absolute(rest)
        elif base is None or (base._host is None and base._scheme != "file" and text):
            raise ValueError(text)
        else:
            self._relative(text, base)

    def _absolute(self, rest: str) -> None:
        special = self._scheme in _SPECIAL
        rest, mark, query = rest.partition("?")
        if mark:
            self._query = _encode_query(query)
        if special:
            rest = rest.replace("\\", "/")
            if self._scheme != "file":
                rest = "//" + rest.lstrip("/")
        if rest.startswith("//"):
            authority, slash, path = rest[2:].partition("/")
            self._authority(authority)
            self._path = _segments(path, special) if slash or special else ""
        elif rest.startswith("/") or self._scheme == "file":
            self._host = "" if self._scheme == "file" else None
            self._path = _segments(rest.removeprefix("/"), special)
        else:
            self._path = _encoder("")(rest)

    def _authority(self, authority: str) -> None:
        userinfo, at, hostport = authority.rpartition("@")
        if at:
            user, _, password = userinfo.partition(":")
            self._user, self._password = _encode_user(user), _encode_user(password)
        match = re.match(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?\Z", hostport)
        if match is None:
            raise ValueError(authority)
        if self._scheme == "file" and not match[1]:
            self._host = ""
            return
        self._host = _host(match[1])
        if match[2]:
            port = int(match[2])
            if port > 65535:
                raise ValueError(authority)
            self._port = None if port == _DEFAULT_PORTS.get(self._scheme) else port

    def _relative(self, text: str, base: URL) -> None:
        self._scheme = base._scheme
        special = self._scheme in _SPECIAL
        if special:
            head, mark, query = text.partition("?")
            text = head.replace("\\", "/") + mark + query
        if text.startswith("//"):
            self._absolute(text)
            return
        self._user, self._password, self._host, self._port = base._user, base._password, base._host, base._port
        path, mark, query = text.partition("?")
        self._query = _encode_query(query) if mark else None
        if path.startswith("/"):
            self._path = _segments(path[1:], special)
        elif path:
            folder = base._path.rpartition("/")[0].removeprefix("/")
            self._path = _segments(f"{folder}/{path}" if folder else path, special)
        else:
            self._path = base._path
            if not mark:
                self._query = base._query

    @property
    def href(self) -> str:
        """The whole URL in normal form."""
        text = f"{self._scheme}:"
        if self._host is not None:
            text += "//"
            if self._user or self._password:
                text += self._user + (f":{self._password}" if self._password else "") + "@"
            text += self.host
        text += self._path
        if self._query is not None:
            text += f"?{self._query}"
        return text if self._fragment is None else f"{text}#{self._fragment}"

    @href.setter
    def href(self, value: object) -> None:
        self.__init__(value)

    @property
    def origin(self) -> str:
        """Scheme, host and port; "null" for schemes without one."""
        return f"{self._scheme}://{self.host}" if self._scheme in _DEFAULT_PORTS else "null"

    @property
    def protocol(self) -> str:
        """The scheme with its colon."""
        return f"{self._scheme}:"

    @protocol.setter
    def protocol(self, value: object) -> None:
        scheme = str(value).partition(":")[0].lower()
        if (scheme in _SPECIAL) == (self._scheme in _SPECIAL):
            self._scheme = scheme
            self._port = None if self._port == _DEFAULT_PORTS.get(scheme) else self._port

    @property
    def username(self) -> str:
        """The user name, percent-encoded."""
        return self._user

    @username.setter
    def username(self, value: object) -> None:
        self._user = _encode_user(str(value))

    @property
    def password(self) -> str:
        """The password, percent-encoded."""
        return self._password

    @password.setter
    def password(self, value: object) -> None:
        self._password = _encode_user(str(value))

    @property
    def host(self) -> str:
        """Host name, with the port when it is not the scheme's own."""
        return (self._host or "") if self._port is None else f"{self._host}:{self._port}"

    @host.setter
    def host(self, value: object) -> None:
        self._port = None
        self._authority(str(value))

    @property
    def hostname(self) -> str:
        """Host name without the port."""
        return self._host or ""

    @hostname.setter
    def hostname(self, value: object) -> None:
        self._host = _host(str(value))

    @property
    def port(self) -> str:
        """The port as text; empty when it is the scheme's own."""
        return "" if self._port is None else str(self._port)

    @port.setter
    def port(self, value: object) -> None:
        text = str(value)
        self._port = int(text) if text and int(text) != _DEFAULT_PORTS.get(self._scheme) else None

    @property
    def pathname(self) -> str:
        """The path, percent-encoded."""
        return self._path

    @pathname.setter
    def pathname(self, value: object) -> None:
        self._path = _segments(str(value).removeprefix("/"), self._scheme in _SPECIAL)

    @property
    def search(self) -> str:
        """The query with its question mark; empty when there is none."""
        return f"?{self._query}" if self._query else ""

    @search.setter
    def search(self, value: object) -> None:
        text = str(value).removeprefix("?")
        self._query = _encode_query(text) if text else None
        if self._search_params is not None:
            self._search_params.reparse(self._query or "")

    @property
    def hash(self) -> str:
        """The fragment with its number sign; empty when there is none."""
        return f"#{self._fragment}" if self._fragment else ""

    @hash.setter
    def hash(self, value: object) -> None:
        text = str(value).removeprefix("#")
        self._fragment = _encode_fragment(text) if text else None

    @property
    def searchParams(self) -> URLSearchParams:
        """The query as a live list of pairs: changing it changes the URL."""
        if self._search_params is None:
            self._search_params = URLSearchParams(self._query or "")
            self._search_params.on_change = self._take_query
        return self._search_params

    def _take_query(self, query: str) -> None:
        self._query = query or None

    def toString(self) -> str:
        """Return `href`."""
        return self.href

    toJSON = toString

    def __str__(self) -> str:
        return self.href

    def __repr__(self) -> str:
        return f"URL({self.href!r})"


def _plus(text: str) -> str:
    return quote_plus(text, safe="*").replace("~", "%7E")


class URLSearchParams(JsProxy):
    """An ordered list of (name, value) pairs in the form encoding `a=1+2&b=`."""

    __slots__ = ("_pairs", "on_change")

    def __init__(self, init: object = "", /, **fields: object) -> None:
        self.on_change: Callable[[str], None] | None = None
        self._pairs: list[tuple[str, str]]
        if isinstance(init, URLSearchParams):
            self._pairs = list(init._pairs)
        elif isinstance(init, Mapping):
            self._pairs = [(str(key), str(value)) for key, value in cast(Mapping[Any, Any], init).items()]
        elif isinstance(init, Iterable) and not isinstance(init, str):
            self._pairs = [(str(key), str(value)) for key, value in cast(Iterable[Any], init)]
        else:
            self.reparse("" if init is None else str(init).removeprefix("?"))
        self._pairs += [(name, str(value)) for name, value in fields.items()]

    def reparse(self, query: str) -> None:
        """Replace the pairs by those of a query string."""
        self._pairs = parse_qsl(query, keep_blank_values=True, errors="replace")

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change(self.toString())

    def append(self, name: object, value: object) -> None:
        """Add a pair."""
        self._pairs.append((str(name), str(value)))
        self._changed()

    def set(self, name: object, value: object) -> None:
        """Replace all values of a name by one, in the place of the first."""
        key = str(name)
        first = next((place for place, pair in enumerate(self._pairs) if pair[0] == key), len(self._pairs))
        rest = [pair for pair in self._pairs[first:] if pair[0] != key]
        self._pairs = [*self._pairs[:first], (key, str(value)), *rest]
        self._changed()

    def delete(self, name: object, value: object = None) -> None:
        """Remove all pairs of a name, or only those with the given value."""
        key = str(name)
        self._pairs = [pair for pair in self._pairs if pair[0] != key or (value is not None and pair[1] != str(value))]
        self._changed()

    def get(self, name: object, default: Any = None) -> Any:
        """Return the first value of a name, or `default` (None)."""
        return next((value for key, value in self._pairs if key == str(name)), default)

    def getAll(self, name: object) -> list[str]:
        """Return all values of a name."""
        return [value for key, value in self._pairs if key == str(name)]

    def has(self, name: object) -> bool:
        """Say whether the name is present."""
        return any(key == str(name) for key, _ in self._pairs)

    def sort(self) -> None:
        """Sort by name, keeping the order of equal names."""
        self._pairs.sort(key=lambda pair: pair[0])
        self._changed()

    def entries(self) -> Iterator[tuple[str, str]]:
        """Iterate over the pairs."""
        return iter(list(self._pairs))

    def keys(self) -> list[str]:
        """Return the names in order."""
        return [key for key, _ in self._pairs]

    def values(self) -> list[str]:
        """Return the values in order."""
        return [value for _, value in self._pairs]

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self._pairs)

    def toString(self) -> str:
        """Return the form encoding."""
        return "&".join(f"{_plus(key)}={_plus(value)}" for key, value in self._pairs)

    def to_py(self, **_options: Any) -> dict[str, str]:
        """Return a dict; of several values the last stays."""
        return dict(self._pairs)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self.entries()

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, name: object) -> bool:
        return self.has(name)

    def __str__(self) -> str:
        return self.toString()

    def __repr__(self) -> str:
        return f"URLSearchParams({self.toString()!r})"


def normalise(url: str) -> str:
    """Return a URL in normal form.

    Raises:
        JsTypeError: `Invalid URL: ...`
    """
    return url if _CLEAN(url) else URL(url).href
