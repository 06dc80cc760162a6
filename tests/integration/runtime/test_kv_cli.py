from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from workers.runtime.testing import DevProcess

CONFIG = '[[kv_namespaces]]\nbinding = "KV"\nid = "one"\n'
SOURCE = """
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        await self.env.KV.put("by the Worker", "1")
        return Response(str(await self.env.KV.get("by hand")))
"""


def kv(folder: Path, *arguments: str) -> tuple[int, bytes, str]:
    command = [sys.executable, "-m", "workers", "kv", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def test_keys_are_written_read_listed_and_deleted(write, tmp_path) -> None:
    folder = write(SOURCE, CONFIG).parent
    (folder / "file.bin").write_bytes(b"\x00\xff")
    assert kv(folder, "key", "put", "a", "text", "--metadata", '{"m": 1}', "--ttl", "600") == (0, b"", "Wrote 'a'.\n")
    assert kv(folder, "key", "put", "b", "--path", "file.bin")[0] == 0
    assert kv(folder, "key", "get", "a", "--text", "--local", "--binding", "KV")[1] == b"text"
    assert kv(folder, "key", "get", "b")[1] == b"\x00\xff"
    listed = json.loads(kv(folder, "key", "list", "--prefix", "a")[1])
    assert [(entry["name"], entry["metadata"]) for entry in listed] == [("a", {"m": 1})]
    assert kv(folder, "key", "delete", "a")[0] == 0
    assert kv(folder, "key", "get", "a")[::2] == (1, "Error: there is no key 'a'\n")
    assert kv(folder, "key", "get", "b", "--namespace-id", "other")[0] == 1
    assert json.loads(kv(folder, "namespace", "list")[1]) == [{"binding": "KV", "id": "one"}]


def test_many_keys_come_from_a_file(write, tmp_path) -> None:
    folder = write(SOURCE, CONFIG).parent
    entries = [{"key": "a", "value": "1", "metadata": 5}, {"key": "b", "value": "AP8=", "base64": True}]
    (folder / "keys.json").write_text(json.dumps(entries))
    (folder / "names.json").write_text('["a", {"name": "b"}]')
    assert kv(folder, "bulk", "put", "keys.json")[::2] == (0, "Wrote 2 keys.\n")
    assert kv(folder, "key", "get", "b")[1] == b"\x00\xff"
    assert kv(folder, "bulk", "delete", "names.json")[::2] == (0, "Deleted 2 keys.\n")
    assert json.loads(kv(folder, "key", "list")[1]) == []


def test_what_cannot_be_done_is_said_in_one_line(write, tmp_path) -> None:
    folder = write(SOURCE, CONFIG).parent
    for arguments, line in [
        (("key", "put", "a", "v", "--ttl", "5"), "Invalid expiration_ttl of 5. Expiration TTL must be at least 60."),
        (("key", "put", "", "v"), "Key name cannot be empty."),
        (("key", "get", "a", "--binding", "NO"), 'there is no KV binding "NO" in wrangler.toml; configured: KV'),
        (("key", "put", "a", "v", "--metadata", "{"), "--metadata is not JSON"),
        (("key", "get", "a", "--config", "nowhere.toml"), "no such file"),
    ]:
        status, _, error = kv(folder, *arguments)
        assert status == 1
        assert line in error
        assert "Traceback" not in error


async def test_a_running_server_and_the_command_see_each_others_keys(write, client) -> None:
    config = write(SOURCE, CONFIG)
    async with DevProcess(config, config.parent / ".wrangler" / "state") as dev:
        async with client.get(dev.url) as response:
            assert await response.text() == "None"
        assert kv(config.parent, "key", "put", "by hand", "yes")[0] == 0
        async with client.get(dev.url) as response:
            assert await response.text() == "yes"
        assert kv(config.parent, "key", "get", "by the Worker")[1] == b"1"
