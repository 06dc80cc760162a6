from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from durable_objects.host import Host, ObjectClass
from durable_objects.realtime.core.history import History
from durable_objects.realtime.topic_log import Retention, TopicLog
from workers.entrypoints import DurableObject


class Holder(DurableObject):
    def wake(self) -> None:
        """Be constructed."""


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Any]:
    host = Host(tmp_path)
    namespace = host.namespace(ObjectClass("w-Holder", Holder, None))
    await namespace.getByName("a").wake()
    (actor,) = host.actors("w-Holder")
    yield actor.instance.storage
    await host.close()


def fill(log: TopicLog, count: int, keep: int = 100) -> History:
    history = History("e1")
    for number in range(count):
        message = history.append(id=None, user_id=None, event="e", data=str(number), now_ms=1_700_000_000_000)
        log.append(message, Retention(keep))
    return history


async def test_an_untouched_topic_has_no_messages_and_no_table(storage: Any):
    assert TopicLog(storage).newest(10) == []
    assert storage.sql.exec("SELECT name FROM sqlite_master").toArray() == []


async def test_messages_come_back_as_they_were_newest_first(storage: Any):
    log = TopicLog(storage)
    message = History("e1").append(id="ä", user_id="u", event="é", data='{"x":1}', now_ms=1_700_000_000_000)
    log.append(message, Retention(5))
    assert log.newest(10) == [message]
    assert isinstance(log.newest(1)[0].created_at, int)


async def test_only_the_newest_are_kept(storage: Any):
    log = TopicLog(storage)
    fill(log, 10, keep=3)
    assert [message.data for message in log.newest(10)] == ["9", "8", "7"]


async def test_pages_follow_each_other_by_created_at(storage: Any):
    log = TopicLog(storage)
    fill(log, 5)
    first = log.newest(2)
    assert [message.data for message in log.newest(2, first[-1].created_at)] == ["2", "1"]
