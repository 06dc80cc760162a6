from __future__ import annotations

from typing import Any

import pytest

from durable_objects.errors import ObjectReset
from workers import DurableObject
from workers.compat.proxies import JsTypeError, jsnull
from workers.entrypoints import DurableObjectAbort


class Probe(DurableObject):
    def identity(self) -> list[Any]:
        return [str(self.ctx.id), self.ctx.id.name]

    def abort(self, reason: Any = None) -> str:
        try:
            self.ctx.abort(reason)
        except Exception:
            return "caught"

    def timeouts(self) -> list[Any]:
        seen = [self.ctx.getHibernatableWebSocketEventTimeout()]
        for value in (500, 0):
            self.ctx.setHibernatableWebSocketEventTimeout(value)
            seen.append(self.ctx.get_hibernatable_web_socket_event_timeout())
        return seen

    def wrong_pair(self) -> None:
        self.ctx.setWebSocketAutoResponse({"request": "a", "response": "b"})

    def null_pair(self) -> None:
        self.ctx.setWebSocketAutoResponse(jsnull)

    async def blocked(self) -> Any:
        async def work() -> int:
            return await self.ctx.block_concurrency_while(lambda: 7)

        return await self.ctx.blockConcurrencyWhile(work())

    def empty(self) -> list[Any]:
        sockets = self.ctx.getWebSockets()
        return [sockets.to_py(), sockets.length, list(self.ctx.get_websockets("tag"))]


def test_the_object_knows_its_id_and_name(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Probe).getByName("n")
        assert await stub.identity() == [str(stub.id), "n"]

    play(story)


def test_abort_unwinds_past_every_except_exception(play: Any):
    async def story(rig: Any) -> None:
        with pytest.raises(ObjectReset, match=r"Application called abort\(\) to reset Durable Object"):
            await rig.namespace(Probe).getByName("a").abort()
        with pytest.raises(ObjectReset, match="why"):
            await rig.namespace(Probe).getByName("a").abort("why")

    play(story)
    assert not issubclass(DurableObjectAbort, Exception)


def test_settings_of_sockets_are_read_back(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Probe).getByName("a")
        assert await stub.timeouts() == [None, 500, None]
        assert await stub.empty() == [[], 0, []]
        for attempt in (stub.wrong_pair, stub.null_pair):
            with pytest.raises(JsTypeError, match="not of type 'WebSocketRequestResponsePair'"):
                await attempt()

    play(story)


def test_sections_nest_and_give_their_value(play: Any):
    async def story(rig: Any) -> int:
        return await rig.namespace(Probe).getByName("a").blocked()

    assert play(story) == 7
