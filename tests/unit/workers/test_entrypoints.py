from __future__ import annotations

import pytest

from workers import DurableObject, Request, WorkerEntrypoint, WorkflowEntrypoint, handler
from workers.compat import web as js
from workers.entrypoints import DurableObjectAbort
from workers.workflows import NonRetryableError


@pytest.mark.parametrize("base", [WorkerEntrypoint, DurableObject, WorkflowEntrypoint])
def test_a_base_keeps_ctx_and_env(base: type):
    class Own(base):
        pass

    own = Own("ctx", "env")
    assert (own.ctx, own.env) == ("ctx", "env")


def test_an_abort_is_not_caught_as_an_exception():
    assert not issubclass(DurableObjectAbort, Exception)
    assert issubclass(NonRetryableError, Exception)


async def test_a_workflow_must_say_what_it_runs():
    with pytest.raises(NotImplementedError, match="does not define run"):
        await WorkflowEntrypoint(None, None).run(None, None)


async def test_a_handler_receives_a_python_request():
    @handler
    async def on_fetch(request: Request, env: object, ctx: object) -> tuple[object, object]:
        return request, env

    @handler
    def on_scheduled(controller: object) -> object:
        return controller

    request, env = await on_fetch(js.Request("http://x"), "env", "ctx")
    assert (type(request), env) == (Request, "env")
    assert on_scheduled("controller") == "controller"
    assert on_fetch.__name__ == "on_fetch"
