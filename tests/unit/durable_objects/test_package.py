from __future__ import annotations

import subprocess
import sys

import pytest

import durable_objects


def test_importing_the_package_loads_no_database():
    loaded = "[m for m in ('sqlite3', 'asyncio', 'durable_objects.host') if m in sys.modules]"
    code = f"import durable_objects, sys; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", durable_objects.__all__)
def test_every_public_name_can_be_imported(name: str):
    assert getattr(durable_objects, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = durable_objects.Nothing
