from __future__ import annotations

import asyncio

import pytest

from workers import env, wait_until, waitUntil
from workers.compat import ambient
from workers.compat.ambient import Ambient, Env
from workers.compat.web import Request, Response


async def no_network(request: Request) -> Response:
    return Response(request.url)


def running(bindings: dict[str, object], waiting: list[object] | None = None) -> Ambient:
    return Ambient(Env(bindings), ([] if waiting is None else waiting).append, no_network, "w")


def test_env_names_what_is_configured_when_a_binding_is_missing():
    bindings = Env({"DB": 1, "A": 2})
    assert (bindings.DB, "A" in bindings, "X" in bindings, [*bindings]) == (1, True, False, ["DB", "A"])
    with pytest.raises(AttributeError, match="env has no binding 'X'; configured: A, DB"):
        _ = bindings.X
    assert getattr(bindings, "X", None) is None


def test_env_cannot_be_changed():
    bindings = Env({"DB": 1})
    with pytest.raises(AttributeError, match="read-only"):
        bindings.X = 1
    with pytest.raises(AttributeError, match="read-only"):
        del bindings.DB


def test_outside_a_worker_the_module_level_names_say_so():
    for use in (lambda: env.DB, lambda: wait_until(asyncio.sleep), ambient.get):
        with pytest.raises(RuntimeError, match="no Worker is running here"):
            use()


def test_inside_a_worker_they_belong_to_it():
    waiting: list[object] = []
    with ambient.enter(running({"DB": 1}, waiting)):
        assert env.DB == 1
        assert "DB" in env
        with ambient.enter(running({"DB": 2})):
            assert env.DB == 2
        waitUntil("work")
    assert waiting == ["work"]


async def test_each_task_sees_the_worker_that_started_it():
    async def read() -> object:
        await asyncio.sleep(0)
        return env.N

    async with asyncio.TaskGroup() as tasks:
        with ambient.enter(running({"N": 1})):
            first = tasks.create_task(read())
        with ambient.enter(running({"N": 2})):
            second = tasks.create_task(read())
    assert (first.result(), second.result()) == (1, 2)


def test_a_patch_overlays_bindings_for_a_while():
    with ambient.enter(running({"A": 1, "B": 2})):
        with ambient.patched_env({"A": 9, "C": 3}):
            assert (env.A, env.B, env.C) == (9, 2, 3)
        assert env.A == 1
        assert "C" not in env


def test_a_missing_binding_is_said_with_the_file_that_would_have_it() -> None:
    env = Env({"B": 1, "A": 2}, "wrangler.jsonc")
    for one in (env, env.overlaid({})):
        with pytest.raises(AttributeError, match=r"^env has no binding 'C'; configured in wrangler\.jsonc: A, B$"):
            _ = one.C
