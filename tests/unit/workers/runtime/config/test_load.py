from __future__ import annotations

from pathlib import Path

import pytest

from workers.runtime.config.load import ConfigError, find, load


def write(folder: Path, text: str, name: str = "wrangler.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


FULL = """
name = "demo"
main = "src/entry.py"
compatibility_date = "2026-07-01"
compatibility_flags = ["python_workers"]
workers_dev = true
[vars]
GREETING = "hi"
LIMITS = { rows = 5 }
[[d1_databases]]
binding = "DB"
database_name = "app"
database_id = "app-id"
migrations_dir = "migrations"
[[durable_objects.bindings]]
name = "ROOM"
class_name = "Room"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Room"]
[dev]
port = 9000
[flarelet.realtime]
database = "DB"
topics = [{ pattern = "chat/*", class_name = "ChatRoom" }]
"""


def test_a_toml_file_is_read_without_warnings(tmp_path: Path) -> None:
    project = load(write(tmp_path, FULL))
    assert (project.name, project.settings.dev.port, project.warnings) == ("demo", 9000, ())
    assert project.settings.d1_databases[0].local_id == "app-id"
    assert project.main == tmp_path / "src/entry.py"
    assert project.settings.flarelet is not None
    assert project.settings.flarelet.realtime is not None
    assert project.settings.flarelet.realtime.topics[0].class_name == "ChatRoom"


def test_migrations_can_be_chosen_by_a_pattern(tmp_path: Path) -> None:
    entry = '[[d1_databases]]\nbinding = "DB"\n'
    project = load(write(tmp_path, entry + 'migrations_dir = "./sql/"\nmigrations_pattern = "sql/*/up.sql"\n'))
    assert (project.settings.d1_databases[0].migration_files, project.warnings) == ("*/up.sql", ())
    assert load(write(tmp_path, entry)).settings.d1_databases[0].migration_files == "*.sql"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            'migrations_dir = "sql"\nmigrations_pattern = "other/*.sql"',
            'd1_databases.0.migrations_pattern: must be a glob that begins with the migrations_dir, like "sql/*.sql"',
        ),
        (
            'migrations_pattern = "migrations/*.sql"',
            "d1_databases.0: migrations_pattern needs migrations_dir beside it, which it begins with",
        ),
        ("migrations_pattern = 1", "d1_databases.0.migrations_pattern: must be text in quotes, not 1"),
    ],
)
def test_a_pattern_outside_the_migrations_folder_is_refused(tmp_path: Path, lines: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, f'[[d1_databases]]\nbinding = "DB"\n{lines}\n'))
    assert problem in str(caught.value)


def test_json_with_comments_says_the_same(tmp_path: Path) -> None:
    text = '{ "$schema": "x", "name": "demo", // name\n "vars": {"A": {"b": 1}}, }'
    project = load(write(tmp_path, text, "wrangler.jsonc"))
    assert (project.name, project.settings.vars, project.warnings) == ("demo", {"A": {"b": 1}}, ())


def test_a_folder_or_a_folder_below_it_finds_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "demo"')
    (tmp_path / "src" / "deep").mkdir(parents=True)
    assert find(tmp_path / "src" / "deep") == path
    assert load(tmp_path).path == path


def test_no_configuration_anywhere_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no wrangler\.json, wrangler\.jsonc or wrangler\.toml in "):
        find(tmp_path)


def test_unknown_keys_are_warnings_that_name_the_nearest_known_key(tmp_path: Path) -> None:
    text = 'compatability_date = "2026-01-01"\n[[d1_databases]]\nbinding = "DB"\ndatabse_id = "x"\nzzz = 1\n'
    assert load(write(tmp_path, text)).warnings == (
        'wrangler.toml: unknown key "compatability_date"; did you mean "compatibility_date"?',
        'wrangler.toml: unknown key "d1_databases.0.databse_id"; did you mean "d1_databases.0.database_id"?',
        'wrangler.toml: unknown key "d1_databases.0.zzz"',
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[[d1_databases]]\nbinding = 5", "d1_databases.0.binding: must be text in quotes, not 5"),
        ('[[d1_databases]]\ndatabase_id = "x"', "d1_databases.0.binding: is required"),
        ('[[d1_databases]]\nbinding = "my db"', "d1_databases.0.binding: 'my db' is not a name Python code can use"),
        ("[dev]\nport = 70000", "dev.port: 70000 is not a port (0 to 65535)"),
        ('[dev]\nport = "8787"', 'dev.port: must be a whole number, not "8787"'),
        ('name = "../evil"', "name: '../evil' is not a Worker name (letters, digits, '-' and '_', at most 63)"),
        ("compatibility_date = 2026-01-01", 'compatibility_date: must be text in quotes, not "2026-01-01"'),
        ('compatibility_date = "today"', "compatibility_date: 'today' is not a date like 2026-01-31"),
        ('d1_databases = "DB"', 'd1_databases: must be a list, not "DB"'),
        ("d1_databases = [1]", "d1_databases.0: must be a table, not 1"),
        ('[flarelet.realtime]\ndatabse = "DB"', "flarelet.realtime.databse: is not a known key"),
        ('[flarelet.realtime]\nroutes = "yes"', 'flarelet.realtime.routes: must be true or false, not "yes"'),
        ('[[flarelet.realtime.topics]]\npattern = "a"', "flarelet.realtime.topics.0.class_name: is required"),
    ],
)
def test_wrong_values_stop_the_start_with_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert str(caught.value) == f"wrangler.toml: {line}"


