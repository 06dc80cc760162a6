from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from durable_objects.host import Host, ObjectClass
from durable_objects.realtime.topic_object import TopicObject

KEEP = 4
users = st.sampled_from([None, "ann", "bob"])
ids = st.sampled_from([None, "a", "b", "c"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), users, ids, st.booleans()),
        st.tuples(st.just("sleep")),
        st.tuples(st.just("read"), st.integers(1, 6), st.integers(0, 6)),
    ),
    max_size=25,
)


class Small(TopicObject):
    history_limit = KEEP


class Model:
    """The log as a plain list, with the ids it still recognises."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self.known: set[tuple[str | None, str]] = set()

    def accepts(self, user: str | None, id: str | None) -> bool:
        return id is None or (user, id) not in self.known

    def slept(self) -> None:
        """After a sleep the object knows the ids of what it stored, and no others."""
        self.known = {(message["user_id"], message["id"]) for message in self.kept}


async def replay(moves: list[tuple[Any, ...]], root: Path) -> None:
    host = Host(root, random=Random(1))
    namespace = host.namespace(ObjectClass("w-Small", Small, None))
    stub = namespace.getByName("chat/x")
    model = Model()
    loaded = True
    for number, (kind, *args) in enumerate(moves):
        if kind == "sleep":
            await host.evict(namespace, namespace.idFromName("chat/x"), close_sockets=False)
            model.slept()
            loaded = False
        elif kind == "publish":
            user, id, persist = args
            if not loaded and not persist:
                continue  # which ids an ephemeral publish recognises right after a sleep is left open
            loaded = True
            stored = await stub.publish("e", number, persist, user, id)
            expected = persist and model.accepts(user, id)
            assert (stored is not None) == expected
            if stored is not None:
                assert stored["data"] == number
                assert not model.kept or stored["created_at"] > model.kept[-1]["created_at"]
                assert not model.kept or stored["offset"] > model.kept[-1]["offset"]
                model.kept = [*model.kept, stored][-KEEP:]
            if id is not None:
                model.known.add((user, id))
        else:
            limit, skip = args
            newest = model.kept[::-1]
            if skip and skip <= len(newest):
                page = await stub.history(limit, newest[skip - 1]["created_at"])
                assert page == newest[skip : skip + limit]
            else:
                assert await stub.history(limit) == newest[:limit]
    await host.close()


@settings(max_examples=60, deadline=None)
@given(steps)
def test_the_stored_log_reads_like_a_list_across_sleeps(moves: list[tuple[Any, ...]]):
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(replay(moves, Path(directory)))
