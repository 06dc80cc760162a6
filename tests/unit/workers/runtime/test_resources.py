from __future__ import annotations

from pathlib import Path

import pytest

from workers.runtime.config.load import ConfigError, Project, load
from workers.runtime.resources import Resources, rate_limits

LIMIT = '{ name = "A", type = "ratelimit", namespace_id = "1", simple = { limit = 1, period = 10 } }'


def project(folder: Path, text: str) -> Project:
    path = folder / "wrangler.toml"
    path.write_text(text)
    return load(path)


def test_rate_limits_of_the_older_form_count(tmp_path: Path) -> None:
    new = 'ratelimits = [{ name = "B", namespace_id = "1", simple = { limit = 2, period = 60 } }]\n'
    found = list(
        rate_limits(project(tmp_path, f"{new}[unsafe]\nbindings = [{LIMIT}, {{ type = 'other', name = 'x' }}]"))
    )
    assert [(limit.name, limit.simple.limit, limit.simple.period) for limit in found] == [("B", 2, 60), ("A", 1, 10)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (LIMIT.replace("10", "11"), "unsafe.bindings.0.simple.period: Input should be 10 or 60"),
        (LIMIT.replace("limit = 1", "limit = 0"), "unsafe.bindings.0.simple.limit: Input should be greater than 0"),
    ],
)
def test_a_wrong_one_is_named(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(rate_limits(project(tmp_path, f"[unsafe]\nbindings = [{text}]")))
    assert str(caught.value).endswith(line)


async def test_what_has_one_id_is_one_thing(tmp_path: Path) -> None:
    text = """
    d1_databases = [{ binding = "D1", database_id = "x" }, { binding = "D2", database_id = "x" }]
    kv_namespaces = [{ binding = "K1", id = "x" }, { binding = "K2", id = "x" }, { binding = "K3" }]
    ratelimits = [
      { name = "L1", namespace_id = "1", simple = { limit = 1, period = 60 } },
      { name = "L2", namespace_id = "1", simple = { limit = 1, period = 60 } },
    ]
    """
    resources = Resources(tmp_path)
    found = resources.bindings(project(tmp_path, text))
    assert found["D1"] is found["D2"]
    k1, k2, k3, l1, l2 = (found[name] for name in ("K1", "K2", "K3", "L1", "L2"))
    await k1.put("k", "v")  # type: ignore[attr-defined]
    assert (await k2.get("k"), await k3.get("k")) == ("v", None)  # type: ignore[attr-defined]
    assert [(await limiter.limit(key="k")).success for limiter in (l1, l2)] == [True, False]  # type: ignore[attr-defined]
    await resources.close()
