from __future__ import annotations

from typing import Any

import pytest

from workers import DurableObject, Request, Response
from workers.compat.proxies import JsTypeError


class Target(DurableObject):
    def nested(self) -> Any:
        return {"a": {"b": [1, 2]}, "double": lambda value: value * 2}

    @property
    def label(self) -> str:
        return "read"

    def keep(self, value: Any) -> Any:
        value["seen"] = True
        return value

    async def fetch(self, request: Request) -> Response:
        return Response(f"{request.method} {request.url} {await request.text()}")


def test_results_can_be_used_before_they_are_known(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Target).getByName("a")
        assert await stub.nested().a.b == [1, 2]
        assert await stub.nested().double(21) == 42
        assert await stub.label == "read"

    play(story)


def test_arguments_are_copies(play: Any):
    async def story(rig: Any) -> None:
        given = {"x": 1}
        assert await rig.namespace(Target).getByName("a").keep(given) == {"x": 1, "seen": True}
        assert given == {"x": 1}

    play(story)


def test_fetch_takes_a_url_with_options_or_a_request(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Target).getByName("a")
        response = await stub.fetch("http://any/p", method="POST", body="hi")
        assert await response.text() == "POST http://any/p hi"
        response = await stub.fetch(Request("http://any/q"))
        assert await response.text() == "GET http://any/q "

    play(story)


def test_a_result_nobody_awaits_is_no_complaint(play: Any):
    async def story(rig: Any) -> None:
        stub = rig.namespace(Target).getByName("a")
        stub.missing()
        with pytest.raises(JsTypeError, match='does not implement the method "other"'):
            await stub.other()

    play(story)


def test_a_stub_can_be_given_to_another_object(play: Any):
    class Holder(DurableObject):
        async def use(self, stub: Any) -> Any:
            return await stub.label

    async def story(rig: Any) -> Any:
        return await rig.namespace(Holder).getByName("h").use(rig.namespace(Target).getByName("a"))

    assert play(story) == "read"


def test_no_name_of_ours_shadows_a_method_of_the_object(play: Any):
    class Ticket(DurableObject):
        def issue(self) -> str:
            return "issued"

        def destroy(self) -> str:
            return "destroyed"

        def start(self, *args: Any) -> Any:
            return args

    async def story(rig: Any) -> None:
        stub = rig.namespace(Ticket).getByName("a")
        assert await stub.issue() == "issued"
        assert await stub.destroy() == "destroyed"
        with pytest.raises(JsTypeError, match="tuple"):
            await stub.start(1, option=True)

    play(story)
