"""What the endpoint's parts share: settings, where topics live, the table watch, clock, randomness, their tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random, SystemRandom
from typing import Any

from durable_objects.clock import Clock
from durable_objects.realtime.core.audience import Lens
from durable_objects.realtime.core.names import TopicName, canonical, chat_room, emit_room
from durable_objects.realtime.core.row_lens import lens_of
from durable_objects.realtime.core.rules import check_rule
from durable_objects.realtime.core.settings import BUILT_IN_CLASS, RealtimeSettings
from durable_objects.realtime.table_feed import TableFeed, TableWatch
from durable_objects.realtime.tasks import Tasks
from durable_objects.realtime.token_keys import Fetch, TokenKeys

__all__ = ["Directory"]

_STORE = "flarelet:realtime"


class Directory:
    """Finds the object of a topic, and holds what all parts of the endpoint need."""

    def __init__(
        self,
        settings: RealtimeSettings,
        namespaces: Mapping[str, Any],
        tables: TableWatch | None,
        *,
        clock: Clock,
        random: Random | None,
        fetch: Fetch | None = None,
    ) -> None:
        """Check that every topic class has a namespace; `namespaces` is class name -> namespace.

        Raises:
            ValueError: A class that the settings name is not exported, or a key or a rule in them is wrong.
        """
        for name in (BUILT_IN_CLASS, *(entry.class_name for entry in settings.topics)):
            if name not in namespaces:
                known = ", ".join(sorted(namespaces)) or "none"
                raise ValueError(f"topic class {name!r} is not exported by the Worker; exported: {known}")
        self.settings = settings
        self.clock = clock
        self.tasks = Tasks()
        self.tables = None if tables is None else TableFeed(tables, settings.database, self.stub, self.tasks, clock)
        self.token_keys = None if settings.jwt is None else TokenKeys(settings.jwt, clock, self.tasks, fetch)
        for rule in settings.rules:
            check_rule(rule)
        self._namespaces = namespaces
        self._random = random if random is not None else SystemRandom()

    def stub(self, topic: str) -> Any:
        """Return a fresh stub of the object that is the topic: a stub that met a reset stays broken."""
        return self._namespaces[self.settings.class_for(topic)].getByName(topic)

    def object_id(self, topic: str) -> str:
        """Return the id of the object that is the topic, as text."""
        return str(self._namespaces[self.settings.class_for(topic)].idFromName(topic))

    def store(self) -> Any:
        """Return a stub of the object that keeps what must outlive this process; its name is no topic's."""
        return self._namespaces[BUILT_IN_CLASS].getByName(_STORE)

    def limits(self, topic: str) -> dict[str, Any]:
        """Return what the settings say about one topic, as its room takes it."""
        return self.settings.limits_of(topic)

    def lens(self, how: Mapping[str, Any] | None) -> Lens | None:
        """Return what a subscription sees of row changes, None for everything.

        Raises:
            RealtimeError: BAD_FILTER.
        """
        return lens_of(how)

    def new_id(self) -> str:
        """Return an unguessable id."""
        return f"{self._random.getrandbits(96):024x}"

    def topic(self, text: str, projects: Iterable[str] = ()) -> TopicName:
        """Return the topic a client means; `projects` are further names of its project."""
        settings = self.settings
        return canonical(
            text,
            projects=(*settings.projects, *projects),
            database=settings.database,
            max_bytes=settings.max_topic_bytes,
        )

    def room(self, text: str, projects: Iterable[str] = ()) -> TopicName:
        """Return the topic a server-side emit means."""
        settings = self.settings
        return emit_room(
            text,
            projects=(*settings.projects, *projects),
            database=settings.database,
            max_bytes=settings.max_topic_bytes,
        )

    def chat(self, room_id: str, projects: Iterable[str] = ()) -> TopicName:
        """Return the topic of a chat room."""
        settings = self.settings
        return chat_room(room_id, projects=(*settings.projects, *projects), max_bytes=settings.max_topic_bytes)
