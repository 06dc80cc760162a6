from __future__ import annotations

import pytest
from click.testing import CliRunner

from workers.runtime.cli.main import cli


@pytest.mark.parametrize("arguments", [[], ["--help"], ["dev", "--help"], ["dev", "-h"]])
def test_help_is_there_for_every_command(arguments: list[str]) -> None:
    assert "Usage:" in CliRunner().invoke(cli, arguments).output


def test_the_version_is_shown() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert (result.exit_code, result.output.startswith("flarelet ")) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["dev", "--var", "x"], "'x' is not NAME:VALUE"),
        (["dev", "--port", "99999"], "99999 is not in the range"),
        (["dev", "--prot", "1"], "No such option"),
    ],
)
def test_mistakes_on_the_command_line_are_explained(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert text in result.output
