from __future__ import annotations

from typing import Any

import pytest

from workers import DurableObject
from workers.compat.proxies import JsException, JsTypeError


class Thing(DurableObject):
    def my_name(self) -> Any:
        return self.ctx.id.name


def test_both_spellings_reach_the_same_object(play: Any):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(Thing)
        assert namespace.id_from_name("x") == namespace.idFromName("x")
        assert await namespace.get_by_name("x").my_name() == "x"
        assert await namespace.get(namespace.id_from_string(str(namespace.id_from_name("x")))).my_name() == "x"
        assert namespace.new_unique_id() != namespace.newUniqueId()

    play(story)


def test_names_are_coerced_as_javascript_does(play: Any):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(Thing)
        assert namespace.idFromName(5).name == "5"
        assert namespace.idFromName(None).name == "null"
        with pytest.raises(JsTypeError, match="parameter 1 is not of type 'string'"):
            namespace.idFromName()

    play(story)


def test_what_is_no_id_gives_no_stub(play: Any):
    async def story(rig: Any) -> None:
        with pytest.raises(JsTypeError, match="parameter 1 is not of type 'DurableObjectId'"):
            rig.namespace(Thing).get("text")

    play(story)


def test_jurisdictions_are_refused(play: Any):
    async def story(rig: Any) -> None:
        namespace = rig.namespace(Thing)
        for attempt in (lambda: namespace.jurisdiction("eu"), lambda: namespace.newUniqueId({"jurisdiction": "eu"})):
            with pytest.raises(JsException, match="Jurisdiction restrictions are not implemented"):
                attempt()

    play(story)
