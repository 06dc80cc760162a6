"""Static files are answered as miniflare answers them: every mode, odd paths, rules of headers and redirects."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from workers.compat import web
from workers.runtime.app import App

HERE = Path(__file__).parent
FILES = {
    "index.html": "home",
    "about.html": "about",
    "dir/index.html": "dir",
    "both.html": "both, the file",
    "both/index.html": "both, the folder",
    "noext": "no extension",
    "a b.txt": "a space",
    "é.html": "an accent",
    "deep/404.html": "not found, deep",
    "404.html": "not found",
    "deep/a/page.html": "page",
    "deep/index": "an index without html",
    "only/index.html": "only",
    ".html": "a dot",
    "w.html/index.html": "a folder that looks like a file",
    "@s/x.js": "scoped",
    "a.log": "log",
    "keep.log": "kept",
    "secret/s.txt": "secret",
    "secret/keep.log": "lost with its folder",
    "docs/x.md": "x",
    "docs/a/b/x.md": "x",
    "docs/a/y.md": "y",
    "deep/a/hidden.txt": "hidden",
    "tmp[1].txt": "brackets",
    ".well-known/security.txt": "contact",
}
IGNORED = "*.log\n!keep.log\nsecret/\n/deep/a/hidden.txt\ndocs/**/x.md\n# *.html\n"
HEADERS = """# a comment
/about*
  X-Splat: s-:splat
  X-A: 1
  X-A: 2
/*
  X-All: yes
  X-A: 3
/noext
  ! ETag
  ! cache-control
  Content-Type: text/x-own
/dir/:name
  X-Name: :name
https://:sub.example.com/*
  X-Sub: :sub
bad line
/two/*/*
  X: y
