"""The network edge: HTTP and WebSockets in, HTTP out. The only room that knows aiohttp."""

from workers.runtime.edge import lean_aiohttp

lean_aiohttp.prepare()  # before any module of the edge imports one of aiohttp
