"""Which model a configuration chooses for `env.AI`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from workers.compat.web import Request, Response
from workers.runtime.ai.demo import DemoModel
from workers.runtime.ai.endpoint import Endpoint, EndpointModel
from workers.runtime.ai.task import Model
from workers.runtime.config.load import Project

__all__ = ["open_model"]


def open_model(project: Project, fetch: Callable[[Request], Awaitable[Response]]) -> Model:
    """Return what answers: the endpoint of `[flarelet.ai]`, or else the demo model.

    Raises:
        ConfigError: The key is to be a secret that does not exist.
    """
    flarelet = project.settings.flarelet
    section = None if flarelet is None else flarelet.ai
    if section is None or section.base_url is None:
        return DemoModel()
    key = section.api_key
    if key is not None and (key in project.dev_vars or key in project.settings.vars):
        key = str(project.dev_vars.get(key, project.settings.vars.get(key)))
        if re.fullmatch(r"[!-~]+", key) is None:
            raise project.error("flarelet.ai.api_key", f"the value of {section.api_key} is not a key")
    elif key is not None and re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", key):
        raise project.error("flarelet.ai.api_key", f"there is no secret {key} in .dev.vars")
    return EndpointModel(Endpoint(section.base_url, key, section.model, section.models, section.timeout_s), fetch)
