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


RT_HINT = 'flarelet.realtime.databse: is not a known key; did you mean "flarelet.realtime.database"?'


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
        ('[flarelet.realtime]\ndatabse = "DB"', RT_HINT),
        ('[flarelet.realtime]\nroutes = "yes"', 'flarelet.realtime.routes: must be true or false, not "yes"'),
        ("[[flarelet.realtime.topics]]\npersist = true", "flarelet.realtime.topics.0.pattern: is required"),
        (
            '[[flarelet.realtime.topics]]\npattern = "a"\nclas_name = "B"',
            "flarelet.realtime.topics.0.clas_name: is not a known key; "
            'did you mean "flarelet.realtime.topics.0.class_name"?',
        ),
        ("[flarelet.limit]", 'flarelet.limit: is not a known key; did you mean "flarelet.limits"?'),
        (
            "[env.test.flarelet.realtime]\nroute = true",
            'env.test.flarelet.realtime.route: is not a known key; did you mean "env.test.flarelet.realtime.routes"?',
        ),
        ("[flarelet.limits]\nbusy_s = -1", "flarelet.limits.busy_s: Input should be greater than or equal to 0"),
        (
            'compatibility_flags = ["rpc", "no_rpc"]',
            'compatibility_flags: "rpc" and "no_rpc" contradict each other',
        ),
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


EVERY_KEY = """
name = "demo"
main = "src/entry.py"
account_id = "a"
base_dir = "."
build = { command = "", cwd = ".", watch_dir = "src" }
find_additional_modules = true
limits = { cpu_ms = 50, subrequests = 10 }
logpush = true
minify = false
no_bundle = true
observability = { enabled = true, logs = { enabled = true, invocation_logs = true } }
placement = { mode = "smart" }
preview_urls = false
python_modules = { exclude = ["**/*.pyc"] }
routes = ["a.test/*", { pattern = "b.test", custom_domain = true }]
rules = [{ type = "Text", globs = ["**/*.txt"], fallthrough = true }]
send_metrics = false
keep_vars = true
upload_source_maps = true
workers_dev = true
compatibility_date = "2026-01-01"
compatibility_flags = ["python_workers", "nodejs_compat"]
r2_buckets = [{ binding = "FILES", bucket_name = "files", jurisdiction = "eu", remote = false }]
queues = { producers = [{ binding = "JOBS", queue = "jobs", delivery_delay = 1 }] }
analytics_engine_datasets = [{ binding = "STATS", dataset = "d" }]
vectorize = [{ binding = "VECTORS", index_name = "i" }]
hyperdrive = [{ binding = "PG", id = "x", localConnectionString = "postgres://x" }]
send_email = [{ name = "MAIL", allowed_destination_addresses = ["a@b.c"] }]
pipelines = [{ binding = "PIPE", pipeline = "p" }]
dispatch_namespaces = [{ binding = "OTHERS", namespace = "n", outbound = { service = "s", parameters = ["a"] } }]
vpc_networks = [{ binding = "NET", network_id = "n" }]
stream = { binding = "VIDEO" }
"""


def test_every_key_of_wrangler_is_known(tmp_path: Path) -> None:
    assert load(write(tmp_path, EVERY_KEY)).warnings == ()


def test_a_misspelt_key_inside_of_what_is_not_served_is_named_too(tmp_path: Path) -> None:
    text = (
        '[[r2_buckets]]\nbinding = "A"\nbuket_name = "x"\n[observability.logs]\nenable = true\n'
        '[[env.test.routes]]\npatern = "x"\n[[queues.consumers]]\nqueue = "q"\nmax_retry = 1\n'
    )
    assert load(write(tmp_path, text)).warnings == (
        'wrangler.toml: unknown key "r2_buckets.0.buket_name"; did you mean "r2_buckets.0.bucket_name"?',
        'wrangler.toml: unknown key "observability.logs.enable"; did you mean "observability.logs.enabled"?',
        'wrangler.toml: unknown key "queues.consumers.0.max_retry"; did you mean "queues.consumers.0.max_retries"?',
        'wrangler.toml: unknown key "env.test.routes.0.patern"; did you mean "env.test.routes.0.pattern"?',
        "wrangler.toml: queues.consumers: queues are not served yet; the queue handler is never called",
    )


def test_what_is_not_served_and_would_be_missed_is_said_in_a_line(tmp_path: Path) -> None:
    text = 'build = { command = "make" }\n[[containers]]\nclass_name = "C"\n[site]\nbucket = "public"\n'
    assert load(write(tmp_path, text)).warnings == (
        "wrangler.toml: build.command: the build command is not run here; run it before",
        "wrangler.toml: containers: containers are not served",
        "wrangler.toml: site: Workers Sites is not served; use [assets]",
    )


def test_an_unknown_compatibility_flag_is_named_with_the_nearest(tmp_path: Path) -> None:
    text = 'compatibility_flags = ["python_worker", "made_up"]\n'
    odd = "wrangler.toml: compatibility_flags: this runtime does not know"
    assert load(write(tmp_path, text)).warnings == (
        f'{odd} "python_worker"; did you mean "python_workers"?',
        f'{odd} "made_up" and knows none like it',
    )


def test_a_wrong_cron_is_a_warning(tmp_path: Path) -> None:
    (warning,) = load(write(tmp_path, '[triggers]\ncrons = ["0 0 * * *", "0 0 * * 9"]\n')).warnings
    assert warning.startswith("wrangler.toml: triggers.crons.1: '0 0 * * 9': day of the week: '9' is not 1 to 7")


def test_a_variable_of_the_command_line_wins_over_files(tmp_path: Path) -> None:
    path = write(tmp_path, '[vars]\nA = "file"\nB = "file"\n')
    (tmp_path / ".dev.vars").write_text("A=secret\nB=secret\nC=secret\n")
    project = load(path, None, {"A": "line"})
    assert {**project.settings.vars, **project.dev_vars} == {"A": "line", "B": "secret", "C": "secret"}


def test_the_environment_of_the_process_counts_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "process")
    (tmp_path / ".env").write_text("B=file\n")
    path = write(tmp_path, 'name = "demo"')
    assert "A_SECRET" not in load(path).dev_vars
    monkeypatch.setenv("CLOUDFLARE_INCLUDE_PROCESS_ENV", "true")
    assert (load(path).dev_vars["A_SECRET"], load(path).dev_vars["B"]) == ("process", "file")
