from __future__ import annotations

import re

from workers.runtime.config.compat_dates import FLAGS, contradictions, flags_on, unknown_flags


def test_the_table_is_whole() -> None:
    assert len(FLAGS) > 150
    for flag in FLAGS.values():
        assert re.fullmatch(r"(\d{4}-\d\d-\d\d)?", flag.date)
        assert flag.opposite != flag.name


def test_a_flag_is_on_from_its_date_or_by_its_name_unless_its_opposite_is_named() -> None:
    name, opposite = "python_no_global_handlers", "disable_python_no_global_handlers"
    assert name not in flags_on("2025-08-13", [])
    assert name in flags_on("2025-08-14", [])
    assert name in flags_on("2025-08-13", [name])
    assert name not in flags_on("2026-01-01", [opposite])
    assert name in flags_on(None, [])


def test_unknown_and_contradictory_flags_are_found() -> None:
    assert list(unknown_flags(["nodejs_compat", "no_rpc", "nodejs_compt", "zzz"])) == [
        ("nodejs_compt", "nodejs_compat"),
        ("zzz", None),
    ]
    assert list(contradictions(["rpc", "no_rpc", "nodejs_compat"])) == [("rpc", "no_rpc")]
