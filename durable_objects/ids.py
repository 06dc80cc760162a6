"""Durable Object ids: 32 bytes whose second half authenticates the first for one namespace."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from workers.compat.proxies import JsException, JsProxy, JsTypeError

__all__ = ["DurableObjectId", "IdFactory"]

_HALF = 16
_NO_JURISDICTIONS = "Jurisdiction restrictions are not implemented in workerd."


class DurableObjectId(JsProxy):
    """The identity of one object; equal when the bytes are, whatever the name."""

    __slots__ = ("_hex", "name")

    def __init__(self, hex_digits: str, name: str | None = None) -> None:
        self._hex = hex_digits
        self.name = name

    def toString(self) -> str:  # JavaScript's name
        """Return 64 lower-case hex digits."""
        return self._hex

    to_string = toString

    def equals(self, other: object) -> bool:
        """Say whether both ids name the same object."""
        return isinstance(other, DurableObjectId) and other._hex == self._hex

    @property
    def jurisdiction(self) -> None:
        """Jurisdictions do not exist here."""
        return None

    def __str__(self) -> str:
        return self._hex

    def __repr__(self) -> str:
        return f"DurableObjectId({self._hex!r}, name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return self.equals(other)

    def __hash__(self) -> int:
        return hash(self._hex)


class IdFactory:
    """Makes and checks the ids of one namespace.

    K = SHA256(unique key); id = HMAC(K, name)[:16] + HMAC(K, first half)[:16], HMAC being HMAC-SHA256. The files of
    miniflare and wrangler are named by the same formula, so both find each other's objects.
    """

    def __init__(self, unique_key: str) -> None:
        self._key = hashlib.sha256(unique_key.encode()).digest()

    def from_name(self, name: str) -> DurableObjectId:
        """Return the id that `name` always has in this namespace."""
        first = self._mac(name.encode("utf-8", "surrogatepass"))
        return DurableObjectId((first + self._mac(first)).hex(), name)

    def unique(self, random_bytes: Callable[[int], bytes]) -> DurableObjectId:
        """Return a new id that no name has."""
        first = random_bytes(_HALF)
        return DurableObjectId((first + self._mac(first)).hex())

    def from_string(self, text: str) -> DurableObjectId:
        """Return the id printed as `text`.

        Raises:
            JsTypeError: Not 64 hex digits, or an id of another namespace.
        """
        try:
            raw = bytes.fromhex(text) if len(text) == 4 * _HALF and text.isascii() else b""
        except ValueError:
            raw = b""
        if len(raw) != 2 * _HALF:
            raise JsTypeError("Invalid Durable Object ID: must be 64 hex digits")
        if self._mac(raw[:_HALF]) != raw[_HALF:]:
            raise JsTypeError("Durable Object ID is not valid for this namespace.")
        return DurableObjectId(raw.hex())

    def refuse_jurisdiction(self) -> JsException:
        """Return the error for a namespace or id restricted to a jurisdiction."""
        return JsException(_NO_JURISDICTIONS)

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, "sha256")[:_HALF]
