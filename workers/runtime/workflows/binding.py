"""`env.WF`: create and look after instances. https://developers.cloudflare.com/workflows/build/workers-api/"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from workers.compat.proxies import JsDict, JsException, JsTypeError, init_options
from workers.runtime.workflows.engine import WorkflowEngine
from workers.runtime.workflows.step import unpack
from workers.runtime.workflows.store import FINAL, InstanceRow

__all__ = ["WorkflowBinding", "WorkflowInstance"]

_ID = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9-_]{0,99}")
_MOST_AT_ONCE = 100


def _error(code: str, text: str) -> JsException:
    return JsException(f"({code}) {text}", name="WorkflowError")


class WorkflowInstance:
    """One instance, as its Worker sees it."""

    __rpc_stub__ = True

    def __init__(self, engine: WorkflowEngine, instance: str) -> None:
        self._engine = engine
        self.id = instance
        """The id it was created with."""

    def _row(self) -> InstanceRow:
        row = self._engine.store.find(self.id)
        if row is None:
            raise _error("instance.not_found", f"Instance {self.id} does not exist")
        return row

    def _unfinished(self, verb: str) -> InstanceRow:
        row = self._row()
        if row.status in FINAL:
            raise _error("instance.cannot_" + verb, f"Cannot {verb} instance: it is {row.status}")
        return row

    async def status(self) -> JsDict:
        """Return `{status, error, output}`."""
        row = self._row()
        error = None
        if row.error is not None:
            told = json.loads(row.error)
            error = JsDict(name=told["name"], message=told["message"])
        output = None if row.output is None else unpack(row.output)
        return JsDict(status=self._engine.status(row), error=error, output=output)

    async def pause(self) -> None:
        """Stop before the next step, until `resume`."""
        self._unfinished("pause")
        self._engine.pause(self.id)

    async def resume(self) -> None:
        """Go on after `pause`."""
        if self._unfinished("resume").status == "paused":
            self._engine.resume(self.id)

    async def terminate(self) -> None:
        """End it for good."""
        self._unfinished("terminate")
        await self._engine.terminate(self.id)

    async def restart(self) -> None:
        """Run it again from its first step, with the parameters it was created with."""
        self._row()
        await self._engine.restart(self.id)

    async def send_event(self, event: object = None, **members: Any) -> None:
        """Give it an event: `{type, payload}`, which its `step.wait_for_event` returns, now or later."""
        options = init_options(event, members)
        kind = options.get("type")
        if not isinstance(kind, str) or not kind:
            raise JsTypeError("sendEvent needs the type of the event")
        self._unfinished("send_event")
        self._engine.send(self.id, kind, options.get("payload"))

    sendEvent = send_event  # JavaScript's name

    def __repr__(self) -> str:
        return f"WorkflowInstance(id={self.id!r})"


class WorkflowBinding:
    """`env.WF`."""

    __rpc_stub__ = True

    def __init__(self, engine: WorkflowEngine) -> None:
        self._engine = engine

    def _options(self, options: object, members: Mapping[str, Any]) -> tuple[str, Any]:
        given = init_options(options, members)
        instance = given.get("id")
        if instance is None:
            instance = self._engine.new_id()
        if not isinstance(instance, str) or _ID.fullmatch(instance) is None:
            raise _error("instance.invalid_id", f"{instance!r} is not an id: 1 to 100 of a-z A-Z 0-9 _ -")
        return instance, given.get("params")

    async def create(self, options: object = None, **members: Any) -> WorkflowInstance:
        """Start an instance: `{id, params}`, both optional.

        Raises:
            JsException: The id is taken or not allowed.
        """
        instance, params = self._options(options, members)
        if not self._engine.create(instance, params):
            raise _error("instance.already_exists", f"Instance {instance} already exists")
        return WorkflowInstance(self._engine, instance)

    async def create_batch(self, batch: object) -> list[WorkflowInstance]:
        """Start up to 100 instances; those whose id is taken are left out of the answer.

        Raises:
            JsException: There are too many, or an id is not allowed; nothing was started then.
        """
        entries = list(cast("list[object]", batch)) if isinstance(batch, list | tuple) else None
        if entries is None:
            raise JsTypeError("createBatch needs a list of {id, params}")
        if not 1 <= len(entries) <= _MOST_AT_ONCE:
            raise _error("instance.invalid_batch", f"a batch has 1 to {_MOST_AT_ONCE} instances, not {len(entries)}")
        wanted = [self._options(entry, {}) for entry in entries]
        return [
            WorkflowInstance(self._engine, instance)
            for instance, params in wanted
            if self._engine.create(instance, params)
        ]

    createBatch = create_batch  # JavaScript's name

    async def get(self, id: str) -> WorkflowInstance:  # the SDK's parameter
        """Return an instance.

        Raises:
            JsException: There is none of that id.
        """
        instance = WorkflowInstance(self._engine, id)
        instance._row()  # pyright: ignore[reportPrivateUsage]
        return instance

    def __repr__(self) -> str:
        return "Workflow"
