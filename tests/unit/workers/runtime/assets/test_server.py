from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from workers.compat import web
from workers.compat.streams import ReadableStream
from workers.runtime.assets.server import AssetServer, open_assets
from workers.runtime.config.load import ConfigError, load
from workers.runtime.config.models import Assets


def serving(folder: Path, **settings: Any) -> AssetServer:
    return AssetServer(folder, Assets(**settings), has_worker=False, navigation_first=True)


async def get(server: AssetServer, path: str, method: str = "GET", **headers: str) -> web.Response:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await server.fetch(web.Request.incoming(f"http://x{path}", method, pairs, None))


async def test_a_known_tag_is_answered_without_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    server = serving(tmp_path)
    tag = (await get(server, "/a.txt")).headers.get("etag")
    for known in (tag, f"W/{tag}"):
        again = await get(server, "/a.txt", if_none_match=known)
        assert (again.status, again.raw_body, again.headers.get("etag")) == (304, None, tag)
    (tmp_path / "a.txt").write_text("changed")
    changed = await get(server, "/a.txt", if_none_match=tag)
    assert (changed.status, await changed.text()) == (200, "changed")


async def test_a_big_file_is_streamed_with_its_length(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(os.urandom(3 * 2**20))
    response = await get(serving(tmp_path), "/big.bin")
    body = response.raw_body
    assert isinstance(body, ReadableStream)
    assert body.length == 3 * 2**20
    sizes = [len(chunk) async for chunk in body.raw_chunks()]
    assert max(sizes) <= 256 * 1024
    assert sum(sizes) == 3 * 2**20


async def test_a_stream_that_nobody_reads_on_closes_its_file(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(b"x" * 2**20)
    body = (await get(serving(tmp_path), "/big.bin")).raw_body
    assert isinstance(body, ReadableStream)
    chunks = body.raw_chunks()
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/../secret.txt",
            "/..%2fsecret.txt",
            "/%2e%2e/secret.txt",
            "/%2e%2e%2fsecret.txt",
            "/a/..%2f..%2fsecret.txt",
        ),
        *("/..%5csecret.txt", "/a%00.txt", "/%2fetc/passwd", "//etc/passwd", "/%c0%ae%c0%ae/secret.txt", "/a/%2e%2e"),
    ],
)
async def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "public" / "a").mkdir(parents=True)
    response = await get(serving(tmp_path / "public", html_handling="none"), path)
    assert response.status in (404, 307)
    assert "secret" not in await response.text()


async def test_secrets_beside_the_files_are_not_served(tmp_path: Path) -> None:
    for name in (".dev.vars", ".env", ".env.local", "sub/.dev.vars.staging", ".wrangler/state/x.sqlite"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
        assert (await get(serving(tmp_path), f"/{name}")).status == 404


async def test_changed_rules_count_at_the_next_request_and_mistakes_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    server = serving(tmp_path)
    assert (await get(server, "/old")).status == 404
    (tmp_path / "_redirects").write_text("/old /a.txt 301\n/bad\n")
    (tmp_path / "_headers").write_text("/a.txt\n  X-A: 1\n  bad\n/*/x/*\n  X-B: 1\n")
    (tmp_path / ".assetsignore").write_text("b.txt\n")
    moved = await get(server, "/old?x=1")
    assert (moved.status, moved.headers.get("location")) == (301, "/a.txt?x=1")
    assert (await get(server, "/a.txt")).headers.get("x-a") == "1"
    assert [line.partition(": ")[0] for line in server.mistakes] == ["_headers:3", "_headers:4", "_redirects:2"]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ('directory = "nowhere"', "assets.directory: nowhere is not a folder"),
        ('directory = "."\nrun_worker_first = true', 'assets.run_worker_first: needs a Worker: set "main"'),
        ('directory = "."\nhtml_handling = "auto"', "assets.html_handling: "),
    ],
)
def test_a_wrong_table_is_an_error_that_names_the_key(tmp_path: Path, table: str, line: str) -> None:
    (tmp_path / "wrangler.toml").write_text(f'name = "x"\n[assets]\n{table}\n')
    with pytest.raises(ConfigError, match="assets") as caught:
        open_assets(load(tmp_path / "wrangler.toml"))
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        ('["api/*"]', 'assets.run_worker_first.0: "api/*" must begin with "/" or "!/"'),
        ('["!/api/*"]', 'assets.run_worker_first: needs a rule that does not begin with "!"'),
    ],
)
def test_wrong_rules_are_errors(tmp_path: Path, rules: str, line: str) -> None:
    (tmp_path / "entry.py").write_text("")
    text = f'main = "entry.py"\n[assets]\ndirectory = "."\nrun_worker_first = {rules}\n'
    (tmp_path / "wrangler.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        open_assets(load(tmp_path / "wrangler.toml"))
    assert str(caught.value).endswith(line)
