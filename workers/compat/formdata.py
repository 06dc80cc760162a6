"""FormData, and its two wire forms: `multipart/form-data` (RFC 7578) and `application/x-www-form-urlencoded`.

The multipart parser works on bytes at hand: bodies are read whole before a form is parsed, as in the Workers runtime.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl

from workers.compat.blob import Blob, File
from workers.compat.proxies import JsProxy, JsTypeError

__all__ = ["FormData", "encode_multipart", "parse_form"]

# A backslash is literal, as in https://datatracker.ietf.org/doc/html/rfc7578#section-4.2 read by browsers.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"([^"]*)"|([^;\s]*))')
_UNSUPPORTED = (
    "Unrecognized Content-Type header value. FormData can only parse the following MIME types: "
    "multipart/form-data, application/x-www-form-urlencoded"
)


class FormData(JsProxy):
    """An ordered list of (name, str or File) entries; a name may appear several times."""

    __slots__ = ("_entries",)

    def __init__(self, init: object = None, /) -> None:
        self._entries: list[tuple[str, str | File]] = []
        if init is None:
            return
        source = cast(Mapping[Any, Any], init).items() if isinstance(init, Mapping) else cast(Iterable[Any], init)
        for name, value in source:
            self.append(name, value)

    @staticmethod
    def _entry(value: object, filename: str | None) -> str | File:
        if isinstance(value, File) and filename is None:
            return value
        if isinstance(value, Blob):
            return File([value.data], filename or "blob", type=value.type)
        return value if isinstance(value, str) else str(value)

    def append(self, name: object, value: object, filename: str | None = None) -> None:
        """Add an entry; a Blob becomes a File."""
        self._entries.append((str(name), self._entry(value, filename)))

    def set(self, name: object, value: object, filename: str | None = None) -> None:
        """Replace all entries of a name by one, in the place of the first."""
        key, entry = str(name), self._entry(value, filename)
        first = next((place for place, pair in enumerate(self._entries) if pair[0] == key), len(self._entries))
        rest = [pair for pair in self._entries[first:] if pair[0] != key]
        self._entries = [*self._entries[:first], (key, entry), *rest]

    def delete(self, name: object) -> None:
        """Remove all entries of a name."""
        self._entries = [pair for pair in self._entries if pair[0] != str(name)]

    def get(self, name: object, default: Any = None) -> Any:
        """Return the first value of a name, or `default` (None)."""
        return next((value for key, value in self._entries if key == str(name)), default)

    def getAll(self, name: object) -> list[str | File]:
        """Return all values of a name."""
        return [value for key, value in self._entries if key == str(name)]

    def has(self, name: object) -> bool:
        """Say whether the name is present."""
        return any(key == str(name) for key, _ in self._entries)

    def entries(self) -> Iterator[tuple[str, str | File]]:
        """Iterate over the entries."""
        return iter(list(self._entries))

    def keys(self) -> list[str]:
        """Return the names in order, repeated names included."""
        return [key for key, _ in self._entries]

    def values(self) -> list[str | File]:
        """Return the values in order."""
        return [value for _, value in self._entries]

    def forEach(self, callback: Callable[..., object]) -> None:
        """Call `callback(value, name, form)` for each entry."""
        for name, value in self.entries():
            callback(value, name, self)

    def __iter__(self) -> Iterator[tuple[str, str | File]]:
        return self.entries()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return self.has(name)


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def encode_multipart(form: FormData) -> tuple[bytes, str]:
    """Return the body and its content type."""
    parts: list[bytes] = []
    for name, value in form.entries():
        disposition = f'Content-Disposition: form-data; name="{_quoted(name)}"'
        if isinstance(value, File):
            kind = value.type or "application/octet-stream"
            head = f'{disposition}; filename="{_quoted(value.name)}"\r\nContent-Type: {kind}'
            data = value.data
        else:
            head, data = disposition, value.encode("utf-8", "replace")
        parts.append(b"%s\r\n\r\n%s\r\n" % (head.encode("utf-8", "replace"), data))
    # A digest of the content cannot occur in that content by chance, and gives equal forms equal bodies.
    boundary = f"----formdata-{hashlib.blake2b(b''.join(parts), digest_size=20).hexdigest()}"
    delimiter = b"--" + boundary.encode()
    body = b"".join(delimiter + b"\r\n" + part for part in parts) + delimiter + b"--\r\n"
    return body, f"multipart/form-data; boundary={boundary}"


def _parameters(header: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(header):
        found[name.lower()] = quoted or plain
    return found


def _part_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers


def _percent(text: str) -> str:
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _parse_multipart(data: bytes, boundary: str) -> FormData:
    form = FormData()
    delimiter = b"\r\n--" + boundary.encode()
    # The first delimiter may open the body, without a line end before it.
    pieces = (b"\r\n" + data).split(delimiter)
    if len(pieces) < 2:
        raise JsTypeError("No initial boundary string in FormData.")
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return form
        line, mark, rest = piece.partition(b"\r\n")
        if line.strip(b" \t") or not mark:
            raise JsTypeError("No CRLF after boundary in FormData.")
        block, mark, content = rest.partition(b"\r\n\r\n")
        if not mark and not rest.startswith(b"\r\n"):
            raise JsTypeError("No blank line after the headers of a FormData part.")
        headers = _part_headers(block)
        disposition = headers.get("content-disposition", "")
        if not disposition.lower().startswith("form-data"):
            raise JsTypeError('Content-Disposition header for FormData part must have the value "form-data".')
        parameters = _parameters(disposition[len("form-data") :])
        if "name" not in parameters:
            raise JsTypeError('Content-Disposition header for FormData part must have a "name" parameter.')
        name = _percent(parameters["name"])
        if "filename" in parameters:
            kind = headers.get("content-type", "text/plain")
            form.append(name, File([content], _percent(parameters["filename"]), type=kind))
        else:
            form.append(name, content.decode("utf-8", "replace"))
    raise JsTypeError("FormData body ended before its closing boundary.")


def parse_form(data: bytes, content_type: str | None) -> FormData:
    """Parse a body by its content type.

    Raises:
        JsTypeError: No content type, one that is not a form, or a malformed multipart body.
    """
    if content_type is None:
        raise JsTypeError("Parsing a Body as FormData requires a Content-Type header.")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        text = data.decode("utf-8-sig", "replace")
        return FormData(parse_qsl(text, keep_blank_values=True, errors="replace"))
    if kind != "multipart/form-data":
        raise JsTypeError(_UNSUPPORTED)
    boundary = _parameters(content_type[len("multipart/form-data") :]).get("boundary")
    if not boundary:
        raise JsTypeError(
            "No boundary string in Content-Type header. The multipart/form-data MIME type requires a "
            "boundary parameter, e.g. 'Content-Type: multipart/form-data; boundary=\"abcd\"'. See RFC "
            "7578, section 4."
        )
    return _parse_multipart(data, boundary)
