"""Each function looks at one part of the API; the name of a path says which ones are run."""

import datetime
import io
import json
import traceback
from urllib.parse import urlparse

import js
from js import (
    JSON,
    URL,
    Array,
    ArrayBuffer,
    DataView,
    Date,
    Error,
    File,
    Float32Array,
    Headers,
    Int16Array,
    Map,
    Number,
    Object,
    ReadableStream,
    RegExp,
    Set,
    TextDecoder,
    TransformStream,
    Uint8Array,
    URLSearchParams,
    WebSocketPair,
    crypto,
    globalThis,
    queueMicrotask,
    setTimeout,
    undefined,
)
from js import Blob as JsBlob
from js import FormData as JsFormData
from js import Request as JsRequest
from js import Response as JsResponse
from js import fetch as js_fetch
from pyodide.code import relaxed_call
from pyodide.ffi import (
    JsException,
    JsProxy,
    create_once_callable,
    create_proxy,
    destroy_proxies,
    jsnull,
    run_sync,
    to_js,
)
from pyodide.http import pyfetch
from workers import (
    Blob,
    BlobEnding,
    DurableObject,
    File as PyFile,
    FormData,
    Request,
    Response,
    WorkerEntrypoint,
    env,
    fetch,
    handler,
    import_from_javascript,
    patch_env,
    python_from_rpc,
    python_to_rpc,
    wait_until,
    waitUntil,
)

AT_IMPORT = env.TEXT


def as_object(value):
    return to_js(value, dict_converter=Object.fromEntries)


async def js_containers():
    made = as_object({"a": 1, "b": {"c": [1, 2, None]}})
    assert made.a == 1 and made.b.c[1] == 2 and made["a"] == 1, made
    assert JSON.stringify(made) == '{"a":1,"b":{"c":[1,2,null]}}', JSON.stringify(made)
    assert made.to_py() == {"a": 1, "b": {"c": [1, 2, None]}}
    assert list(Object.keys(made)) == ["a", "b"] and list(made.object_values())[0] == 1
    assert JSON.parse('{"x": [1.5, true]}').x[0] == 1.5
    found = to_js({"k": "v"})
    assert found.get("k") == "v" and found.size == 1 and found.to_py() == {"k": "v"}
    table = Map.new(as_object([["a", 1]]))
    table.set("b", 2)
    assert table.has("b") and table.get("a") == 1 and len(table) == 2
    letters = Set.new(to_js(["a", "b", "a"]))
    assert letters.size == 2 and letters.has("b")
    items = Array.new(1, 2, 3)
    assert items.length == 3 and items[2] == 3 and isinstance(items, JsProxy)
    assert undefined is None and not jsnull
    assert RegExp.new("b+", "i").test("aBBc")
    assert Number.new(5).valueOf() == 5 if hasattr(Number.new(5), "valueOf") else Number.new(5) == 5
    assert globalThis.URL is URL and js.URL is URL


async def js_bytes():
    data = Uint8Array.new(to_js(b"abc"))
    assert data.to_bytes() == b"abc" and data.length == 3 and data.byteLength == 3
    assert bytes(data.to_py()) == b"abc" and data[0] == 97 and list(data) == [97, 98, 99]
    assert data.buffer.byteLength == 3 and to_js(b"xy").constructor.name == "Uint8Array"
    assert ArrayBuffer.new(4).byteLength == 4
    assert list(Int16Array.of(1, -2)) == [1, -2] and Float32Array.new(to_js([1.5]))[0] == 1.5
    view = DataView.new(ArrayBuffer.new(8))
    view.setInt16(0, 258)
    assert view.getUint8(1) == 2
    assert TextDecoder.new().decode(data) == "abc"
    digest = await crypto.subtle.digest("SHA-1", data)
    assert digest.to_bytes().hex() == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert len(crypto.randomUUID()) == 36
    assert js.btoa("hi") == "aGk=" and js.atob("aGk=") == "hi"


async def js_dates_and_errors():
    assert Date.new("2020-01-02T03:04:05Z").getTime() == 1577934245000
    assert Date.now() > 1_600_000_000_000
    assert Date.new(0).toISOString() == "1970-01-01T00:00:00.000Z"
    Error.stackTraceLimit = 100
    assert "Error" in Error.new("boom").stack
    try:
        raise Error.new("boom")
    except JsException as error:
        assert (error.name, error.message, str(error)) == ("Error", "boom", "Error: boom")
    try:
        URL.new("nope")
    except JsException as error:
        assert error.name == "TypeError", error.name
    else:
        raise AssertionError("an invalid URL was accepted")


