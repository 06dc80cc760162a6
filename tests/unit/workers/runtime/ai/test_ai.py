from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from workers import Response
from workers.compat.proxies import JsException
from workers.compat.streams import ReadableStream
from workers.compat.web import Request
from workers.compat.web import Response as WebResponse
from workers.runtime.ai.binding import Ai
from workers.runtime.ai.demo import DemoModel
from workers.runtime.ai.endpoint import Endpoint, EndpointModel
from workers.runtime.config.load import ConfigError, load
from workers.runtime.testing import Miniflare

LLAMA = "@cf/meta/llama-3.1-8b-instruct"
BGE = "@cf/baai/bge-small-en-v1.5"
KEY = "sk-very-secret"
CHAT = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What about bridges?"}]}
SCRIPT = """
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/stream"):
            stream = await self.env.AI.run("@cf/meta/llama-3.1-8b-instruct", {"prompt": "Hello", "stream": True})
            return Response(stream, headers={"content-type": "text/event-stream"})
        answer = await self.env.AI.run("@cf/meta/llama-3.1-8b-instruct", {"prompt": "Hello"})
        return Response(answer.response)
"""


def events(text: str) -> list[Any]:
    lines = [line for line in text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def demo() -> Ai:
    return Ai(DemoModel(pace_s=0))


def asking(answer: Callable[[Request], Awaitable[WebResponse]], **settings: Any) -> Ai:
    return Ai(EndpointModel(Endpoint("http://ai.test/v1", KEY, **settings), answer))


def answering(data: object, status: int = 200) -> tuple[list[Request], Callable[[Request], Awaitable[WebResponse]]]:
    seen: list[Request] = []

    async def answer(request: Request) -> WebResponse:
        seen.append(request)
        return WebResponse(data if isinstance(data, ReadableStream) else json.dumps(data), status=status)

    return seen, answer


def streamed(*chunks: bytes) -> ReadableStream:
    async def parts() -> Any:
        for chunk in chunks:
            yield chunk

    return ReadableStream.from_iterator(parts())


async def test_the_demo_model_says_the_same_to_the_same_question():
    first, second = await demo().run(LLAMA, CHAT), await demo().run(LLAMA, **CHAT)
    assert first == second
    assert first.response.startswith("Demo model: you asked about ")
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    assert (await demo().run(LLAMA, {"prompt": "Other"})).response != first.response
    assert len((await demo().run(LLAMA, {**CHAT, "max_tokens": 3})).response.split()) == 3


async def test_a_stream_says_what_the_answer_says():
    stream = await demo().run(LLAMA, {**CHAT, "stream": True})
    parts = events((await stream.read_all()).decode())
    whole = await demo().run(LLAMA, CHAT)
    assert "".join(part["response"] for part in parts) == whole.response
    assert parts[-1]["usage"] == whole.usage


async def test_embeddings_of_texts_with_the_same_words_are_near():
    result = await demo().run(BGE, {"text": ["red apples fall", "apples fall down", "quantum chess club"]})
    assert result.shape == [3, 384]
    a, b, c = result.data
    near, far = (sum(x * y for x, y in zip(a, other, strict=True)) for other in (b, c))
    assert near > 0.4 > far
    assert (await demo().run("@cf/baai/bge-base-en-v1.5", {"text": ""})).shape == [1, 768]


async def test_a_raw_response_carries_the_result():
    response = await demo().run(LLAMA, CHAT, {"returnRawResponse": True})
    assert (await response.json()).response.startswith("Demo model")


@pytest.mark.parametrize(
    ("model", "inputs", "text"),
    [
        ("@cf/openai/whisper", {}, "@cf/openai/whisper is a model for speech recognition"),
        ("@cf/baai/bge-reranker-base", {}, "for reranking, which this runtime does not serve; text generation"),
        ("gpt", {}, "5007: No such model gpt or task"),
        (LLAMA, {}, 'needs the input "prompt", a string, or "messages", a list'),
        (LLAMA, {"messages": []}, "must be a list of at least one"),
        (LLAMA, {"messages": [{"role": "user"}]}, 'messages.0 for @cf/meta/llama-3.1-8b-instruct needs "role"'),
        (LLAMA, {"prompt": "x", "max_tokens": 0}, "must be a number from 1"),
        (BGE, {"text": [1]}, "a string or a list of strings"),
        (BGE, {"text": ["x"] * 101}, "at most 100 at a time"),
    ],
)
async def test_what_cannot_be_answered_is_named(model: str, inputs: dict[str, Any], text: str):
    with pytest.raises(JsException) as caught:
        await demo().run(model, inputs)
    assert text in str(caught.value)


async def test_an_endpoint_is_asked_in_its_own_protocol():
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    seen, answer = answering({"choices": [{"message": {"content": "Hi"}}], "usage": usage})
    result = await asking(answer, models={LLAMA: "small"}).run(LLAMA, {**CHAT, "temperature": 0.5, "lora": "x"})
    assert result == {"response": "Hi", "usage": usage}
    assert (seen[0].url, seen[0].method) == ("http://ai.test/v1/chat/completions", "POST")
    assert seen[0].headers.get("authorization") == f"Bearer {KEY}"
    sent = json.loads(seen[0].take_body())  # type: ignore[arg-type]
    assert sent == {"model": "small", **CHAT, "temperature": 0.5}


async def test_calls_of_tools_are_told_as_workers_ai_does():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    seen, answer = answering({"choices": [{"message": {"content": None, "tool_calls": [call]}}]})
    result = await asking(answer).run(LLAMA, {**CHAT, "tools": [{"name": "add", "parameters": {}}]})
    assert result.tool_calls == [{"name": "add", "arguments": {"a": 1}}]
    sent = json.loads(seen[0].take_body())  # type: ignore[arg-type]
    assert sent["tools"] == [{"type": "function", "function": {"name": "add", "parameters": {}}}]


async def test_embeddings_of_an_endpoint_keep_the_order_of_the_texts():
    rows = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}]
    _, answer = answering({"data": rows})
    assert await asking(answer).run(BGE, {"text": ["a", "b"]}) == {"shape": [2, 2], "data": [[1, 2], [3, 4]]}


