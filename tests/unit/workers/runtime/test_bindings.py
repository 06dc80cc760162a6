from __future__ import annotations

from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace
from uuid import UUID

import pytest

from workers.compat.proxies import JsException
from workers.entrypoints import DurableObject
from workers.runtime import bindings
from workers.runtime.config.load import ConfigError, Project, load


def project(folder: Path, text: str) -> Project:
    path = folder / "wrangler.toml"
    path.write_text(text)
    return load(path)


def test_every_start_is_a_version_of_its_own(tmp_path: Path) -> None:
    configured = project(tmp_path, 'version_metadata = { binding = "VERSION" }')
    clock = SimpleNamespace(now_ms=lambda: 1_600_000_000_123)
    random = Random(1)
    first, second = (bindings.version_metadata(configured, clock, random)["VERSION"] for _ in range(2))
    assert (first.tag, first.timestamp) == ("", "2020-09-13T12:26:40.123Z")  # type: ignore[attr-defined]
    assert UUID(first.id).version == 4  # type: ignore[attr-defined]
    assert first.id != second.id  # type: ignore[attr-defined]


def test_vars_and_secrets_are_plain_values(tmp_path: Path) -> None:
    (tmp_path / ".dev.vars").write_text("TOKEN=secret\nA=wins")
    text = '[vars]\nA = "1"\nB = { c = [1, { d = 2 }] }\n'
    values = bindings.plain(project(tmp_path, text))
    assert (values["A"], values["TOKEN"]) == ("wins", "secret")
    assert values["B"].c[1].d == values["B"]["c"][1]["d"] == 2  # type: ignore[attr-defined,index]


def test_bindings_that_are_not_served_say_what_they_are_when_used(tmp_path: Path) -> None:
    text = """
    browser = { binding = "BROWSER" }
    r2_buckets = [{ binding = "FILES", bucket_name = "b" }]
    queues = { producers = [{ binding = "JOBS", queue = "q" }] }
    """
    found = bindings.unavailable(project(tmp_path, text).settings)
    assert sorted(found) == ["BROWSER", "FILES", "JOBS"]
    with pytest.raises(JsException) as caught:
        found["JOBS"].send({})
    assert str(caught.value) == "Error: env.JOBS is a queue binding, which this runtime does not serve yet"
    assert repr(found["FILES"]) == "env.FILES is an R2 binding, which this runtime does not serve yet"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('d1_databases = [{ binding = "X" }, { binding = "X" }]', '"X" is also the name of d1_databases.0.binding'),
        ('vars = { X = 1 }\nkv_namespaces = [{ binding = "X" }]', '"X" is also the name of vars.X'),
        ("vars = { REALTIME = 1 }\n[flarelet.realtime]", '"REALTIME" is also the name of vars.REALTIME'),
    ],
)
def test_two_bindings_may_not_have_one_name(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bindings.check_names(project(tmp_path, text))
    assert str(caught.value).endswith(line)


def test_migrations_decide_the_kind_of_storage_through_renames_and_deletions(tmp_path: Path) -> None:
    steps = """
    [[migrations]]
    tag = "v1"
    new_classes = ["Old", "Gone"]
    new_sqlite_classes = ["New"]
    [[migrations]]
    tag = "v2"
    renamed_classes = [{ from = "Old", to = "Older" }]
    deleted_classes = ["Gone"]
    """
    config = project(tmp_path, steps)
    kinds = [bindings.storage_kind(config, name) for name in ("Older", "New", "Old", "Gone", "Unknown")]
    assert kinds == [False, True, None, None, None]


def test_a_class_that_is_missing_is_named_with_the_classes_there_are(tmp_path: Path) -> None:
    config = project(tmp_path, 'main = "src/entry.py"')
    module = ModuleType("entry")
    with pytest.raises(ConfigError, match=r'src/entry\.py has no class "Room"; it exports no Durable Object class$'):
        bindings.find_class(config, module, "key", "Room")
    module.__dict__["Other"] = type("Other", (DurableObject,), {"__module__": "entry"})
    with pytest.raises(ConfigError, match=r"^wrangler\.toml: key: .* it exports Other$"):
        bindings.find_class(config, module, "key", "Room")
    assert bindings.find_class(config, module, "key", "Other") is module.__dict__["Other"]
    with pytest.raises(ConfigError, match="there is no main module"):
        bindings.find_class(project(tmp_path, ""), None, "key", "Room")
