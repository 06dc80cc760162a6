from js import URL, Headers, Object, Response
from pyodide.ffi import to_js


async def on_fetch(request, env, ctx):
    url = URL.new(request.url)
    name = url.searchParams.get("name")
    headers = Headers.new({"x-path": url.pathname}.items())
    if url.pathname == "/json":
        return Response.json(to_js({"name": name, "list": [1, 2]}, dict_converter=Object.fromEntries))
    return Response.new(f"{env.GREETING} {name or 'nobody'}", headers=headers, status=201)