async def test_a_stream_is_translated_however_it_is_cut():
    text = (
        b': hello\r\n\r\ndata: {"choices":[{"delta":{"role":"assistant"}}]}\r\n\r\n'
        b'data: {"choices":[{"delta":{"content":"Caf\xc3\xa9"}}]}\n\ndata:{"choices":[{"delta":{"content":" au"}}]}\n\n'
        b'data: {"choices":[],"usage":{"total_tokens":7}}\n\ndata: [DONE]\n\n'
    )
    for size in (1, 7, 1000):
        _, answer = answering(streamed(*(text[at : at + size] for at in range(0, len(text), size))))
        stream = await asking(answer).run(LLAMA, {**CHAT, "stream": True})
        assert events((await stream.read_all()).decode()) == [
            {"response": "Café"},
            {"response": " au"},
            {"response": "", "usage": {"total_tokens": 7}},
        ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', "ended its stream before the answer was complete"),
        (b'data: {"error":{"message":"overloaded"}}\n\n', "broke off: overloaded"),
        (b"data: nonsense\n\n", "sent a stream that cannot be read"),
    ],
)
async def test_a_broken_stream_fails_where_it_is_read(data: bytes, why: str):
    _, answer = answering(streamed(data))
    stream = await asking(answer).run(LLAMA, {**CHAT, "stream": True})
    with pytest.raises(JsException, match=why):
        await stream.read_all()


async def test_an_error_of_the_endpoint_is_told_without_the_key():
    _, answer = answering({"error": {"message": f"Incorrect API key: {KEY}"}}, 401)
    with pytest.raises(JsException) as caught:
        await asking(answer).run(LLAMA, CHAT)
    assert "http://ai.test/v1 answered with status 401: Incorrect API key: ***" in str(caught.value)
    assert KEY not in repr(Endpoint("http://x", KEY))


async def test_an_endpoint_that_cannot_be_reached_or_is_silent_is_named():
    async def refused(request: Request) -> WebResponse:
        raise OSError("Connection refused")

    async def silent(request: Request) -> WebResponse:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(JsException, match=r"http://ai\.test/v1 cannot be reached: Connection refused"):
        await asking(refused).run(LLAMA, CHAT)
    with pytest.raises(JsException, match=r"said nothing for 0\.01 s \(flarelet\.ai\.timeout_s\)"):
        await asking(silent, timeout_s=0.01).run(LLAMA, CHAT)


@pytest.mark.parametrize("data", [{}, [], {"choices": [{}]}])
async def test_nonsense_of_an_endpoint_is_an_error(data: object):
    _, answer = answering(data)
    with pytest.raises(JsException, match="answered with something else than a"):
        await asking(answer).run(LLAMA, CHAT)


async def test_a_name_without_a_model_of_the_endpoint_is_refused():
    _, answer = answering({})
    with pytest.raises(JsException, match=r"No such model @cf/x/y or task; flarelet\.ai\.models has "):
        await asking(answer, models={LLAMA: "small"}).run("@cf/x/y", CHAT)


async def test_a_worker_streams_the_demo_model():
    async with Miniflare({"modules": True, "script": SCRIPT, "ai": {"binding": "AI"}}) as mf:
        whole = await (await mf.dispatch_fetch("/")).text()
        parts = events(await (await mf.dispatch_fetch("/stream")).text())
    assert "".join(part["response"] for part in parts) == whole
    assert whole.startswith("Demo model: ")


async def test_a_worker_reaches_the_endpoint_by_its_own_way_out():
    async def network(request: Any) -> Response:
        assert request.headers.get("authorization") == f"Bearer {KEY}"
        return Response(json.dumps({"choices": [{"message": {"content": f"seen at {request.url}"}}]}))

    section = {"base_url": "https://ai.test/v1/", "api_key": "AI_KEY", "model": "m"}
    options = {"modules": True, "script": SCRIPT, "ai": {"binding": "AI"}, "flarelet": {"ai": section}}
    async with Miniflare({**options, "bindings": {"AI_KEY": KEY}, "outboundService": network}) as mf:
        assert await (await mf.dispatch_fetch("/")).text() == "seen at https://ai.test/v1/chat/completions"


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ('base_url = "localhost"', "must be an address such as"),
        ('base_url = "http://key@host/v1"', "must be an address such as"),
        ('model = "m"', "base_url is missing"),
        ('base_url = "http://h"\ntimeout_s = 0', "timeout_s"),
    ],
)
def test_a_wrong_section_is_refused(tmp_path: Path, section: str, why: str):
    path = tmp_path / "wrangler.toml"
    path.write_text(f'name = "w"\n[ai]\nbinding = "AI"\n[flarelet.ai]\n{section}\n')
    with pytest.raises(ConfigError, match=why):
        load(path)
