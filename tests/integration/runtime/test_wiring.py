from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from durable_objects.ids import IdFactory
from workers.runtime.app import App, StateInUse
from workers.runtime.config.load import ConfigError
from workers.runtime.edge.listener import BindError
from workers.runtime.edge.serving import serving
from workers.runtime.testing import serve

ITEMS = """
import json
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        db = self.env.DB
        if request.url.endswith("/setup"):
            await db.exec("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
        elif request.method == "POST":
            await db.prepare("INSERT INTO items (name) VALUES (?)").bind(await request.text()).run()
        elif request.url.endswith("/emit"):
            await self.env.REALTIME.publish("chat/general", "notice", {"n": 1})
        rows = await db.prepare("SELECT name FROM items ORDER BY id").all()
        return Response(json.dumps([row["name"] for row in rows.results]))
"""
DB = '[[d1_databases]]\nbinding = "DB"\ndatabase_id = "items-id"\n'
REALTIME = DB + '[flarelet.realtime]\nproject = "p1"\ndatabase = "DB"\n'
CHAT = """
from durable_objects import TopicObject
from workers import Response, WorkerEntrypoint

class ChatRoom(TopicObject):
    pass

class Other:
    pass
"""


async def test_a_database_keeps_rows_through_a_restart_in_the_file_wrangler_looks_for(write, tmp_path, client) -> None:
    config = write(ITEMS, DB)
    async with serve(config, tmp_path / "state") as url:
        await client.get(f"{url}/setup")
        await client.post(url, data="one")
    name = IdFactory("miniflare-D1DatabaseObject").from_name("items-id")
    assert (tmp_path / "state/v3/d1/miniflare-D1DatabaseObject" / f"{name}.sqlite").is_file()
    async with serve(config, tmp_path / "state") as url, client.get(url) as answer:
        assert await answer.json(content_type=None) == ["one"]


async def test_a_committed_row_reaches_the_subscribers_of_its_table(run, client) -> None:
    async with run(ITEMS, REALTIME) as url:
        await client.get(f"{url}/setup")
        async with client.ws_connect(f"{url}/api/realtime?projectId=p1") as ws:
            await ws.send_json({"type": "subscribe", "topic": "table/items/p1"})
            assert await ws.receive_json() == {"type": "subscribed", "topic": "table/items/p1"}
            await client.post(url, data="apple")
            frame = await ws.receive_json()
    assert (frame["type"], frame["topic"], frame["data"]) == ("db_change", "table/items/p1", {"id": 1, "name": "apple"})


async def test_the_worker_publishes_through_its_realtime_binding(run, client) -> None:
    async with run(ITEMS, REALTIME) as url:
        await client.get(f"{url}/setup")
        async with client.ws_connect(f"{url}/v1/realtime") as ws:
            await ws.send_json({"type": "subscribe", "topic": "chat/general"})
            await ws.receive_json()
            await client.get(f"{url}/emit")
            frame = await ws.receive_json()
    assert (frame["topic"], frame["event"], frame["data"]) == ("chat/general", "notice", {"n": 1})


async def test_without_realtime_its_paths_belong_to_the_worker(run, client) -> None:
    source = """
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response("mine")
    """
    async with run(source) as url, client.get(f"{url}/api/realtime") as answer:
        assert await answer.text() == "mine"
    config = "[flarelet.realtime]\nroutes = false\n"
    async with run(source, config) as url, client.get(f"{url}/api/realtime") as answer:
        assert await answer.text() == "mine"


