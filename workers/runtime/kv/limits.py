"""What Workers KV accepts, and the words in which it refuses.

https://developers.cloudflare.com/kv/platform/limits/
"""

from __future__ import annotations

from typing import Any

from workers.compat.js_string import js_string
from workers.compat.proxies import JsException, JsTypeError

__all__ = [
    "MOST_BULK_BYTES",
    "MOST_LISTED",
    "MOST_VALUE_BYTES",
    "bulk_key",
    "bulk_size",
    "bulk_type",
    "cache_ttl",
    "expiration_ms",
    "failed",
    "key_name",
    "list_limit",
    "list_prefix",
    "metadata_text",
    "value_length",
    "value_type",
]

MOST_LISTED = 1000
MOST_VALUE_BYTES = 25 * 1024 * 1024
MOST_BULK_BYTES = 25 * 1024 * 1024
_MOST_KEY_BYTES = 512
_MOST_METADATA_BYTES = 1024
_MOST_BULK_KEYS = 100
_LEAST_TTL_S = 60
_LEAST_CACHE_TTL_S = 30
_TYPES = ("text", "arrayBuffer", "json", "stream")


def failed(method: str, status: int, text: str) -> JsException:
    """Return the error of a request that the service refuses."""
    return JsException(f"KV {method} failed: {status} {text}")


def _checked_length(method: str, key: str) -> str:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise failed(method, 400, "Could not URL-decode key name") from None
    if length > _MOST_KEY_BYTES:
        raise failed(method, 414, f"UTF-8 encoded length of {length} exceeds key length limit of {_MOST_KEY_BYTES}.")
    return key


def key_name(method: str, given: Any) -> str:
    """Return a key's name, after the checks that the binding itself makes."""
    key = "null" if given is None else js_string(given)
    if key == "":
        raise JsTypeError("Key name cannot be empty.")
    if key in (".", ".."):
        raise JsTypeError(f'"{key}" is not allowed as a key name.')
    return _checked_length(method, key)


def bulk_key(given: Any) -> str:
    """Return a key's name out of a list of keys, which the service checks."""
    key = "null" if given is None else js_string(given)
    if key == "":
        raise failed("GET_BULK", 400, "Key names must not be empty")
    if key in (".", ".."):
        raise failed("GET_BULK", 400, f'Illegal key name "{key}". Please use a different name.')
    return _checked_length("GET_BULK", key)


def bulk_size(count: int) -> None:
    """Refuse a list of keys that is too long, or empty."""
    if count > _MOST_BULK_KEYS:
        raise failed("GET_BULK", 400, f"You can request a maximum of {_MOST_BULK_KEYS} keys")
    if count < 1:
        raise failed("GET_BULK", 400, "You must request a minimum of 1 key")


def value_type(given: Any) -> str:
    """Return how a value is wanted."""
    if given not in _TYPES:
        raise JsTypeError('Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".')
    return given


def bulk_type(given: Any) -> str:
    """Return how the values of several keys are wanted."""
    if given not in ("text", "json"):
        raise failed("GET_BULK", 400, f'"{js_string(given)}" is not a valid type. Use "json" or "text"')
    return given


def _whole(given: Any) -> int:
    """Return a number as JavaScript makes a 32-bit integer of it: what is no number is 0."""
    try:
        number = int(float(given)) if isinstance(given, str) else int(given)
    except (ValueError, TypeError, OverflowError):
        return 0
    if not -(2**31) <= number < 2**31:
        raise JsTypeError("Value out of range. Must be between -2147483648 and 2147483647 (inclusive).")
    return number


def cache_ttl(method: str, given: Any) -> None:
    """Check `cacheTtl`; there is no cache here that it could steer."""
    if given is not None and (seconds := _whole(given)) < _LEAST_CACHE_TTL_S:
        raise failed(method, 400, f"Invalid cache_ttl of {seconds}. Cache TTL must be at least {_LEAST_CACHE_TTL_S}.")


def expiration_ms(expiration: Any, ttl: Any, now_ms: int) -> int | None:
    """Return when a value expires, from seconds since the epoch or from now on; the latter wins."""
    now_s = now_ms // 1000
    if ttl is not None:
        seconds = _whole(ttl)
        if seconds <= 0:
            raise failed("PUT", 400, f"Invalid expiration_ttl of {seconds}. Please specify integer greater than 0.")
        if seconds < _LEAST_TTL_S:
            raise failed(
                "PUT",
                400,
                f"Invalid expiration_ttl of {seconds}. Expiration TTL must be at least {_LEAST_TTL_S}.",
            )
        return (now_s + seconds) * 1000
    if expiration is None:
        return None
    seconds = _whole(expiration)
    if seconds <= now_s:
        raise failed(
            "PUT",
            400,
            f"Invalid expiration of {seconds}. Please specify integer greater than the current number of seconds since "
            "the UNIX epoch.",
        )
    if seconds < now_s + _LEAST_TTL_S:
        raise failed(
            "PUT",
            400,
            f"Invalid expiration of {seconds}. Expiration times must be at least {_LEAST_TTL_S} seconds in the future.",
        )
    return seconds * 1000


def metadata_text(text: str) -> str:
    """Return metadata, which is JSON text, if it is short enough."""
    length = len(text.encode("utf-8", "surrogatepass"))
    if length > _MOST_METADATA_BYTES:
        raise failed("PUT", 413, f"Metadata length of {length} exceeds limit of {_MOST_METADATA_BYTES}.")
    return text


def value_length(length: int) -> None:
    """Refuse a value that is too long."""
    if length > MOST_VALUE_BYTES:
        raise failed("PUT", 413, f"Value length of {length} exceeds limit of {MOST_VALUE_BYTES}.")


def list_limit(given: Any) -> int:
    """Return how many keys a page of `list` has."""
    limit = 0 if given is None else _whole(given)
    if limit > MOST_LISTED:
        raise failed(
            "GET", 400, f"Invalid key_count_limit of {limit}. Please specify an integer less than {MOST_LISTED}."
        )
    return limit if limit > 0 else MOST_LISTED


def list_prefix(given: Any) -> str:
    """Return the prefix of the keys that are listed."""
    return "" if given is None else _checked_length("GET", js_string(given))
