"""An endpoint of OpenAI's protocol (`/chat/completions`, `/embeddings`) in the place of Workers AI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from workers.compat.json_text import js_json
from workers.compat.proxies import JsException
from workers.compat.streams import ReadableStream, chunk_bytes
from workers.compat.web import Request, Response
from workers.runtime.ai.events import DONE, event, payloads
from workers.runtime.ai.task import Chat, Embedding, ai_error

__all__ = ["Endpoint", "EndpointModel"]

_PASSED = (
    "temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "stop", "response_format", "tool_choice"
)  # fmt: skip
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the endpoint is and how models are called there."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float = 60.0


class EndpointModel:
    """Asks the endpoint through the Worker's way to the network."""

    serves_all = True

    def __init__(self, endpoint: Endpoint, fetch: Callable[[Request], Awaitable[Response]]) -> None:
        self._endpoint = endpoint
        self._fetch = fetch

    async def generate(self, model: str, chat: Chat) -> dict[str, Any]:
        """Return `{response, usage}`, and `tool_calls` if the model made any."""
        answer = await self._json("/chat/completions", self._chat(model, chat))
        try:
            message: Any = answer["choices"][0]["message"]
            result: dict[str, Any] = {"response": message.get("content"), "usage": answer.get("usage") or {}}
            calls: list[Any] = [call["function"] for call in cast("list[Any]", message.get("tool_calls") or [])]
            if calls:
                result["tool_calls"] = [
                    {"name": call["name"], "arguments": json.loads(call["arguments"] or "{}")} for call in calls
                ]
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise self._failed("answered with something else than a chat completion") from None
        return result

    async def stream(self, model: str, chat: Chat) -> ReadableStream:
        """Return the answer as Workers AI's Server-Sent Events."""
        body = {**self._chat(model, chat), "stream": True, "stream_options": {"include_usage": True}}
        answer = await self._post("/chat/completions", body)
        return ReadableStream.from_iterator(self._events(answer))

    async def embed(self, model: str, task: Embedding) -> list[list[float]]:
        """Return a vector for each text."""
        answer = await self._json("/embeddings", {"model": self._name(model), "input": task.texts})
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors = [[float(value) for value in row["embedding"]] for row in rows]
        except (KeyError, TypeError, ValueError):
            vectors = []
        if len(vectors) != len(task.texts):
            raise self._failed("answered with something else than a list of embeddings")
        return vectors

    # -- requests

    def _name(self, model: str) -> str:
        endpoint = self._endpoint
        name = endpoint.models.get(model, endpoint.model)
        if name is None and endpoint.models:
            known = ", ".join(endpoint.models)
            raise ai_error(5007, f"No such model {model} or task; flarelet.ai.models has {known}")
        return name or model

    def _chat(self, model: str, chat: Chat) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._name(model), "messages": chat.messages}
        body.update({name: chat.parameters[name] for name in _PASSED if name in chat.parameters})
        if chat.max_tokens is not None:
            body["max_tokens"] = chat.max_tokens
        tools: Any = chat.parameters.get("tools")
        if isinstance(tools, list):
            body["tools"] = [
                tool if "function" in tool else {"type": "function", "function": tool}
                for tool in cast("list[dict[str, Any]]", tools)
            ]
        return body

    async def _post(self, path: str, body: dict[str, Any]) -> ReadableStream:
        headers = [("content-type", "application/json")]
        if self._endpoint.api_key is not None:
            headers.append(("authorization", f"Bearer {self._endpoint.api_key}"))
        address = self._endpoint.base_url.rstrip("/") + path
        # A redirect is not followed: it would carry the key to wherever it leads.
        request = Request(address, method="POST", headers=headers, body=js_json(body), redirect="manual")
        try:
            async with asyncio.timeout(self._endpoint.timeout_s):
                response = await self._fetch(request)
        except TimeoutError:
            raise self._late() from None
        except (OSError, JsException) as error:
            raise self._failed(f"cannot be reached: {error}") from None
        content = response.take_body()
        stream = content if isinstance(content, ReadableStream) else ReadableStream.from_bytes(content or b"")
        if response.status != 200:
            why = _why(await self._read(stream))
            raise self._failed(f"answered with status {response.status}{f': {why}' if why else ''}")
        return stream

    async def _json(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        data = await self._read(await self._post(path, body))
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._failed("answered with something else than a JSON object")
        return cast("dict[str, Any]", answer)

    async def _read(self, stream: ReadableStream) -> bytes:
        return b"".join([chunk async for chunk in self._chunks(stream)])

    async def _chunks(self, stream: ReadableStream) -> AsyncIterator[bytes]:
        stream.locked = True
        try:
            while True:
                async with asyncio.timeout(self._endpoint.timeout_s):
                    chunk = await stream.pull()
                yield chunk_bytes(chunk)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise self._late() from None
        except (OSError, JsException) as error:
            raise self._failed(f"broke off: {error}") from None
        finally:
            await stream.abandon()

    async def _events(self, stream: ReadableStream) -> AsyncIterator[bytes]:
        is_over = False
        usage: dict[str, Any] | None = None
        chunks = self._chunks(stream)
        try:
            async for data in payloads(chunks):
                if data == "[DONE]":
                    is_over = True
                    break
                part = self._part(data)
                usage = part.get("usage") or usage
                for choice in cast("list[Any]", part.get("choices") or [])[:1]:
                    delta: dict[str, Any] = choice.get("delta") or {}
                    text = delta.get("content")
                    is_over = is_over or choice.get("finish_reason") is not None
                    if text:
                        yield event({"response": text})
        except ValueError as error:
            raise self._failed(f"sent a stream that cannot be read: {error}") from None
        finally:
            await cast(Any, chunks).aclose()
        if not is_over:
            raise self._failed("ended its stream before the answer was complete")
        yield event({"response": "", **({"usage": usage} if usage is not None else {})})
        yield DONE

    def _part(self, data: str) -> dict[str, Any]:
        part: Any = json.loads(data)
        if not isinstance(part, dict):
            raise ValueError("an event is no JSON object")
        if "error" in part:
            raise self._failed(f"broke off: {_why(data.encode())}")
        return cast("dict[str, Any]", part)

    # -- errors

    def _late(self) -> JsException:
        return self._failed(f"said nothing for {self._endpoint.timeout_s:g} s (flarelet.ai.timeout_s)", 3007)

    def _failed(self, what: str, code: int = 3040) -> JsException:
        key = self._endpoint.api_key
        text = f"the AI endpoint {self._endpoint.base_url} {what}"
        return ai_error(code, text if not key else text.replace(key, "***"))


def _why(data: bytes) -> str:
    """Return what the body of an error says."""
    text = data.decode("utf-8", "replace").strip()
    try:
        error: Any = json.loads(text)["error"]
        text = str(cast("dict[str, Any]", error)["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        pass
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
