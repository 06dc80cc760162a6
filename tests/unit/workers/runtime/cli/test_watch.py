from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.runtime.cli.watch import Bell, SourceWatch


def touch(path: Path, mtime_s: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    os.utime(path, (mtime_s, mtime_s))


@pytest.fixture
async def bell() -> Bell:
    return Bell()


@pytest.fixture
def watch(tmp_path: Path, bell: Bell) -> Iterator[SourceWatch]:
    touch(tmp_path / "wrangler.toml", 1)
    touch(tmp_path / "src" / "entry.py", 1)
    touch(tmp_path / "other" / "wrangler.toml", 1)
    made = SourceWatch([tmp_path / "wrangler.toml", tmp_path / "other" / "wrangler.toml"], bell)
    yield made
    made.close()


async def test_changes_of_source_configuration_and_variables_are_noticed(tmp_path: Path, watch: SourceWatch) -> None:
    source = tmp_path / "src"
    watch.follow([source])
    for path in (
        tmp_path / "wrangler.toml",
        source / "entry.py",
        source / "package" / "new.py",
        source / "templates" / "page.html",
        tmp_path / ".dev.vars",
        tmp_path / "other" / "wrangler.toml",
    ):
        touch(path, 2)
        assert await watch.changed() == path.name
    (source / "package" / "new.py").unlink()
    assert await watch.changed() == "new.py"


async def test_the_system_tells_of_a_change_long_before_the_next_look(
    tmp_path: Path, watch: SourceWatch, bell: Bell
) -> None:
    source = tmp_path / "src"
    watch.follow([source])
    loop = asyncio.get_running_loop()
    told = loop.create_future()
    ring = bell.ring

    def rung() -> None:
        ring()
        if not told.done():
            told.set_result(None)

    bell.ring = rung
    async with asyncio.TaskGroup() as tasks:
        changed = tasks.create_task(watch.changed())
        async with asyncio.timeout(10):
            await told  # by now the system is listened to
        touch(source / "entry.py", 2)
        began = loop.time()
        assert await changed == "entry.py"
        assert loop.time() - began < 1.5


async def test_other_files_are_no_change_and_a_wake_up_ends_the_wait(
    tmp_path: Path, watch: SourceWatch, bell: Bell
) -> None:
    watch.follow([tmp_path / "src", tmp_path / "missing"])
    touch(tmp_path / "src" / "notes.txt", 2)
    touch(tmp_path / "src" / ".hidden" / "a.py", 2)
    touch(tmp_path / "src" / "__pycache__" / "b.py", 2)
    bell.stop()
    assert await watch.changed() is None


async def test_a_change_made_while_the_worker_was_loaded_counts(tmp_path: Path, watch: SourceWatch) -> None:
    watch.follow([tmp_path / "src"])
    touch(tmp_path / "src" / "entry.py", 2)
    touch(tmp_path / "shared" / "state.py", 2)
    watch.follow_too([tmp_path / "src", tmp_path / "shared"])
    assert await watch.changed() == "entry.py"
    touch(tmp_path / "shared" / "state.py", 3)
    assert await watch.changed() == "state.py"
