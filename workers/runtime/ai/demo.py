"""The demo model: no network and no weights. The same question always gets the same words, which mean nothing.

DIFFERS(ai-demo): production runs the named model.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from workers.compat.streams import ReadableStream
from workers.runtime.ai.events import DONE, event
from workers.runtime.ai.task import Chat, Embedding, said

__all__ = ["DemoModel"]

_MAX_TOKENS = 256
_PACE_S = 0.01
_WORD = re.compile(r"\w+")
_DIMENSIONS = (("small", 384), ("large", 1024), ("m3", 1024), ("qwen3-embedding", 1024), ("plamo", 2048))
_SUBJECTS = ("The first step", "A small test", "The plan", "This idea", "The answer", "A good example", "The rest")
_VERBS = ("depends on", "begins with", "follows from", "leads to", "stays close to", "is part of", "explains")
_OBJECTS = ("the question", "a simple model", "the details", "what is known", "the next step", "a clear goal")
_ENDS = ("in most cases", "as expected", "from the start", "at any time", "step by step", "without much effort")


class DemoModel:
    """Answers by chance that the question itself decides."""

    serves_all = False

    def __init__(self, pace_s: float = _PACE_S) -> None:
        """Prepare the model; `pace_s` passes between two words of a stream."""
        self._pace_s = pace_s

    async def generate(self, model: str, chat: Chat) -> dict[str, Any]:
        """Return `{response, usage}`."""
        words = _answer(model, chat)
        return {"response": "".join(words), "usage": _usage(chat, words)}

    async def stream(self, model: str, chat: Chat) -> ReadableStream:
        """Return the answer as Server-Sent Events, a word each."""
        return ReadableStream.from_iterator(self._events(model, chat))

    async def _events(self, model: str, chat: Chat) -> AsyncIterator[bytes]:
        words = _answer(model, chat)
        for word in words:
            yield event({"response": word})
            await asyncio.sleep(self._pace_s)
        yield event({"response": "", "usage": _usage(chat, words)})
        yield DONE

    async def embed(self, model: str, task: Embedding) -> list[list[float]]:
        """Return a vector of length 1 for each text: texts that share words are near to each other."""
        size = next((size for name, size in _DIMENSIONS if name in model), 768)
        return [_vector(text, size) for text in task.texts]


def _usage(chat: Chat, words: list[str]) -> dict[str, int]:
    asked = len(_WORD.findall(chat.text))
    return {"prompt_tokens": asked, "completion_tokens": len(words), "total_tokens": asked + len(words)}


def _answer(model: str, chat: Chat) -> list[str]:
    """Return the words of an answer; each but the first begins with its space."""
    seed = repr(
        (model, [(message.get("role"), said(message)) for message in chat.messages], chat.parameters.get("seed"))
    )
    random = Random(int.from_bytes(hashlib.sha256(seed.encode("utf-8", "replace")).digest()[:8], "big"))
    asked = [message for message in chat.messages if message.get("role") == "user"] or chat.messages
    topics = list(dict.fromkeys(word.lower() for word in _WORD.findall(said(asked[-1])) if len(word) > 3))
    about = ", ".join(random.sample(topics, min(3, len(topics)))) or "nothing in particular"
    sentences = [f"Demo model: you asked about {about}."]
    for _ in range(random.randint(2, 5)):
        end = random.choice(_ENDS)
        aim = random.choice([*_OBJECTS, *topics[:4]])
        sentences.append(f"{random.choice(_SUBJECTS)} {random.choice(_VERBS)} {aim} {end}.")
    words = " ".join(sentences).split(" ")[: chat.max_tokens or _MAX_TOKENS]
    return [words[0], *(f" {word}" for word in words[1:])]


def _vector(text: str, size: int) -> list[float]:
    vector = [0.0] * size
    for word in _WORD.findall(text.lower()) or [""]:
        digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
        for place in range(0, 32, 4):
            at = int.from_bytes(digest[place : place + 3], "big") % size
            vector[at] += 1.0 if digest[place + 3] & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]
