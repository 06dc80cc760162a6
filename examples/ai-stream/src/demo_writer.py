"""The demo's writer: the same answer to the same prompt, token by token. No model is called."""

from __future__ import annotations

import hashlib
import re

_PASSAGES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("durable object", "actor", "state"),
        "A Durable Object is one small program with one name and its own storage. There is never a second one of the "
        "same name, so it can decide things alone: who is in the room, which bid came first, what the next number is. "
        "It handles one event at a time, and what it has written is on disk before anybody hears about it.",
    ),
    (
        ("d1", "sql", "database", "table", "order"),
        "D1 is SQLite behind an async interface: prepare, bind, run. Here every row that a transaction commits also "
        "becomes an event, in the order of the commits. Nothing polls, and a rolled back change is never seen.",
    ),
    (
        ("realtime", "websocket", "live", "presence", "chat", "stream"),
        "One WebSocket carries everything a page follows: rooms, tables, presence and this answer. A message is "
        "encoded once, however many people watch, and each watcher that falls behind is helped without holding up "
        "the others. When the connection drops, the page subscribes again and asks for what it missed.",
    ),
    (
        ("worker", "python", "flarelet", "run", "deploy"),
        "A Worker is a class with a fetch method. flarelet runs that Python source as it is, on plain CPython: your "
        "debugger stops in it, pytest imports it, and it starts in a moment.",
    ),
)
_FALLBACK = (
    "A good question deserves more than a script. Ask about Durable Objects, D1, WebSockets or Python Workers, and "
    "there is something to tell.",
    "That one is not in this small book. It has a page on Durable Objects, one on D1, one on realtime and one on "
    "Workers.",
)
_CLOSING = (
    "These words come from a fixed script, one token at a time, to show the way a model's answer would take. Everyone "
    "on this page sees each token at the same moment."
)


def write_tokens(prompt: str) -> list[str]:
    """Return the answer to `prompt` in pieces of about one word, spaces included; joined they are the whole text."""
    asked = prompt.lower()
    passages = [text for words, text in _PASSAGES if any(word in asked for word in words)][:2]
    if not passages:
        passages = [_FALLBACK[hashlib.sha256(asked.encode()).digest()[0] % len(_FALLBACK)]]
    return re.findall(r"\S+\s*", "\n\n".join([*passages, _CLOSING]))
