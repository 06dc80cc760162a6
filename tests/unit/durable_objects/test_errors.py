from __future__ import annotations

from durable_objects.errors import (
    BlockedTooLong,
    CommitFailed,
    ConstraintsLeftViolated,
    ObjectReset,
    ReceiverHasNoMethod,
)


def test_a_reset_can_be_told_from_other_errors():
    error = ObjectReset("why")
    assert (error.name, error.message, error.durableObjectReset) == ("Error", "why", True)
    assert BlockedTooLong().properties == {"durableObjectReset": True, "overloaded": True}


def test_a_failed_commit_names_the_constraint():
    error = ConstraintsLeftViolated("FOREIGN KEY constraint failed")
    assert isinstance(error, CommitFailed)
    assert error.message.endswith("constraints were violated: FOREIGN KEY constraint failed")


def test_a_missing_method_is_a_type_error():
    assert isinstance(ReceiverHasNoMethod("x"), TypeError)
    assert ReceiverHasNoMethod("x").message == 'The RPC receiver does not implement the method "x".'
