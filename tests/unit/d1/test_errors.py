"""What a program can see of a failure."""

from __future__ import annotations

import copy
import pickle

import pytest

from d1 import errors
from workers.compat.proxies import JsException

RAISED = [
    (errors.D1Error("no such table: t"), "D1_ERROR: no such table: t", "no such table: t"),
    (errors.D1ExecError("Error in line 1: x: y"), "D1_EXEC_ERROR: Error in line 1: x: y", "Error in line 1: x: y"),
    (errors.D1TypeError("Type 'x'"), "D1_TYPE_ERROR: Type 'x'", "Type 'x'"),
    (errors.D1ColumnNotFound("c"), "D1_COLUMN_NOTFOUND: Column not found (c)", "Column not found"),
    (errors.D1DumpError(404), "D1_DUMP_ERROR: Status + 404", "Status 404"),
]


@pytest.mark.parametrize(("error", "message", "cause"), RAISED)
def test_errors_are_javascript_errors_with_production_s_texts(error: errors.D1Error, message: str, cause: str) -> None:
    assert isinstance(error, JsException)
    assert (error.name, error.message, str(error)) == ("Error", message, f"Error: {message}")
    assert isinstance(error.cause, JsException)
    assert error.cause.message == cause


@pytest.mark.parametrize("error", [one for one, _, _ in RAISED] + [errors.D1ObjectError("reset")])
def test_errors_can_be_copied_and_pickled(error: JsException) -> None:
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == str(error)


def test_a_failed_object_is_marked_and_has_no_cause() -> None:
    error = errors.D1ObjectError("internal error; reference = 1")
    assert error.properties == {"remote": True}
    assert error.cause is None


def test_a_usage_error_is_a_type_error() -> None:
    assert isinstance(errors.D1UsageError("query.trim is not a function"), TypeError)
