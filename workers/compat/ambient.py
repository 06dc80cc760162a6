"""The Worker that is running now: its env, its `waitUntil` and its way out to the network.

The runtime enters an `Ambient` around loading a Worker, around each event and around each turn of a Durable Object;
`workers.env`, `workers.wait_until` and every `fetch` read it from there. Outbound fetch is a port of the runtime.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from workers.compat import clock, lacking
from workers.compat.web import Request, Response

__all__ = ["Ambient", "Env", "EnvProxy", "current", "enter", "get", "install", "patched_env", "wait_until"]


class Env:
    """The bindings of one Worker, read as attributes; it cannot be changed."""

    __slots__ = ("__dict__", "_source")

    def __init__(self, bindings: Mapping[str, object], source: str = "") -> None:
        """Hold bindings; `source` is the name of the configuration file, for the text of errors."""
        # Bindings live in __dict__ so that a read is a plain attribute lookup: handlers read env on every request.
        self.__dict__.update(bindings)
        object.__setattr__(self, "_source", source)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_source":
            raise AttributeError(name)
        configured = ", ".join(sorted(self.__dict__)) or "none"
        where = f" in {self._source}" if self._source else ""
        raise AttributeError(f"env has no binding {name!r}; configured{where}: {configured}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"env is read-only; declare {name!r} in the Worker's configuration or use patch_env")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"env is read-only; {name!r} cannot be removed")

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __dir__(self) -> list[str]:
        return sorted(self.__dict__)

    def __repr__(self) -> str:
        return f"Env({', '.join(sorted(self.__dict__))})"

    def overlaid(self, bindings: Mapping[str, object]) -> Env:
        """Return a copy in which `bindings` replace or join the configured ones."""
        return Env({**self.__dict__, **bindings}, self._source)


@dataclass
class Ambient:
    """What one running Worker offers to library code that was not handed `env` and `ctx`.

    `fetch` is the outbound port: it receives and returns the JavaScript-level objects and follows redirects itself.
    """

    env: Env
    wait_until: Callable[[Awaitable[object]], None]
    fetch: Callable[[Request], Awaitable[Response]]
    worker: str = ""
    clock: Callable[[], float] | None = None
    """Milliseconds since 1970 for `Date` and the like; the machine's when there is none."""
    lacks: frozenset[str] = frozenset()
    """Behaviours that its compatibility date does not have yet, see `lacking`."""


current: ContextVar[Ambient] = ContextVar("workers_ambient")


class Invocation:
    """One event that a Worker handles: a request, a scheduled event, a turn of an object.

    What an invocation may do only so often is counted here; tasks that it starts count with it.
    """

    __slots__ = ("d1_calls",)

    def __init__(self) -> None:
        self.d1_calls = 0


invocation: ContextVar[Invocation] = ContextVar("workers_invocation")
"""Set by the runtime for each event; unset where no Worker handles one."""


@contextmanager
def counting() -> Generator[None, None, None]:
    """Count what happens inside the `with` block, and in tasks started there, as one invocation."""
    token = invocation.set(Invocation())
    try:
        yield
    finally:
        invocation.reset(token)


@contextmanager
def enter(ambient: Ambient) -> Generator[Ambient, None, None]:
    """Make `ambient` the running Worker for this context and whatever it starts."""
    token = current.set(ambient)
    clock_token = None if ambient.clock is None else clock.source.set(ambient.clock)
    lacks_token = lacking.lacks.set(ambient.lacks) if ambient.lacks else None
    try:
        yield ambient
    finally:
        current.reset(token)
        if clock_token is not None:
            clock.source.reset(clock_token)
        if lacks_token is not None:
            lacking.lacks.reset(lacks_token)


def install(ambient: Ambient) -> None:
    """Make `ambient` the running Worker for this context for good."""
    current.set(ambient)
    if ambient.clock is not None:
        clock.source.set(ambient.clock)
    if ambient.lacks:
        lacking.lacks.set(ambient.lacks)


def get() -> Ambient:
    """Return the running Worker.

    Raises:
        RuntimeError: No Worker is being loaded and none is handling an event in this context.
    """
    ambient = current.get(None)
    if ambient is None:
        raise RuntimeError(
            "no Worker is running here: env, wait_until and fetch work while a Worker is loaded and in its handlers"
        )
    return ambient


class EnvProxy:
    """`workers.env`: always the env of the Worker running now, so it may be imported once at module level."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(get().env, name)

    def __contains__(self, name: object) -> bool:
        return name in get().env

    def __iter__(self) -> Iterator[str]:
        return iter(get().env)

    def __dir__(self) -> list[str]:
        return dir(get().env)

    def __repr__(self) -> str:
        ambient = current.get(None)
        return "Env(no Worker is running)" if ambient is None else repr(ambient.env)


def wait_until(awaitable: Awaitable[object]) -> None:
    """Keep the running Worker alive until `awaitable` is done; a failure is logged, never raised here."""
    get().wait_until(awaitable)


@contextmanager
def patched_env(bindings: Mapping[str, object]) -> Generator[None, None, None]:
    """Overlay bindings on the running Worker's env inside the `with` block and in tasks started there."""
    ambient = get()
    with enter(replace(ambient, env=ambient.env.overlaid(bindings))):
        yield
