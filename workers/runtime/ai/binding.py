"""The `env.AI` binding.

https://developers.cloudflare.com/workers-ai/configuration/bindings/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.compat.abort import guarded
from workers.compat.json_text import js_json
from workers.compat.proxies import JsDict, JsException, JsProxy, init_options
from workers.compat.streams import ReadableStream
from workers.compat.web import Response
from workers.rpc import python_to_rpc
from workers.runtime.ai.task import Chat, Model, read_task

__all__ = ["Ai"]


def _plain(given: Any, members: Mapping[str, Any]) -> dict[str, Any]:
    return JsDict(init_options(python_to_rpc(given), python_to_rpc(dict(members)))).to_py()


class Ai(JsProxy):
    """Runs models by their Workers AI names."""

    __slots__ = ("_model",)

    def __init__(self, model: Model) -> None:
        self._model = model

    async def run(self, model: Any, inputs: Any = None, options: Any = None, /, **members: Any) -> Any:
        """Run a model; inputs may be keywords too.

        Text generation gives `{response, usage}`, with `stream` a ReadableStream of Server-Sent Events; embedding
        models give `{shape, data}`. With the option `returnRawResponse` the result is a Response with it.

        Raises:
            JsException: The model's task is not served, the inputs do not fit it, or the endpoint failed.
        """
        given = init_options(options, {})
        result = await guarded(given.get("signal"), self._run(model, _plain(inputs, members)))
        if given.get("returnRawResponse") is not True:
            return result
        is_stream = isinstance(result, ReadableStream)
        kind = "text/event-stream" if is_stream else "application/json"
        return Response(result if is_stream else js_json(result), headers={"content-type": kind})

    async def _run(self, model: Any, inputs: dict[str, Any]) -> Any:
        task = read_task(model, inputs, any_name=self._model.serves_all)
        if not isinstance(task, Chat):
            vectors = await self._model.embed(model, task)
            return JsDict(shape=[len(vectors), len(vectors[0])], data=vectors)
        if task.streams:
            return await self._model.stream(model, task)
        return JsDict.wrap(await self._model.generate(model, task))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("then", "js_object", "to_bytes", "toJSON"):
            raise AttributeError(name)
        raise JsException(f"env.AI.{name} is not served here; env.AI.run is")

    def __repr__(self) -> str:
        return "Ai"
