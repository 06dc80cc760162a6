from __future__ import annotations

import asyncio
import importlib
import re

import aiohttp
import pytest

HELLO = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("hello world")
"""


async def raw(url: str, text: str) -> bytes:
    """Send bytes as they are and read until the server closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(text.encode())
    async with asyncio.timeout(10):
        data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


async def test_a_worker_answers_with_text_and_a_known_length(run, client) -> None:
    async with run(HELLO) as url, client.get(url) as answer:
        assert (answer.status, await answer.text()) == (200, "hello world")
        assert answer.headers["content-type"] == "text/plain;charset=UTF-8"
        assert answer.headers["content-length"] == "11"
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])


@pytest.mark.parametrize(
    ("signature", "answer"),
    [
        ("def fetch(self)", "'ok'"),
        ("async def fetch(self, request, env, ctx)", "repr((env, ctx))"),
        ("async def fetch(self, request, *rest)", "repr(rest)"),
        ("async def fetch(self, request, env=1, *, option=2)", "repr((env, None))"),
    ],
)
async def test_class_handlers_of_any_arity_are_called(run, client, signature: str, answer: str) -> None:
    source = f"""
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        {signature}:
            return Response({answer})
    """
    async with run(source) as url, client.get(url) as seen:
        assert (seen.status, await seen.text()) in ((200, "ok"), (200, "(None, None)"))


@pytest.mark.parametrize("signature", ["async def on_fetch(request, env, ctx)", "def on_fetch(request, *rest)"])
async def test_handlers_of_the_older_function_style_are_called(run, client, signature: str) -> None:
    source = f"""
    from workers import Response

    {signature}:
        return Response(request.url.rpartition("/")[2])
    """
    async with run(source) as url, client.get(f"{url}/older") as seen:
        assert (seen.status, await seen.text()) == (200, "older")


async def test_the_request_arrives_as_it_was_sent(run, client) -> None:
    source = """
    import json
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(json.dumps({
                "method": request.method, "url": request.url, "header": request.headers.get("X-Test"),
                "body": await request.text(), "ip": request.headers.get("cf-connecting-ip"),
            }))
    """
    async with run(source) as url:
        headers = {"x-test": "1", "cf-connecting-ip": "6.6.6.6"}
        async with client.post(f"{url}/a%20b/../c?q=%20#frag", data="body ü", headers=headers) as answer:
            seen = await answer.json(content_type=None)
    assert seen == {"method": "POST", "url": f"{url}/c?q=%20", "header": "1", "body": "body ü", "ip": "127.0.0.1"}


