"""`env.ROOM`: makes ids and stubs of one Durable Object class."""

from __future__ import annotations

from random import Random
from typing import NoReturn

from durable_objects.ids import DurableObjectId, IdFactory
from durable_objects.stub import Directory, DurableObjectStub
from workers.compat.js_string import js_string
from workers.compat.proxies import JsProxy, JsTypeError

__all__ = ["DurableObjectNamespace"]

_MISSING = object()


class DurableObjectNamespace(JsProxy):
    """The objects of one class. camelCase names are Cloudflare's; snake_case aliases stand beside them."""

    def __init__(self, unique_key: str, directory: Directory, random: Random) -> None:
        self.unique_key = unique_key
        self._ids = IdFactory(unique_key)
        self._directory = directory
        self._random = random
        self._named: dict[str, DurableObjectId] = {}

    def idFromName(self, name: object = _MISSING) -> DurableObjectId:
        """Return the id that `name` always has."""
        if name is _MISSING:
            raise _argument_error("idFromName", "string")
        text = name if isinstance(name, str) else "null" if name is None else js_string(name)
        known = self._named.get(text)
        if known is None:
            if len(self._named) >= 4096:
                self._named.clear()
            known = self._named[text] = self._ids.from_name(text)
        return known

    def idFromString(self, text: object = _MISSING) -> DurableObjectId:
        """Return the id printed as `text`.

        Raises:
            JsTypeError: Not 64 hex digits, or an id of another namespace.
        """
        if text is _MISSING:
            raise _argument_error("idFromString", "string")
        return self._ids.from_string(js_string(text))

    def newUniqueId(self, options: object = None, **given: object) -> DurableObjectId:
        """Return a new id without a name."""
        if given.get("jurisdiction") or (isinstance(options, dict) and "jurisdiction" in options):
            raise self._ids.refuse_jurisdiction()
        return self._ids.unique(self._random.randbytes)

    def get(self, object_id: object = _MISSING, options: object = None, **_given: object) -> DurableObjectStub:
        """Return a stub; a location hint is accepted and ignored."""
        if not isinstance(object_id, DurableObjectId):
            raise _argument_error("get", "DurableObjectId")
        return DurableObjectStub(self._directory, object_id)

    def getByName(self, name: object = _MISSING, options: object = None, **_given: object) -> DurableObjectStub:
        """Return a stub of the object with that name."""
        if name is _MISSING:
            raise _argument_error("getByName", "string")
        return DurableObjectStub(self._directory, self.idFromName(name))

    def jurisdiction(self, jurisdiction: object = None) -> NoReturn:
        """Refuse: jurisdictions do not exist here."""
        raise self._ids.refuse_jurisdiction()

    id_from_name = idFromName
    id_from_string = idFromString
    new_unique_id = newUniqueId
    get_by_name = getByName

    def __repr__(self) -> str:
        return f"DurableObjectNamespace({self.unique_key!r})"


def _argument_error(method: str, wanted: str) -> JsTypeError:
    return JsTypeError(
        f"Failed to execute '{method}' on 'DurableObjectNamespace': parameter 1 is not of type '{wanted}'."
    )