async def test_realtime_needs_no_worker_at_all(tmp_path, client) -> None:
    path = tmp_path / "wrangler.toml"
    path.write_text('name = "only"\n[flarelet.realtime]\n')
    async with serve(path, tmp_path / "state") as url:
        async with client.ws_connect(f"{url}/realtime") as ws:
            await ws.send_json({"type": "ping"})
            assert (await ws.receive_json())["type"] == "pong"
        async with client.get(f"{url}/elsewhere") as answer:
            assert (answer.status, await answer.text()) == (404, "Not Found: no Worker is configured here.\n")


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            '[[durable_objects.bindings]]\nname = "ROOM"\nclass_name = "Room"\n',
            'durable_objects.bindings.0.class_name: src/entry.py has no class "Room"; it exports ChatRoom',
        ),
        (
            '[[flarelet.realtime.topics]]\npattern = "chat/*"\nclass_name = "Missing"\n',
            'flarelet.realtime.topics.0.class_name: src/entry.py has no class "Missing"; it exports ChatRoom',
        ),
        (
            '[[flarelet.realtime.topics]]\npattern = "chat/*"\nclass_name = "Other"\n',
            'flarelet.realtime.topics.0.class_name: "Other" is not a subclass of durable_objects.TopicObject',
        ),
        (
            '[flarelet.realtime]\ndatabase = "DB"\n',
            'flarelet.realtime.database: there is no D1 binding "DB"; configured: none',
        ),
        (
            "[flarelet.realtime]\nhistory_limit = 0\n",
            "flarelet.realtime: history_limit is 0, but must be at least 1",
        ),
        (
            '[vars]\nDB = "x"\n' + DB,
            'd1_databases.0.binding: "DB" is also the name of vars.DB',
        ),
    ],
)
async def test_bindings_that_do_not_fit_the_worker_stop_the_start(write, tmp_path, config: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with App.open(write(CHAT, config), persist_to=tmp_path / "state"):
            pass
    assert str(caught.value) == f"wrangler.toml: {line}"


async def test_a_project_without_a_main_module_or_with_a_missing_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "wrangler.toml"
    path.write_text('name = "demo"\n')
    with pytest.raises(ConfigError, match=r"^wrangler\.toml: main: is required"):
        async with App.open(path, persist_to=tmp_path / "state"):
            pass
    path.write_text('main = "src/missing.py"\n')
    with pytest.raises(ConfigError, match=r"^wrangler\.toml: main: src/missing\.py does not exist$"):
        async with App.open(path, persist_to=tmp_path / "state"):
            pass


async def test_a_state_folder_belongs_to_one_server_at_a_time(write, tmp_path) -> None:
    config = write(CHAT)
    async with App.open(config, persist_to=tmp_path / "state"):
        with pytest.raises(StateInUse, match="is in use by another flarelet"):
            async with App.open(config, persist_to=tmp_path / "state"):
                pass
    async with App.open(config, persist_to=tmp_path / "state"):
        pass


async def test_realtime_without_keys_listens_on_this_machine_only(write, tmp_path) -> None:
    async with App.open(write(CHAT, "[flarelet.realtime]\n"), persist_to=tmp_path / "state") as app:
        with pytest.raises(BindError, match=r"^will not listen on 0\.0\.0\.0: realtime has no keys"):
            async with serving(app, host="0.0.0.0", port=0):
                pass
    config = write(CHAT, '[flarelet.realtime]\npublic_keys = ["pk_1"]\nsecret_keys = ["sk_1"]\n')
    async with App.open(config, persist_to=tmp_path / "state") as app, serving(app, host="0.0.0.0", port=0) as edge:
        assert edge.url.startswith("http://127.0.0.1:")


async def test_pages_of_other_sites_may_connect_where_keys_are_asked_for(run, client) -> None:
    headers = {"origin": "https://shop.example"}
    async with run(CHAT, "[flarelet.realtime]\n") as url:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect(f"{url}/api/realtime", headers=headers)
        assert caught.value.status == 403
    async with run(CHAT, '[flarelet.realtime]\npublic_keys = ["pk_1"]\n') as url:
        ws = await client.ws_connect(f"{url}/api/realtime", headers=headers, protocols=("aerostack-key.pk_1",))
        assert ws.protocol == "aerostack-key.pk_1"
        await ws.close()
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect(f"{url}/api/realtime", headers=headers)
        assert caught.value.status == 401


async def test_what_a_test_raises_inside_an_application_comes_out_as_it_is(write, tmp_path) -> None:
    with pytest.raises(KeyError):
        async with App.open(write(CHAT), persist_to=tmp_path / "state"):
            raise KeyError("x")


async def test_two_workers_run_side_by_side(write, tmp_path, client) -> None:
    source = """
    from workers import Response, WorkerEntrypoint, env
    import helper

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            import helper as again
            return Response(f"{env.NAME} {helper.NAME} {again is helper}")
    """
    configs = [write(source, f'[vars]\nNAME = "{name}"\n', name) for name in ("one", "two")]
    for config in configs:
        (config.parent / "src" / "helper.py").write_text(f"NAME = {config.parent.name!r}")
    async with serve(configs[0], tmp_path / "s1") as first, serve(configs[1], tmp_path / "s2") as second:
        texts = [await _text(client, url) for url in (first, second, first)]
    assert texts == ["one one True", "two two True", "one one True"]


async def _text(client, url: str) -> str:
    async with client.get(url) as answer:
        return await answer.text()