async def js_urls_and_headers():
    url = URL.new("https://user@h.example:8443/a/../b?x=1&y=%20z#f")
    assert (url.protocol, url.host, url.hostname, url.port) == ("https:", "h.example:8443", "h.example", "8443")
    assert (url.pathname, url.search, url.hash, url.origin) == ("/b", "?x=1&y=%20z", "#f", "https://h.example:8443")
    assert url.searchParams.get("y") == " z" and str(url) == url.href
    parameters = URLSearchParams.new("a=1&a=2")
    parameters.append("b", "c d")
    assert list(parameters.getAll("a")) == ["1", "2"] and parameters.toString() == "a=1&a=2&b=c+d"
    headers = Headers.new({"X-A": "1"}.items())
    headers.append("x-a", "2")
    assert headers.get("X-a") == "1, 2" and headers.has("x-A") and list(headers)[0][0] == "x-a"
    headers.delete("x-a")
    assert headers.get("x-a") is None


async def js_requests_and_responses():
    request = JsRequest.new("http://x/y", method="POST", body="b", headers=as_object({"a": "1"}))
    assert (request.method, await request.text(), request.headers.get("a")) == ("POST", "b", "1")
    response = JsResponse.new("body", as_object({"status": 201, "headers": {"x": "y"}}))
    assert (response.status, response.headers.get("x"), response.ok) == (201, "y", True)
    assert (await response.clone().arrayBuffer()).to_bytes() == b"body"
    assert await (await js_fetch("data:text/plain,hello")).text() == "hello"
    answer = JsResponse.json(as_object({"a": [1]}))
    assert (await answer.json()).a[0] == 1 and answer.headers.get("content-type") == "application/json"
    moved = JsResponse.redirect("http://x/z", 307)
    assert (moved.status, moved.headers.get("location")) == (307, "http://x/z")
    got = await pyfetch("data:application/json,[1]")
    assert got.status == 200 and await got.json() == [1]
    form = JsFormData.new()
    form.append("a", "1")
    form.append("f", File.new(to_js(["data"]), "f.txt", type="text/plain"))
    back = await JsResponse.new(form).formData()
    assert back.get("a") == "1" and await back.get("f").text() == "data" and back.get("f").name == "f.txt"
    assert await JsBlob.new(to_js(["a", "b"])).text() == "ab"


async def js_streams():
    count = 0

    def pull(controller):
        nonlocal count
        count += 1
        controller.enqueue(to_js(b"%d " % count))
        if count == 3:
            controller.close()

    stream = ReadableStream.new(pull=create_proxy(pull))
    assert await JsResponse.new(stream).text() == "1 2 3 "
    left, right = JsResponse.new("shared").body.tee()
    assert await JsResponse.new(left).text() == await JsResponse.new(right).text() == "shared"
    through = TransformStream.new()
    writer = through.writable.getWriter()

    async def write():
        await writer.write(to_js(b"written"))
        await writer.close()

    waitUntil(write())
    reader = through.readable.getReader()
    first = await reader.read()
    assert first.value.to_bytes() == b"written" and not first.done
    assert (await reader.read()).done
    reader.releaseLock()
    chunks = [chunk.to_bytes() async for chunk in JsResponse.new("chunk").body]
    assert chunks == [b"chunk"]

    class Upper:
        def transform(self, chunk, controller):
            controller.enqueue(to_js(chunk.to_bytes().upper()))

    shouted = JsResponse.new("quiet").body.pipeThrough(TransformStream.new(create_proxy(Upper())))
    assert await JsResponse.new(shouted).text() == "QUIET"


async def js_sockets_timers_proxies():
    client, server = WebSocketPair.new().object_values()
    heard = []
    client.accept()
    server.accept()
    server.addEventListener("message", create_proxy(lambda event: server.send(event.data + "!")))
    done = js.Promise.withResolvers() if hasattr(js, "Promise") else None

    def on_message(event):
        heard.append(event.data)
        if done is not None:
            done.resolve(None)

    client.addEventListener("message", create_proxy(on_message))
    client.send("hi")
    for _ in range(20):
        if heard:
            break
        await js.scheduler.wait(1)
    assert heard == ["hi!"]
    client.close(1000, "done")
    ticks = []
    setTimeout(create_once_callable(lambda: ticks.append("timer")), 1)
    queueMicrotask(create_once_callable(lambda: ticks.append("microtask")))
    await js.scheduler.wait(20)
    assert sorted(ticks) == ["microtask", "timer"], ticks
    collected = []
    to_js([lambda: 1], pyproxies=collected)
    destroy_proxies(collected)
    proxy = create_proxy(lambda: 1)
    assert proxy() == 1
    proxy.destroy()
    assert relaxed_call(lambda a: a, 1, 2, 3) == 1


