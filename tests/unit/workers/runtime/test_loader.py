from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import d1
from workers.entrypoints import DurableObject, WorkerEntrypoint
from workers.runtime.loader import LoadError, ModuleSpace, exported_classes


def worker(folder: Path, **files: str) -> ModuleSpace:
    source = folder / "src"
    for name, text in files.items():
        path = source / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return ModuleSpace(source / "entry.py")


@pytest.fixture(autouse=True)
def modules_are_left_as_they_were() -> Iterator[None]:
    modules, path = set(sys.modules), list(sys.path)
    yield
    assert [name for name in set(sys.modules) - modules if name in ("entry", "helper", "state")] == []
    assert sys.path == path


def test_two_workers_may_both_have_the_same_module_names(tmp_path: Path) -> None:
    entry = "import helper\ndef late():\n    import helper as again\n    return again.NAME, again is helper\n"
    one = worker(tmp_path / "one", entry=entry, helper="NAME = 1")
    two = worker(tmp_path / "two", entry=entry, helper="NAME = 2")
    first, second = one.load(), two.load()
    assert (first.helper.NAME, second.helper.NAME) == (1, 2)
    assert (first.late(), second.late(), first.late()) == ((1, True), (2, True), (1, True))
    one.unload()
    two.unload()


def test_a_module_of_the_host_program_does_not_stand_in_for_the_workers_own(tmp_path: Path) -> None:
    sys.modules["helper"] = foreign = type(sys)("helper")
    try:
        space = worker(tmp_path, entry="import helper", helper="NAME = 'own'")
        assert space.load().helper.NAME == "own"
        space.unload()
        assert sys.modules["helper"] is foreign
    finally:
        del sys.modules["helper"]


def test_packages_relative_imports_and_vendored_modules_are_found(tmp_path: Path) -> None:
    space = worker(
        tmp_path,
        entry="from package.inner import VALUE\nimport vendored",
        package____init__="",
        package__inner="from .deeper import VALUE",
        package__deeper="VALUE = 7",
    )
    vendored = tmp_path / "python_modules"
    vendored.mkdir()
    (vendored / "vendored.py").write_text("X = 1")
    (vendored / "workers.py").write_text("raise RuntimeError('a vendored copy must not be used')")
    space = ModuleSpace(space.main)  # looks for python_modules when it is made
    module = space.load()
    assert (module.VALUE, module.vendored.X) == (7, 1)
    space.unload()


def test_folders_that_the_worker_adds_to_the_path_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "state.py").write_text("def fail():\n    raise KeyError('x')")
    space = worker(tmp_path, entry=f"import sys\nsys.path.append({str(tmp_path / 'shared')!r})\nimport state")
    module = space.load()
    with pytest.raises(KeyError) as caught:
        module.state.fail()
    own = space.report(caught.value).own
    assert own is not None
    assert own.where == "shared/state.py:2"
    space.unload()


def test_an_edit_of_the_same_size_within_the_same_second_is_seen(tmp_path: Path) -> None:
    for number, text in enumerate(("A = 1", "A = 2")):
        space = worker(tmp_path, entry=text)
        os.utime(space.main, ns=(1_000_000_000, 1_000_000_000 + number * 1_000_000))
        loaded = space.load()
        assert text.endswith(str(loaded.A))
        space.unload()


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"entry": "a = 1\nb = a / 0\n"}, "src/entry.py:2: ZeroDivisionError: division by zero"),
        ({"entry": "def f(:\n"}, "src/entry.py:1: SyntaxError: invalid syntax"),
        ({"entry": "import helper", "helper": "\n\nraise KeyError('k')"}, "src/helper.py:3: KeyError: 'k'"),
        ({"entry": "import nowhere_to_be_found"}, "src/entry.py:1: ModuleNotFoundError: No module named"),
        ({"entry": "from workers import Nothing"}, "src/entry.py:1: ImportError: cannot import name 'Nothing'"),
        ({"entry": "import json\njson.loads('{')"}, "src/entry.py:2: JSONDecodeError: "),
    ],
)
def test_source_that_fails_to_import_is_said_in_one_line(tmp_path: Path, files: dict[str, str], line: str) -> None:
    with pytest.raises(LoadError) as caught:
        worker(tmp_path, **files).load()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert "Traceback" in caught.value.detail


def test_a_missing_main_module_or_a_name_of_the_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"entry\.py: no such file$"):
        ModuleSpace(tmp_path / "entry.py").load()
    (tmp_path / "workers.py").write_text("")
    with pytest.raises(LoadError, match=r"^workers\.py cannot be a Worker's main module"):
        ModuleSpace(tmp_path / "workers.py").load()


def test_exported_classes_are_those_that_derive_from_a_base(tmp_path: Path) -> None:
    text = (
        "from workers import DurableObject, WorkerEntrypoint\n"
        "class Default(WorkerEntrypoint): pass\n"
        "class Room(DurableObject): pass\n"
        "class _Hidden(DurableObject): pass\n"
        "class Plain: pass\n"
    )
    space = worker(tmp_path, entry=text)
    module = space.load()
    bases = (WorkerEntrypoint, DurableObject)
    assert sorted(exported_classes(module, bases)) == ["Default", "Room"]
    module.__dict__["__all__"] = ["Room"]
    assert list(exported_classes(module, bases)) == ["Room"]
    space.unload()


def test_a_word_in_the_workers_own_source_is_found_and_one_in_vendored_packages_is_not(tmp_path: Path):
    (tmp_path / "views").mkdir()
    (tmp_path / "python_modules").mkdir()
    (tmp_path / "entry.py").write_text("")
    (tmp_path / "views" / "books.py").write_text("from pyodide.ffi import run_sync\n")
    (tmp_path / "python_modules" / "other.py").write_text("vendored = 1\n")
    space = ModuleSpace(tmp_path / "entry.py")
    assert space.mentions(re.compile(rb"\brun_sync\b"))
    assert not space.mentions(re.compile(rb"vendored"))


def test_a_worker_may_have_modules_that_are_called_as_the_runtimes_are(tmp_path: Path):
    (tmp_path / "d1.py").write_text("class D1: pass\n")
    (tmp_path / "durable_objects").mkdir()
    (tmp_path / "durable_objects" / "__init__.py").write_text("from .room import Room\n")
    (tmp_path / "durable_objects" / "room.py").write_text("import d1\nclass Room: made_of = d1.D1\n")
    (tmp_path / "entry.py").write_text(
        "import durable_objects.room\nfrom d1 import D1\nfrom durable_objects import Room\n"
        "from durable_objects.room import Room as again\nimport d1\n"
        "same = again is Room is durable_objects.room.Room and Room.made_of is D1 is d1.D1\n"
    )
    before = {name for name in sys.modules if name.partition(".")[0] in ("d1", "durable_objects")}
    space = ModuleSpace(tmp_path / "entry.py")
    assert space.load().same
    assert not hasattr(d1, "D1")
    space.unload()
    assert not [name for name in sys.modules if "_worker_own_" in name]
    assert before <= set(sys.modules)


def test_without_modules_of_its_own_a_worker_gets_the_runtimes(tmp_path: Path):
    (tmp_path / "entry.py").write_text("from durable_objects import TopicObject\nfrom d1 import D1Database\n")
    space = ModuleSpace(tmp_path / "entry.py")
    assert space.load().TopicObject.__module__.startswith("durable_objects.")
    space.unload()
