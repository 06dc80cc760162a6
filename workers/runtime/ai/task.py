"""What is asked of a model: the inputs of `env.AI.run`, checked.

https://developers.cloudflare.com/workers-ai/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from workers.compat.proxies import JsException
from workers.compat.streams import ReadableStream

__all__ = ["Chat", "Embedding", "Model", "ai_error", "read_task"]

SERVED = "text generation and text embeddings are served"
_EMBEDS = re.compile(r"embed|/bge-(?!reranker)|/gte-|/e5-", re.IGNORECASE)
_OTHERS = (
    ("reranking", r"rerank"),
    ("image generation", r"flux-|stable-diffusion|dreamshaper|lucid|phoenix"),
    ("speech recognition", r"whisper|/nova-|deepgram/flux"),
    ("text to speech", r"melotts|/aura-"),
    ("turn detection", r"smart-turn"),
    ("translation", r"m2m100|indictrans"),
    ("summarization", r"bart-large-cnn"),
    ("text classification", r"distilbert"),
    ("image to text", r"llava|uform"),
    ("image classification", r"resnet"),
    ("object detection", r"/detr-"),
)
_MOST_TEXTS = 100


def ai_error(code: int, text: str) -> JsException:
    """Return an error as Workers AI words it, with a number in front."""
    return JsException(f"{code}: {text}", name="InferenceUpstreamError")


@dataclass(frozen=True, slots=True)
class Chat:
    """A request for text."""

    messages: list[dict[str, Any]]
    streams: bool = False
    max_tokens: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    """The other inputs, as they were given."""

    @property
    def text(self) -> str:
        """Everything that was said so far."""
        return "\n".join(said(message) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Embedding:
    """A request for the vectors of texts."""

    texts: list[str]


class Model(Protocol):
    """What answers."""

    serves_all: bool
    """Whether names of models are not bound to those of Workers AI."""

    async def generate(self, model: str, chat: Chat) -> dict[str, Any]:
        """Return `{response, usage}`."""
        ...

    async def stream(self, model: str, chat: Chat) -> ReadableStream:
        """Return the answer as Server-Sent Events."""
        ...

    async def embed(self, model: str, task: Embedding) -> list[list[float]]:
        """Return a vector for each text."""
        ...


def said(message: Mapping[str, Any]) -> str:
    """Return the text of a message, whose content may be in parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [cast("dict[str, Any]", part) for part in cast("list[Any]", content) if isinstance(part, dict)]
        return " ".join(str(part["text"]) for part in parts if "text" in part)
    return content if isinstance(content, str) else ""


def read_task(model: object, inputs: dict[str, Any], *, any_name: bool) -> Chat | Embedding:
    """Return what is asked of a model.

    Raises:
        JsException: The model's task is not served, or the inputs do not fit it.
    """
    if not isinstance(model, str) or not model or not (any_name or re.match(r"@(cf|hf)/[^/]+/.", model)):
        raise ai_error(
            5007, f"No such model {model} or task; {SERVED}, by names such as @cf/meta/llama-3.1-8b-instruct"
        )
    if _EMBEDS.search(model):
        return _embedding(model, inputs)
    for task, names in _OTHERS:
        if re.search(names, model, re.IGNORECASE):
            raise ai_error(5007, f"{model} is a model for {task}, which this runtime does not serve; {SERVED}")
    return _chat(model, inputs)


def _embedding(model: str, inputs: dict[str, Any]) -> Embedding:
    given = inputs.get("text")
    texts: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ai_error(5006, f'Error: {model} needs the input "text", a string or a list of strings')
    if len(texts) > _MOST_TEXTS:
        raise ai_error(5006, f"Error: {len(texts)} texts for {model}, at most {_MOST_TEXTS} at a time")
    return Embedding([str(text) for text in texts])


def _chat(model: str, inputs: dict[str, Any]) -> Chat:
    rest = {name: value for name, value in inputs.items() if value is not None}
    prompt, messages = rest.pop("prompt", None), rest.pop("messages", None)
    streams, most = rest.pop("stream", False), rest.pop("max_tokens", None)
    if isinstance(most, bool) or not (most is None or (isinstance(most, (int, float)) and most >= 1)):
        raise ai_error(5006, f"Error: max_tokens of {model} must be a number from 1")
    if messages is None:
        if not isinstance(prompt, str) or not prompt:
            raise ai_error(5006, f'Error: {model} needs the input "prompt", a string, or "messages", a list')
        messages = [{"role": "user", "content": prompt}]
    return Chat(_messages(model, messages), bool(streams), None if most is None else int(most), rest)


def _messages(model: str, given: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, entry in enumerate(cast("list[Any]", given) if isinstance(given, list) else []):
        message = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        has_content = isinstance(message.get("content"), (str, list)) or "tool_calls" in message
        if not isinstance(message.get("role"), str) or not has_content:
            raise ai_error(5006, f'Error: messages.{number} for {model} needs "role" and "content"')
        found.append(message)
    if not found:
        raise ai_error(5006, f'Error: "messages" for {model} must be a list of at least one {{role, content}}')
    return found