async def test_statuses_without_a_body_have_no_framing_and_head_has_no_body(run) -> None:
    source = """
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            status = int(request.url.rpartition("/")[2])
            headers = [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("content-length", "99")]
            return Response(None if status in (204, 304) else "body", status=status, headers=headers)
    """
    async with run(source) as url:
        host = url.removeprefix("http://")
        for status in (204, 304):
            head, _, body = (
                await raw(url, f"GET /{status} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            ).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert b"content-length" not in head
            assert b"transfer-encoding" not in head
            assert body == b""
        head, _, body = (await raw(url, f"HEAD /200 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).partition(
            b"\r\n\r\n"
        )
        assert body == b""
        lines = head.decode().split("\r\n")
        assert [line for line in lines if line.startswith("set-cookie")] == ["set-cookie: a=1", "set-cookie: b=2"]
        head, _, body = (await raw(url, f"GET /299 HTTP/1.0\r\nHost: {host}\r\n\r\n")).partition(b"\r\n\r\n")
        assert head.count(b"content-length: 4") == 1
        assert body == b"body"


async def test_pipelined_requests_are_answered_in_order_on_one_connection(run) -> None:
    source = """
    import asyncio
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            if request.url.endswith("/slow"):
                await asyncio.sleep(0)
            return Response(request.url.rpartition("/")[2])
    """
    async with run(source) as url:
        host = url.removeprefix("http://")
        paths = ("slow", "b", "c")
        text = "".join(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n" for path in paths[:-1])
        text += f"GET /c HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        answer = await raw(url, text)
    assert re.findall(rb"\r\n\r\n(slow|b|c)", answer) == [b"slow", b"b", b"c"]


async def test_an_exception_is_a_500_that_names_it_and_shows_the_workers_frame(run, client, caplog) -> None:
    source = """
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(str(1 // 0))
    """
    async with run(source) as url, client.get(url) as answer:
        text = await answer.text()
        assert (answer.status, answer.headers["content-type"]) == (500, "text/plain;charset=UTF-8")
    assert text.splitlines()[0] == "ZeroDivisionError: integer division or modulo by zero"
    assert text.splitlines()[2:] == [
        "at src/entry.py:6 in fetch",
        "     6 | return Response(str(1 // 0))",
        "       |                     ^^^^^^",
    ]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert caplog.records[0].message.startswith("src/entry.py:6: ZeroDivisionError")


async def test_a_cancelled_task_of_the_worker_is_an_error_and_not_a_dropped_connection(run, client) -> None:
    source = """
    import asyncio
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
    """
    async with run(source) as url, client.get(url) as answer:
        assert (answer.status, (await answer.text()).splitlines()[0]) == (500, "CancelledError")


@pytest.mark.parametrize("result", ["None", "'text'", "{'a': 1}", "5"])
async def test_a_handler_that_returns_no_response_gets_the_runtimes_type_error(run, client, result: str) -> None:
    source = f"""
    from workers import WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return {result}
    """
    async with run(source) as url, client.get(url) as answer:
        assert answer.status == 500
        first = (await answer.text()).splitlines()[0]
    assert first == "TypeError: Incorrect type for Promise: the Promise did not resolve to 'Response'."


async def test_a_response_may_be_sent_once_only(run, client) -> None:
    source = """
    from workers import Response, WorkerEntrypoint

    SHARED = Response("once")

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return SHARED
    """
    async with run(source) as url:
        async with client.get(url) as answer:
            assert await answer.text() == "once"
        async with client.get(url) as answer:
            assert answer.status == 500
            assert (await answer.text()).startswith("TypeError: Body has already been used.")


async def test_a_worker_without_fetch_says_so(run, client) -> None:
    source = """
    from workers import WorkerEntrypoint

    class Default(WorkerEntrypoint):
        pass
    """
    async with run(source) as url, client.get(url) as answer:
        assert answer.status == 500
        assert (await answer.text()).splitlines()[0] == "TypeError: Handler does not export a fetch() function."


async def test_requests_that_name_another_host_are_refused(run, client) -> None:
    async with run(HELLO, '[dev]\nhost = "dev.test"\n') as url:
        async with client.get(url, headers={"host": "evil.com"}) as answer:
            assert answer.status == 403
            assert "'evil.com'" in await answer.text()
        async with client.get(url, headers={"host": "dev.test:1234"}) as answer:
            assert answer.status == 200


async def test_what_is_not_http_gets_a_400_and_headers_have_limits(run) -> None:
    async with run(HELLO) as url:
        assert (await raw(url, "hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        host = url.removeprefix("http://")
        assert (await raw(url, f"GET / HTTP/1.1\r\nHost: {host}\r\nX: {'x' * 20000}\r\n\r\n")).startswith(
            b"HTTP/1.1 400 "
        )
        many = "".join(f"X-{number}: 1\r\n" for number in range(200))
        assert (await raw(url, f"GET / HTTP/1.1\r\nHost: {host}\r\n{many}\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_work_given_to_wait_until_goes_on_after_the_response(run, client) -> None:
    source = """
    import asyncio
    from workers import Response, WorkerEntrypoint, wait_until

    done = asyncio.Event()
    seen = []

    async def later(text):
        await asyncio.sleep(0)
        seen.append(text)
        if len(seen) == 2:
            done.set()

    async def broken():
        raise ValueError("nobody is hurt")

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            if request.url.endswith("/seen"):
                await done.wait()
                return Response(",".join(sorted(seen)))
            self.ctx.waitUntil(later("ctx"))
            wait_until(later("module"))
            wait_until(broken())
            return Response("ok")
    """
    async with run(source) as url:
        async with client.get(url) as answer:
            assert await answer.text() == "ok"
        async with client.get(f"{url}/seen") as answer:
            assert await answer.text() == "ctx,module"


async def test_scheduled_runs_through_its_endpoint(run, client) -> None:
    source = """
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def scheduled(self, controller, env, ctx):
            if controller.cron == "fail":
                controller.noRetry()
                raise ValueError(controller.scheduledTime)
    """
    async with run(source) as url:
        async with client.get(f"{url}/cdn-cgi/handler/scheduled?cron=*+*+*+*+*") as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
        async with client.get(f"{url}/cdn-cgi/handler/scheduled?cron=fail&time=7&format=json") as answer:
            assert (answer.status, await answer.json()) == (500, {"outcome": "exception", "noRetry": True})


async def test_env_and_fetch_work_as_the_module_is_imported_and_in_handlers(run, client) -> None:
    source = """
    from workers import Response, WorkerEntrypoint, env, fetch

    AT_IMPORT = env.GREETING

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            if request.url.endswith("/inner"):
                return Response(f"{AT_IMPORT} {self.env.TOKEN} {env.LIMITS.rows}", headers={"x-inner": "1"})
            inner = await fetch(request.url + "inner")
            return Response(f"{inner.status} {inner.headers['x-inner']} {await inner.text()}")
    """
    async with (
        run(source, '[vars]\nGREETING = "hi"\nTOKEN = "t"\nLIMITS = { rows = 5 }\n') as url,
        client.get(url) as answer,
    ):
        assert await answer.text() == "200 1 hi t 5"


async def test_bindings_that_are_not_served_say_so_when_used(run, client) -> None:
    source = """
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(await self.env.FILES.get("key"))
    """
    async with run(source, '[[r2_buckets]]\nbinding = "FILES"\nbucket_name = "x"\n') as url, client.get(url) as answer:
        first = (await answer.text()).splitlines()[0]
    assert first == "Error: env.FILES is an R2 binding, which this runtime does not serve yet"


async def test_a_client_that_leaves_stops_the_stream_it_was_sent(run, client) -> None:
    source = """
    import asyncio
    from workers import Response, WorkerEntrypoint
    from workers.compat.streams import ReadableStream

    ended = asyncio.Event()

    async def chunks():
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            ended.set()

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            if request.url.endswith("/ended"):
                await ended.wait()
                return Response("ended")
            return Response(ReadableStream.from_iterator(chunks()))
    """
    async with run(source) as url:
        answer = await client.get(url)
        assert await answer.content.readany() == b"first"
        answer.close()
        async with client.get(f"{url}/ended") as answer:
            assert await answer.text() == "ended"


async def test_a_stream_that_fails_after_its_start_is_cut_short(run, client) -> None:
    source = """
    from workers import Response, WorkerEntrypoint
    from workers.compat.streams import ReadableStream

    async def chunks():
        yield b"first"
        raise ValueError("too late")

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(ReadableStream.from_iterator(chunks()))
    """
    async with run(source) as url:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with client.get(url) as answer:
                await answer.read()


async def test_the_javascript_surfaces_exist_for_a_loaded_worker_only(run, client) -> None:
    source = """
    from js import Object, Response as JsResponse, URL
    from pyodide.ffi import to_js
    from workers import WorkerEntrypoint
    from _cloudflare_compat_flags import some_flag, other_flag

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            headers = to_js({"x-flags": f"{some_flag} {other_flag}"}, dict_converter=Object.fromEntries)
            return JsResponse.new(URL.new(request.url).pathname, headers=headers, status=201)
    """
    async with run(source, 'compatibility_flags = ["some_flag"]\n') as url, client.get(f"{url}/a") as answer:
        assert (answer.status, await answer.text(), answer.headers["x-flags"]) == (201, "/a", "True False")
    with pytest.raises(ImportError):
        importlib.import_module("js")
