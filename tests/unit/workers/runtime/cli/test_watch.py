from __future__ import annotations

import asyncio
import os
from pathlib import Path

from workers.runtime.cli.watch import SourceWatch


def touch(path: Path, mtime_s: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    os.utime(path, (mtime_s, mtime_s))


async def test_changes_of_source_configuration_and_variables_are_noticed(tmp_path: Path) -> None:
    config, source = tmp_path / "wrangler.toml", tmp_path / "src"
    touch(config, 1)
    touch(source / "entry.py", 1)
    watch, wake = SourceWatch(config), asyncio.Event()
    watch.follow([source])
    for path in (config, source / "entry.py", source / "package" / "new.py", tmp_path / ".dev.vars"):
        touch(path, 2)
        assert await watch.changed(wake) == path.name
    (source / "package" / "new.py").unlink()
    assert await watch.changed(wake) == "new.py"


async def test_other_files_are_no_change_and_a_wake_up_ends_the_wait(tmp_path: Path) -> None:
    config = tmp_path / "wrangler.toml"
    touch(config, 1)
    watch, wake = SourceWatch(config), asyncio.Event()
    watch.follow([tmp_path / "src", tmp_path / "missing"])
    touch(tmp_path / "src" / "notes.txt", 2)
    touch(tmp_path / "src" / ".hidden" / "a.py", 2)
    touch(tmp_path / "src" / "__pycache__" / "b.py", 2)
    wake.set()
    assert await watch.changed(wake) is None
