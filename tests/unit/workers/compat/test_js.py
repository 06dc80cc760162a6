from __future__ import annotations

import asyncio
import logging

import pytest

from workers.compat import js
from workers.compat.proxies import JsException


def test_the_usual_constructors_work_as_in_javascript():
    headers = js.Headers.new({"a": "b"}.items())
    response = js.Response.new("x", headers=headers, status=201)
    assert (response.status, response.headers.get("a")) == (201, "b")
    assert js.URL.new("http://h/a?b#c").pathname == "/a"
    client, server = js.WebSocketPair.new().object_values()
    assert client is not server
    assert js.undefined is None
    assert js.globalThis.Response is js.Response


async def test_base64_digests_and_copies():
    assert js.btoa("hé") == "aOk="
    assert js.atob("aOk") == "hé"
    with pytest.raises(JsException, match="InvalidCharacterError"):
        js.btoa("☃")
    with pytest.raises(JsException, match="InvalidCharacterError"):
        js.atob("*")
    digest = await js.crypto.subtle.digest("SHA-256", js.TextEncoder.new().encode("x"))
    assert digest.to_bytes().hex().startswith("2d711642b726b044")
    with pytest.raises(JsException, match="NotSupportedError"):
        await js.crypto.subtle.digest({"name": "X"}, b"")
    value = {"a": [1]}
    assert js.structuredClone(value) == value
    assert js.structuredClone(value)["a"] is not value["a"]


def test_random_values_have_their_shape():
    assert js.crypto.randomUUID()[14] == "4"
    assert len(js.crypto.getRandomValues(js.Uint8Array.new(16))) == 16
    array = js.Uint32Array.new(4)
    assert js.crypto.getRandomValues(array) is array
    assert any(array)


def test_the_console_is_a_logger(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "console"):
        js.console.log("a", 1)
        js.console.error("b")
    assert [(record.levelname, record.message) for record in caplog.records] == [("INFO", "a 1"), ("ERROR", "b")]


async def test_timers_fire_and_can_be_stopped():
    fired: list[object] = []
    done = asyncio.Event()

    async def last() -> None:
        fired.append("last")
        done.set()

    js.queueMicrotask(lambda: fired.append("microtask"))
    stopped = js.setTimeout(fired.append, 0, "never")
    js.clearTimeout(stopped)
    js.clearTimeout(stopped)
    js.setTimeout(fired.append, 0, "timeout")
    ticking = js.setInterval(fired.append, 0, "tick")
    js.setTimeout(last, 10)
    async with asyncio.timeout(5):
        await done.wait()
    js.clearInterval(ticking)
    assert fired[:2] == ["microtask", "timeout"]
    assert "tick" in fired
    assert "never" not in fired


async def test_a_failing_timer_is_logged(caplog: pytest.LogCaptureFixture):
    js.queueMicrotask(lambda: 1 / 0)
    await asyncio.sleep(0)
    await js.scheduler.wait(0)
    assert "a timer's callback failed" in caplog.text
    assert js.performance.now() > 0
    assert js.navigator.userAgent == "Cloudflare-Workers"


def test_patterns_can_be_tested():
    assert js.RegExp.new("AB+", "i").test("xabb")
    assert not js.RegExp.new("AB+").test("xabb")
