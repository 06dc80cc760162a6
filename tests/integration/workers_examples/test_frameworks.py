"""Frameworks from PyPI, served for real: Flask and Django read their database synchronously, below an async handler."""

from __future__ import annotations

import json
from typing import Any

import pytest


async def test_flask_with_synchronous_queries(start: Any, client: Any, get: Any) -> None:
    async with start("flask-todo") as url:
        assert json.loads(await get(f"{url}/todos")) == []
        for title in ("milk", "bread"):
            async with client.post(f"{url}/todos", json={"title": title}) as response:
                assert response.status == 201
        async with client.patch(f"{url}/todos/1", json={"done": True}) as response:
            assert await response.json() == {"id": 1, "title": "milk", "done": True}
        assert [todo["title"] for todo in json.loads(await get(f"{url}/todos"))] == ["milk", "bread"]
        async with client.get(f"{url}/todos/9") as response:
            assert response.status == 404
        async with client.get(f"{url}/broken") as response:
            assert response.status == 500
            assert "no such table: nowhere" in (await response.json())["error"]
        assert await get(f"{url}/stream") == "0,1,2,"


async def test_django(start: Any, client: Any, get: Any) -> None:
    async with start("django-hello") as url:
        assert await get(f"{url}/hello/ann/?greeting=Hi") == "Hi ann from the environment"
        async with client.post(f"{url}/form/", data={"name": "bob"}) as response:
            assert await response.text() == "bob"
        async with client.get(f"{url}/nothing/") as response:
            assert response.status == 404


@pytest.mark.parametrize("mode", ["here", "wsgi", "asgi"])
async def test_django_models_on_d1(mode: str, start: Any, client: Any, get: Any) -> None:
    for _ in range(2):  # the second time with what the first one left
        async with start("django-d1", MODE=mode) as url:
            assert json.loads(await get(f"{url}/migrate/"))["tables"] == [
                "blog_author",
                "blog_post",
                "django_migrations",
            ]
            before = len(json.loads(await get(f"{url}/posts/")))
            async with client.post(f"{url}/posts/", json={"author": "ann", "title": "One"}) as response:
                made = await response.json()
            async with client.post(
                f"{url}/posts/", json={"author": "ann", "title": "Two", "published": True}
            ) as response:
                assert response.status == 201
            posts = json.loads(await get(f"{url}/posts/"))
            assert [post["title"] for post in posts[before:]] == ["One", "Two"]
            assert [post["title"] for post in json.loads(await get(f"{url}/posts/?published=1"))][-1] == "Two"
            assert json.loads(await get(f"{url}/posts/{made['id']}/")) == {
                "id": made["id"], "author": "ann", "title": "One", "published": False,
            }  # fmt: skip
            assert json.loads(await get(f"{url}/authors/"))["ann"] == before + 2
            async with client.delete(f"{url}/posts/{made['id']}/") as response:
                assert response.status == 204
            async with client.get(f"{url}/posts/{made['id']}/") as response:
                assert response.status == 404
            async with client.post(f"{url}/posts/", json={"author": "", "title": None}) as response:
                assert (response.status, (await response.json())["error"]) == (409, "IntegrityError")
