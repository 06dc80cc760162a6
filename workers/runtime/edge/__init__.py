"""The network edge: HTTP and WebSockets in, HTTP out. The only room that knows aiohttp."""