async def python_responses():
    assert repr(Response("x", status=201)) == "Response(status=201, …)" or "201" in repr(Response("x", status=201))
    response = Response.json({"a": [1, None]}, headers={"x-a": "1"}, status=202)
    assert (response.status, await response.text(), response.headers["X-A"]) == (202, '{"a": [1, null]}', "1")
    for wrong in (5, {"a": 1}, [1], (1,), Blob(["x"])):
        try:
            Response(wrong)
        except TypeError as error:
            assert str(error) == f"Unsupported type in Response: {type(wrong).__name__}", error
        else:
            raise AssertionError(wrong)
    used = Response("once")
    await used.text()
    try:
        await used.text()
    except OSError as error:
        assert str(error) == "Body already used"
    assert Response.redirect("http://x/", status=303).status == 303
    assert (await Response("copy").clone().bytes(), Response(None).body) == (b"copy", None)
    assert await Response(Response("inner").js_object).text() == "inner"
    assert Response("a", headers=[("set-cookie", "a"), ("set-cookie", "b")]).headers.get_all("set-cookie") == ["a", "b"]


async def python_requests_and_forms():
    request = Request("http://x/p?q", method="PUT", body=json.dumps({"n": 1}), headers={"Content-Type": "text/x"})
    assert request.method == "PUT" and request.headers["content-type"] == "text/x"
    assert (await request.clone().json(), request.url, request.body_used) == ({"n": 1}, "http://x/p?q", False)
    form = FormData({"a": "1"})
    form.append("a", "2")
    form["f"] = PyFile(["content"], "name.txt", content_type="text/plain")
    back = await Response(form).form_data()
    assert back.get_all("a") == ["1", "2"] and await back["f"].text() == "content" and back["f"].name == "name.txt"
    blob = Blob(["a\n", b"b"], content_type="text/plain", endings=BlobEnding.TRANSPARENT)
    assert (blob.size, await blob.text(), await blob.slice(2).bytes()) == (3, "a\nb", b"b")
    got = await fetch("data:text/plain;base64,aGk=")
    assert (got.status, await got.text(), got.ok) == (200, "hi", True)


async def python_conversions():
    value = python_from_rpc(python_to_rpc({"a": [1, 2.0, None], "when": datetime.datetime(2020, 1, 1), "raw": b"x"}))
    assert value.a == [1, 2, None] and value.when == datetime.datetime(2020, 1, 1) and bytes(value["raw"]) == b"x"
    for wrong in ((1, 2), bytearray(b"x")):
        try:
            python_to_rpc(wrong)
        except TypeError as error:
            assert str(error) == f"{type(wrong)} cannot be sent over RPC."
    assert str(python_from_rpc(Error.new("x"))) == "Error: x"


async def environment():
    assert AT_IMPORT == env.TEXT == "text" and env.NESTED.list[1].a == "b" and env.NESTED.on is True
    with patch_env(TEXT="patched", EXTRA=1):
        assert (env.TEXT, env.EXTRA) == ("patched", 1)
    assert env.TEXT == "text"
    try:
        env.NOTHING  # noqa: B018
    except AttributeError as error:
        assert "NOTHING" in str(error) and "wrangler.toml" in str(error), error
    assert import_from_javascript("cloudflare:workers").env.TEXT == "text"
    assert len(env.VERSION.id) == 36 and env.VERSION.tag == "" and env.VERSION.timestamp.endswith("Z")
    kinds = []
    wait_until(js.scheduler.wait(1))
    for limiter, key in ((env.LIMITER, "k"), (env.LIMITER, "k"), (env.LIMITER, "k"), (env.OLD_LIMITER, "k")):
        kinds.append((await limiter.limit({"key": key})).success)
    assert kinds == [True, True, False, True], kinds


async def synchronous_waiting():
    async def later():
        await js.scheduler.wait(1)
        return await env.KV.get("sync") or "nothing"

    run_sync(env.KV.put("sync", "value"))
    assert run_sync(later()) == "value"
    assert run_sync(js_fetch("data:,x")).status == 200


@handler
async def old_style(request, env, ctx):
    return request


PARTS = [
    part
    for name, part in list(globals().items())
    if name.split("_")[0] in ("js", "python", "environment", "synchronous")
]
PARTS = [part for part in PARTS if getattr(part, "__module__", "") == __name__]


class Other(DurableObject):
    pass


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        failed = []
        for part in PARTS:
            try:
                await part()
            except Exception:
                text = io.StringIO()
                traceback.print_exc(file=text)
                failed.append(f"{part.__name__}\n{text.getvalue()}")
        assert urlparse(request.url).path == "/"
        return Response("\n".join(failed) or f"{len(PARTS)} parts", status=500 if failed else 200)