def test_text_that_is_not_toml_or_json_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^wrangler\.toml: not valid TOML: .*line 1"):
        load(write(tmp_path, "name = \nmain = 1"))
    with pytest.raises(ConfigError, match=r"^wrangler\.json:2:1: not valid JSON: "):
        load(write(tmp_path, '{"name":\n}', "wrangler.json"))
    with pytest.raises(ConfigError, match=r"^other\.json: must hold an object with keys, not \[1\]$"):
        load(write(tmp_path, "[1]", "other.json"))
    with pytest.raises(ConfigError, match=r"missing\.toml: no such file$"):
        load(tmp_path / "missing.toml")


def test_an_environment_inherits_settings_but_not_bindings(tmp_path: Path) -> None:
    text = FULL + '[env.prod]\n[env.prod.vars]\nGREETING = "hello"\n'
    project = load(write(tmp_path, text), "prod")
    assert project.name == "demo-prod"
    assert project.settings.main == "src/entry.py"
    assert project.settings.vars == {"GREETING": "hello"}
    assert project.settings.d1_databases == []
    assert project.settings.migrations[0].new_sqlite_classes == ["Room"]
    assert any('"d1_databases" exists at the top level, but not on "env.prod"' in line for line in project.warnings)
    assert project.settings.dev.port == 9000


def test_an_unknown_environment_names_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, '[env.prod]\nname = "p"\n')
    with pytest.raises(ConfigError) as caught:
        load(path, "staging")
    assert str(caught.value) == 'wrangler.toml: there is no environment "staging"; configured: prod'
    assert load(path, "prod").name == "p"


def test_dev_vars_of_the_environment_win_over_the_common_ones(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "demo"\n[env.prod]\n')
    (tmp_path / ".env").write_text("A=env")
    assert load(path).dev_vars == {"A": "env"}
    (tmp_path / ".dev.vars").write_text("A=common")
    assert load(path).dev_vars == {"A": "common"}
    assert load(path, "prod").dev_vars == {"A": "common"}
    (tmp_path / ".dev.vars.prod").write_text("A=prod")
    assert load(path, "prod").dev_vars == {"A": "prod"}


def test_declared_secrets_limit_what_is_taken_and_missing_ones_are_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path, '[vars]\nV = "1"\n[secrets]\nrequired = ["TOKEN", "OTHER"]\n')
    (tmp_path / ".dev.vars").write_text("TOKEN=t\nV=2\nSTRAY=x")
    project = load(path)
    assert project.dev_vars == {"TOKEN": "t", "V": "2"}
    assert project.warnings == ("wrangler.toml: secrets.required: OTHER is not set in .dev.vars",)


def test_variables_of_the_command_line_win_over_the_file(tmp_path: Path) -> None:
    project = load(write(tmp_path, FULL), overrides={"GREETING": "hey"})
    assert project.settings.vars == {"GREETING": "hey", "LIMITS": {"rows": 5}}


def test_the_local_id_of_a_database_is_chosen_as_wrangler_does(tmp_path: Path) -> None:
    text = """
    d1_databases = [
      { binding = "A" }, { binding = "B", database_id = "b" },
      { binding = "C", database_id = "c", preview_database_id = "p" },
    ]
    """
    assert [entry.local_id for entry in load(write(tmp_path, text)).settings.d1_databases] == ["A", "b", "p"]


def test_settings_that_have_no_effect_yet_are_warned_of(tmp_path: Path) -> None:
    text = '[dev]\nlocal_protocol = "https"\n'
    assert load(write(tmp_path, text)).warnings == (
        "wrangler.toml: dev.local_protocol: https is not served yet; the server speaks http",
    )
