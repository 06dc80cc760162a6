"""FormData: a mutable mapping of field names to text or files, in which a name may occur several times."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, TypeAlias, cast

from workers.blob import Blob, File
from workers.compat import blob as js_blob
from workers.compat import formdata as js

__all__ = ["FormData", "FormDataValue"]

FormDataValue: TypeAlias = "str | Blob | js_blob.Blob"
"""What a field can be set to; it reads back as `str` or `File`."""


def _to_js(value: FormDataValue) -> object:
    return value.js_object if isinstance(value, Blob) else value


def _to_python(value: object) -> str | File:
    return File(value) if isinstance(value, js_blob.File) else str(value)


def _pairs(fields: Any) -> Iterable[tuple[str, FormDataValue]]:
    if fields is None:
        return ()
    return cast("Mapping[str, FormDataValue]", fields).items() if isinstance(fields, Mapping) else fields


class FormItems(ItemsView[str, "str | File"]):
    """The pairs of a form, repeated names included."""

    __slots__ = ()

    def __iter__(self) -> Iterator[tuple[str, str | File]]:
        for name, value in cast(FormData, self._mapping).js_object.entries():
            yield name, _to_python(value)


class FormValues(ValuesView["str | File"]):
    """The values of a form, repeated names included."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str | File]:
        for value in cast(FormData, self._mapping).js_object.values():
            yield _to_python(value)


class FormData(MutableMapping[str, "str | File"]):
    """The fields of an HTML form. `form[name]` is the first value; `get_all` returns every one."""

    __slots__ = ("_js_form",)

    def __init__(
        self, form_data: js.FormData | Mapping[str, FormDataValue] | Iterable[tuple[str, FormDataValue]] | None = None
    ) -> None:
        if isinstance(form_data, js.FormData):
            self._js_form = form_data
            return
        self._js_form = js.FormData()
        for name, value in _pairs(form_data):
            self._js_form.append(name, _to_js(value))

    @property
    def js_object(self) -> js.FormData:
        """The JavaScript object."""
        return self._js_form

    def __getitem__(self, key: str) -> str | File:
        value = self._js_form.get(key)
        if value is None:
            raise KeyError(key)
        return _to_python(value)

    def __setitem__(self, key: str, value: FormDataValue) -> None:
        self._js_form.set(key, _to_js(value))

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._js_form.delete(key)

    def __contains__(self, key: object) -> bool:
        return self._js_form.has(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._js_form.keys())

    def __len__(self) -> int:
        return len(self._js_form)

    def items(self) -> FormItems:
        """Return all (name, value) pairs; a repeated name comes with each of its values."""
        return FormItems(self)

    def values(self) -> FormValues:
        """Return all values."""
        return FormValues(self)

    def __repr__(self) -> str:
        return f"FormData({list(self._js_form.entries())!r})"

    def append(self, key: str, value: FormDataValue, filename: str | None = None) -> None:
        """Add a value beside those the name has."""
        self._js_form.append(key, _to_js(value), filename)

    def delete(self, key: str) -> None:
        """Remove every value of a name; a name that is absent is no error."""
        self._js_form.delete(key)

    def get_all(self, key: str) -> list[str | File]:
        """Return every value of a name, in order."""
        return [_to_python(value) for value in self._js_form.getAll(key)]