/none
"""
REDIRECTS = """# a comment
/old /about 301
/proxy /about 200
/gone /nothing 200
/ext https://example.org/x?y=1#z
/noquery /about?fixed=1
/users/:id /u/:id.html 302 # people
/blog/* /news/:splat
/late /about 308
/see /about 303
/keep https://example.org/path 307
/loop/* /index.html
/bad
/st /about 999
/old /dup
relative /about
http://plain.example/x /about
"""
PATHS = [
    *("/", "//", "/index", "/index.html", "/index/", "/about", "/about.html", "/about/", "/about/index", "/about/x"),
    *("/about/index.html", "/dir", "/dir/", "/dir/index", "/dir/index.html", "/dir.html", "/both", "/both/"),
    *("/both.html", "/both/index.html", "/both/index", "/noext", "/noext/", "/noext.html", "/a%20b.txt", "/a b.txt"),
    *("/%C3%A9", "/é", "/é.html", "/%e9", "/deep/", "/deep/nothing", "/deep/a/page", "/deep/a/page/", "/deep/a/b/c"),
    *("/deep/index", "/deep/index.html", "/only", "/only/", "/only.html", "/.html", "/w.html", "/w", "/w.html/"),
    *("/@s/x.js", "/%40s/x.js", "/nothing", "/nothing/", "/nothing?x=1", "/about.html?x=1&y=%20", "/dir?q"),
    *("/a.log", "/keep.log", "/secret/s.txt", "/secret/keep.log", "/docs/x.md", "/docs/a/b/x.md", "/docs/a/y.md"),
    *("/deep/a/hidden.txt", "/_headers", "/_redirects", "/.assetsignore", "/404", "/404.html", "/deep/404"),
    *("/..%2fsecret", "/../about", "/%2e%2e/about", "/dir%2findex.html", "/dir%2F..%2Fabout.html", "/%00", "/a%5cb"),
    *("/%", "/%zz", "/tmp[1].txt", "/tmp%5B1%5D.txt", "//about", "/dir//index.html", "/dir//", "/./about", "/ABOUT"),
    *("/old", "/old?x=1", "/old/", "/proxy", "/proxy?x", "/gone", "/ext", "/ext?a=b", "/noquery", "/noquery?x=2"),
    *("/users/7", "/users/7/8", "/users/", "/blog/a/b?c", "/blog/", "/blog", "/late", "/see", "/keep?z=1", "/loop/x"),
    *("/bad", "/st", "/relative", "/none", "/two/a/b", "/.well-known/security.txt"),
]
EXTENSIONS = """
avif bin bmp bz2 css csv doc docx eot flac gif gz htm html ico ics jpeg jpg js json jsonld jsx m4a map md mjs mp3 mp4
odt ogg otf pdf png rss rtf sh svg tar tiff toml ttf txt unknownext wasm wav webm webmanifest webp woff woff2 xhtml
xlsx xml yaml yml zip 7z atom epub JSON log less scss mpeg mov avi opus aac weba apng jxl heic psd ps xls ppt pptx ods
odp conf ini geojson gpx kml vcf json5 cjs mkv m3u8 apk dmg deb rar jar swf tsv vtt srt ttc wat glb gltf stl obj sql
"""
MODES = ["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"]
NOT_FOUND = ["none", "404-page", "single-page-application"]
KEPT = {"content-type", "cache-control", "cf-cache-status", "location", "content-length"}


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


async def _miniflare(node_modules: Path, folder: Path, **question: Any) -> list[list[Any]]:
    file = folder.parent / "question.json"
    file.write_text(json.dumps({"folder": str(folder), **question}))
    process = await asyncio.create_subprocess_exec(
        *("node", str(HERE / "assets.mjs"), str(node_modules), str(file)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return json.loads(output.decode().splitlines()[-1])


WORKER = """
from urllib.parse import urlsplit
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.headers.get("x-ask"):
            return await self.env.ASSETS.fetch(request)
        return Response(f"worker {request.method} {urlsplit(request.url).path}")
"""


async def _flarelet(folder: Path, requests: list[Any], settings: str, date: str) -> list[list[Any]]:
    project = folder.parent / "project"
    project.mkdir(exist_ok=True)
    (project / "entry.py").write_text(WORKER)
    main = 'main = "entry.py"\n' if "worker" in settings else ""
    table = f'[assets]\ndirectory = "../{folder.name}"\nbinding = "ASSETS"\n{settings}\n'
    (project / "wrangler.toml").write_text(f'name = "interop"\ncompatibility_date = "{date}"\n{main}{table}')
    answers: list[list[Any]] = []
    async with App.open(project / "wrangler.toml") as app:
        for method, path, headers in requests:
            url = f"http://localhost{path}"
            response = await app.respond(web.Request.incoming(url, method, list(headers.items()), None))
            answers.append([response.status, list(response.headers.combined()), await response.text()])
    return answers


def _seen(answer: list[Any]) -> tuple[int, dict[str, str], str]:
    status, headers, body = answer
    shown = {name: value for name, value in headers if name in KEPT or name.startswith("x-")}
    shown.pop("content-length", None)
    if any(name == "etag" for name, _ in headers):
        shown["etag"] = "yes"
    if body.startswith("worker"):  # Python's answers say their type in the same words; how a path is spelt is its own
        body = "worker"
    return status, shown, body


def _differences(requests: list[Any], told: list[Any], found: list[Any]) -> list[str]:
    return [
        f"{request}: {wanted} expected, got {got}"
        for request, wanted, got in zip(requests, map(_seen, told), map(_seen, found), strict=True)
        if wanted != got
    ]


@pytest.mark.parametrize("not_found", NOT_FOUND)
@pytest.mark.parametrize("mode", MODES)
async def test_every_mode_answers_every_path_alike(
    mode: str, not_found: str, node_modules: Path, tmp_path: Path
) -> None:
    folder = written(tmp_path / "public", {**FILES, ".assetsignore": IGNORED})
    written(folder, {"_headers": HEADERS, "_redirects": REDIRECTS})
    requests: list[Any] = [["GET", path, {}] for path in PATHS]
    requests += [
        [method, path, {}] for method in ("HEAD", "POST", "OPTIONS") for path in ("/about", "/old", "/nothing")
    ]
    config = {"html_handling": mode, "not_found_handling": not_found}
    told = await _miniflare(
        node_modules, folder, assetConfig=config, routerConfig={"has_user_worker": False}, date="2026-07-01",
        requests=requests,
    )  # fmt: skip
    settings = f'html_handling = "{mode}"\nnot_found_handling = "{not_found}"'
    found = await _flarelet(folder, requests, settings, "2026-07-01")
    problems = _differences(requests, told, found)
    assert problems == [], "\n".join(problems)


ROUTES = {
    "files first": ({}, ""),
    "Worker first": ({"invoke_user_worker_ahead_of_assets": True}, "run_worker_first = true"),
    "by rules": (
        {"static_routing": {"user_worker": ["/api/*", "/about*"], "asset_worker": ["/api/docs/*"]}},
        'run_worker_first = ["/api/*", "!/api/docs/*", "/about*"]',
    ),
}


@pytest.mark.parametrize("date", ["2025-03-01", "2026-07-01"])
@pytest.mark.parametrize("not_found", NOT_FOUND)
@pytest.mark.parametrize("routes", ROUTES)
async def test_files_and_worker_share_the_paths_alike(
    routes: str, not_found: str, date: str, node_modules: Path, tmp_path: Path
) -> None:
    folder = written(
        tmp_path / "public", {**FILES, "api/docs/x.txt": "docs", "api/y.txt": "y", "_redirects": REDIRECTS}
    )
    paths = [
        "/",
        "/about",
        "/about.html",
        "/nothing",
        "/api/z",
        "/api/y.txt",
        "/api/docs/x.txt",
        "/api/docs/no",
        "/old",
    ]
    paths += ["/deep/nothing", "/gone", "/proxy"]
    requests: list[Any] = [
        [method, path, headers]
        for headers in ({}, {"sec-fetch-mode": "navigate"}, {"x-ask": "yes"})
        for method in ("GET", "POST")
        for path in paths
    ]
    router, settings = ROUTES[routes]
    config = {"html_handling": "auto-trailing-slash", "not_found_handling": not_found}
    told = await _miniflare(
        node_modules, folder, assetConfig=config, routerConfig={"has_user_worker": True, **router}, date=date,
        requests=requests,
    )  # fmt: skip
    settings = f'not_found_handling = "{not_found}"\n{settings}\n# with a worker'
    problems = _differences(requests, told, await _flarelet(folder, requests, settings, date))
    assert problems == [], "\n".join(problems)


async def test_files_have_the_same_types_and_are_cached_alike(node_modules: Path, tmp_path: Path) -> None:
    folder = written(tmp_path / "public", {f"file.{extension}": "x" for extension in EXTENSIONS.split()})
    requests: list[Any] = [["GET", f"/file.{extension}", {}] for extension in EXTENSIONS.split()]
    requests += [["GET", "/file.txt", headers] for headers in ({"authorization": "x"}, {"range": "bytes=0-0"})]
    requests += [["GET", "/file.txt", {"if-none-match": '"other"'}]]
    question = {"assetConfig": {"html_handling": "none"}, "routerConfig": {}, "date": "2026-07-01"}
    told = await _miniflare(node_modules, folder, requests=requests, **question)
    problems = _differences(requests, told, await _flarelet(folder, requests, 'html_handling = "none"', "2026-07-01"))
    assert problems == [], "\n".join(problems)
