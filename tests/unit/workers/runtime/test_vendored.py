from __future__ import annotations

import sys
from pathlib import Path

import pytest

from workers.runtime.loader import LoadError, ModuleSpace
from workers.runtime.vendored import foreign_packages, vendored_folders

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
WASM = "_core.cpython-312-wasm32-emscripten.so"


def package(folder: Path, name: str, source: str, *, requires: str = "", compiled: bool = False) -> None:
    """Lay out a package as an installer does."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(source)
    files = [f"{name}/__init__.py"]
    if compiled:
        (folder / name / WASM).write_bytes(b"\0asm")
        files.append(f"{name}/{WASM}")
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))
    (facts / "METADATA").write_text(f"Name: {name}\n{f'Requires-Dist: {requires}' if requires else ''}\n\nText.\n")


def space(tmp_path: Path, source: str, after: ModuleSpace | None = None) -> ModuleSpace:
    entry = tmp_path / "src" / "entry.py"
    entry.parent.mkdir(exist_ok=True)
    entry.write_text(source)
    return ModuleSpace(entry, after)


def test_packages_are_found_where_pywrangler_lays_them(tmp_path: Path) -> None:
    package(tmp_path / "python_modules", "deployed_one", "place = 'python_modules'")
    package(tmp_path / ".venv-workers/lib" / VERSION / "site-packages", "local_one", "place = 'venv'")
    loaded = space(tmp_path, "import deployed_one, local_one\nplaces = deployed_one.place, local_one.place")
    assert loaded.load().places == ("python_modules", "venv")
    assert loaded.source_folders == [str(tmp_path / "src")]
    loaded.unload()
    assert "deployed_one" not in sys.modules


def test_a_package_compiled_for_webassembly_is_replaced_by_its_native_twin(tmp_path: Path) -> None:
    deployed, native = tmp_path / "python_modules", tmp_path / ".venv-workers/lib" / VERSION / "site-packages"
    package(deployed, "fast_core", "place = 'wasm'", compiled=True)
    package(deployed, "fast", "place = 'deployed'", requires="fast-core==1.0")  # insists on that very version
    package(deployed, "user", "place = 'deployed'", requires="fast>=1")
    for name in ("fast_core", "fast", "user"):
        package(native, name, "place = 'native'")
    assert foreign_packages(str(deployed)) == {"fast_core", "fast"}
    loaded = space(tmp_path, "import fast, fast_core, user\nplaces = fast.place, fast_core.place, user.place")
    assert loaded.load().places == ("native", "native", "deployed")
    loaded.unload()


def test_one_that_has_no_native_twin_says_what_to_do(tmp_path: Path) -> None:
    package(tmp_path / "python_modules", "only_wasm", "", compiled=True)
    loaded = space(tmp_path, "import only_wasm")
    with pytest.raises(LoadError) as caught:
        loaded.load()
    assert str(caught.value) == (
        "src/entry.py:1: ModuleNotFoundError: 'only_wasm' in python_modules is compiled for WebAssembly; "
        "install it for this Python too"
    )


def test_the_dependencies_of_another_python_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".venv-workers/lib/python2.7/site-packages").mkdir(parents=True)
    (tmp_path / "src").mkdir()
    assert list(vendored_folders(tmp_path / "src")) == []


def test_a_reload_keeps_packages_and_renews_source_until_packages_change(tmp_path: Path) -> None:
    package(tmp_path / "python_modules", "kept", "import itertools\ncounter = itertools.count()\n"
            "def late():\n    import helper\n    return helper.text\n")  # fmt: skip
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "helper.py").write_text("text = 'first'")
    source = "import kept, helper\nnumber, text, late = next(kept.counter), helper.text, kept.late()"
    first = space(tmp_path, source)
    assert (first.load().number, first.load().text) == (0, "first")
    first.unload()
    (tmp_path / "src" / "helper.py").write_text("text = 'second!'")
    second = space(tmp_path, source, first)
    module = second.load()
    assert (module.number, module.text, module.late) == (1, "second!", "second!")
    second.unload()
    package(tmp_path / "python_modules", "added", "")
    third = space(tmp_path, source, second)
    assert third.load().number == 0
    third.unload()
    assert "kept" not in sys.modules
