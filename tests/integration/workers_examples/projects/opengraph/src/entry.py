from html import escape
from urllib.parse import urlparse

from js import HTMLRewriter
from pyodide.ffi import create_proxy
from workers import Request, WorkerEntrypoint, fetch


class Injector:
    def __init__(self, title: str):
        self.title = title
        self.count = 0

    def element(self, element):
        self.count += 1
        element.prepend(f'<meta property="og:title" content="{escape(self.title, quote=True)}" />', html=True)


class Remover:
    def element(self, element):
        element.remove()


class Shouter:
    def text(self, chunk):
        if chunk.text:
            chunk.replace(chunk.text.upper())


class Default(WorkerEntrypoint):
    async def fetch(self, request: Request):
        response = await fetch(f"{self.env.ORIGIN}{urlparse(request.url).path}")
        injector = create_proxy(Injector('A "title" & more'))
        remover = create_proxy(Remover())
        rewriter = HTMLRewriter.new()
        rewriter.on('meta[property^="og:"]', remover)
        rewriter.on("head", injector)
        rewriter.on("h1", create_proxy(Shouter()))
        return rewriter.transform(response.js_object)
