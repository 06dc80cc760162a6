from __future__ import annotations

import pytest

from workers import env, import_from_javascript, patch_env
from workers.compat import ambient
from workers.compat.ambient import Ambient, Env
from workers.compat.web import Request, Response


async def no_network(request: Request) -> Response:
    return Response()


def test_bindings_can_be_patched_by_dict_and_keyword():
    with ambient.enter(Ambient(Env({"A": 1}), lambda work: None, no_network)):
        with patch_env({"A": 2}, B=3):
            assert (env.A, env.B) == (2, 3)
        assert env.A == 1


def test_the_workers_module_of_the_runtime_has_env_and_wait_until():
    waiting: list[object] = []
    with ambient.enter(Ambient(Env({"A": 1}), waiting.append, no_network)):
        module = import_from_javascript("cloudflare:workers")
        assert module.env.A == 1
        module.waitUntil("work")
        assert waiting == ["work"]
        assert module.withEnv({"A": 5}, lambda: module.env.A) == 5


@pytest.mark.parametrize("name", ["cloudflare:sockets", "cloudflare:nope"])
def test_other_modules_cannot_be_imported(name: str):
    with pytest.raises(ImportError, match=f"^Failed to import '{name}': "):
        import_from_javascript(name)
