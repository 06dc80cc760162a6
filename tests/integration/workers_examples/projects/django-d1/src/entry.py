import os
from io import BytesIO

from workers import WorkerEntrypoint, asgi, wsgi

os.environ["DJANGO_SETTINGS_MODULE"] = "site_d1.settings"
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


async def handle(request, app):
    """Call the WSGI application in this very handler: its queries wait by run_sync."""
    from js import URL, Object, Response

    url = URL.new(request.url)
    environ = {
        "REQUEST_METHOD": str(request.method),
        "PATH_INFO": url.pathname,
        "QUERY_STRING": url.search[1:],
        "SERVER_NAME": url.hostname,
        "SERVER_PORT": url.port or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": url.protocol[:-1],
        "wsgi.input": BytesIO((await request._js_request.arrayBuffer()).to_bytes()),
        "wsgi.errors": None,
        "CONTENT_TYPE": request.headers.get("content-type") or "",
        "CONTENT_LENGTH": request.headers.get("content-length") or "0",
    }
    answer = app(environ, lambda status, headers: None)
    return Response.new(
        answer.content.decode("utf-8") or None,
        headers=Object.fromEntries(answer.headers.items()),
        status=answer.status_code,
    )


class Default(WorkerEntrypoint):
    def get_app(self):
        from site_d1.wsgi import application

        return application

    async def fetch(self, request):
        if self.env.MODE == "asgi":
            from site_d1.asgi import application

            return await asgi.fetch(application, request, self.env)
        if self.env.MODE == "wsgi":
            return await wsgi.fetch(self.get_app(), request, self.env)
        return await handle(request, self.get_app())
