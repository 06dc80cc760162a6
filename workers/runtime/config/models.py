"""The shape of a wrangler configuration file: every key wrangler knows, and the `[flarelet]` table of our own.

Keys that steer a deployment only are known by name and otherwise left alone, so that one file serves both tools.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from workers.runtime.config.known_keys import DEPLOYMENT, TOP_ONLY
from workers.runtime.config.realtime_access import JwtSection, RuleSection

__all__ = [
    "AiBinding",
    "AiSection",
    "Assets",
    "D1Database",
    "Dev",
    "DurableObjectBinding",
    "DurableObjects",
    "Environment",
    "Flarelet",
    "KnownBinding",
    "KvNamespace",
    "LimitsSection",
    "Migration",
    "RateLimit",
    "RealtimeSection",
    "RenamedClass",
    "Secrets",
    "Section",
    "Service",
    "SimpleLimit",
    "TopicSection",
    "Triggers",
    "VersionMetadata",
    "WorkerLoader",
    "WranglerFile",
]


def _worker_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", value):
        raise ValueError(f"{value!r} is not a Worker name (letters, digits, '-' and '_', at most 63)")
    return value


def _identifier(value: str) -> str:
    if not value.isidentifier():
        raise ValueError(f"{value!r} is not a name Python code can use")
    return value


def _date(value: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError(f"{value!r} is not a date like 2026-01-31")
    return value


def _port(value: int) -> int:
    if not 0 <= value <= 65535:
        raise ValueError(f"{value} is not a port (0 to 65535)")
    return value


def _folder(path: str) -> str:
    return path.removeprefix("./").rstrip("/") + "/"


WorkerName = Annotated[str, AfterValidator(_worker_name)]
BindingName = Annotated[str, AfterValidator(_identifier)]
ClassName = Annotated[str, AfterValidator(_identifier)]
Port = Annotated[int, AfterValidator(_port)]


class Section(BaseModel):
    """One table of the file. Unknown keys are kept aside for a warning; wrong types are errors."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, protected_namespaces=())
    also_known: ClassVar[frozenset[str]] = frozenset()
    """Keys wrangler knows here and this runtime has no use for."""


class D1Database(Section):
    """One entry of `d1_databases`."""

    also_known = frozenset({"database_internal_env", "remote"})
    binding: BindingName
    database_name: str | None = None
    database_id: str | None = None
    preview_database_id: str | None = None
    migrations_dir: str = "migrations"
    migrations_table: str = "d1_migrations"
    migrations_pattern: str | None = None

    @field_validator("migrations_pattern")
    @classmethod
    def _pattern_is_inside(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        folder = _folder(str(info.data.get("migrations_dir", "")))
        if pattern is not None and not pattern.removeprefix("./").startswith(folder):
            raise ValueError(f'must be a glob that begins with the migrations_dir, like "{folder}*.sql"')
        return pattern

    @model_validator(mode="after")
    def _pattern_has_its_folder(self) -> Self:
        if self.migrations_pattern is not None and "migrations_dir" not in self.model_fields_set:
            raise ValueError("migrations_pattern needs migrations_dir beside it, which it begins with")
        return self

    @property
    def migration_files(self) -> str:
        """Which files are migrations, as a glob from the folder `migrations_dir`."""
        if self.migrations_pattern is None:
            return "*.sql"
        return self.migrations_pattern.removeprefix("./").removeprefix(_folder(self.migrations_dir))

    @property
    def local_id(self) -> str:
        """The id that decides the local file, chosen as wrangler does."""
        return self.preview_database_id or self.database_id or self.binding


class DurableObjectBinding(Section):
    """One entry of `durable_objects.bindings`."""

    also_known = frozenset({"environment"})
    name: BindingName
    class_name: ClassName
    script_name: str | None = None


class DurableObjects(Section):
    """The `durable_objects` table."""

    bindings: list[DurableObjectBinding] = Field(default_factory=list[DurableObjectBinding])


class RenamedClass(Section):
    """One `renamed_classes` entry of a migration."""

    old: str = Field(alias="from")
    new: str = Field(alias="to")


class Migration(Section):
    """One step of `migrations`: which Durable Object classes appear, and with which storage."""

    also_known = frozenset({"transferred_classes"})
    tag: str
    new_classes: list[str] = Field(default_factory=list[str])
    new_sqlite_classes: list[str] = Field(default_factory=list[str])
    renamed_classes: list[RenamedClass] = Field(default_factory=list[RenamedClass])
    deleted_classes: list[str] = Field(default_factory=list[str])


class Triggers(Section):
    """The `triggers` table. Crons are listed, not fired: use the trigger endpoint."""

    crons: list[str] | None = None


class Secrets(Section):
    """The `secrets` table: names that must come from `.dev.vars`."""

    required: list[str] = Field(default_factory=list[str])


class Assets(Section):
    """The `assets` table (static files beside the Worker)."""

    directory: str | None = None
    binding: BindingName | None = None
    html_handling: Literal["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"] = (
        "auto-trailing-slash"
    )
    not_found_handling: Literal["none", "404-page", "single-page-application"] = "none"
    run_worker_first: bool | list[str] = False


class KvNamespace(Section):
    """One entry of `kv_namespaces`."""

    also_known = frozenset({"remote"})
    binding: BindingName
    id: str | None = None
    preview_id: str | None = None

    @property
    def local_id(self) -> str:
        """The id that decides the local files, chosen as wrangler does."""
        return self.preview_id or self.id or self.binding


class Service(Section):
    """One entry of `services`: another Worker, or an entrypoint class of it."""

    also_known = frozenset({"environment", "remote"})
    binding: BindingName
    service: str
    entrypoint: ClassName | None = None
    props: dict[str, Any] = Field(default_factory=dict[str, Any])


class SimpleLimit(Section):
    """The `simple` table of a rate limit: so many calls for a key in so many seconds."""

    limit: Annotated[int, Field(gt=0)]
    period: Literal[10, 60]


class RateLimit(Section):
    """One entry of `ratelimits`, or of `unsafe.bindings` with the type "ratelimit"."""

    also_known = frozenset({"type", "remote"})
    name: BindingName
    namespace_id: str | int | None = None
    simple: SimpleLimit


class Workflow(Section):
    """One entry of `workflows`."""

    also_known = frozenset({"limits", "remote", "schedules"})
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}$")]
    binding: BindingName
    class_name: ClassName
    script_name: str | None = None


class WorkerLoader(Section):
    """One entry of `worker_loaders`."""

    binding: BindingName


class AiBinding(Section):
    """The `ai` table."""

    also_known = frozenset({"remote", "staging"})
    binding: BindingName


class VersionMetadata(Section):
    """The `version_metadata` table."""

    binding: BindingName


class Dev(Section):
    """The `dev` table: where the local server listens."""

    also_known = frozenset(
        {
            "inspector_port",
            "inspector_ip",
            "upstream_protocol",
            "enable_containers",
            "generate_types",
            "container_engine",
            "types",
        }
    )
    ip: str | None = None
    port: Port | None = None
    host: str | None = None
    local_protocol: str | None = None


_LIMITS = ("max_", "hist", "rpc_", "sess", "pres", "sile")


class TopicSection(BaseModel):
    """One `[[flarelet.realtime.topics]]` entry: topics that match the pattern are objects of the class."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    pattern: Annotated[str, Field(min_length=1)]
    class_name: ClassName = "TopicObject"
    persist: bool | None = None
    history_limit: int | None = None
    delivery: Literal["resync", "drop_oldest", "conflate", "coalesce", "close"] | None = None


class RealtimeSection(BaseModel):
    """The `[flarelet.realtime]` table. A misspelt key here would change who may read what, so it is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    database: str | None = None
    binding: BindingName = "REALTIME"
    project: str | None = None
    routes: bool = True
    public_keys: list[str] = Field(default_factory=list[str])
    secret_keys: list[str] = Field(default_factory=list[str])
    topics: list[TopicSection] = Field(default_factory=list[TopicSection])
    slug: str | None = None
    max_frame_bytes: int | None = None
    max_topic_bytes: int | None = None
    max_topics: int | None = None
    max_spellings: int | None = None
    max_state_bytes: int | None = None
    max_waiting: int | None = None
    history_limit: int | None = None
    history_age_s: float | None = None
    history_bytes: int | None = None
    history_page: int | None = None
    history_page_max: int | None = None
    rpc_max_bytes: int | None = None
    max_sessions: int | None = None
    max_session_topics: int | None = None
    max_session_bytes: int | None = None
    max_sessions_bytes: int | None = None
    session_grace_s: float | None = None
    session_moment_s: float | None = None
    session_overlap_s: float | None = None
    presence_grace_s: float | None = None
    silence_s: float | None = None
    jwt: JwtSection | None = None
    rules: list[RuleSection] = Field(default_factory=list[RuleSection])
    topic_access: Literal["allow", "deny"] | None = None
    table_access: Literal["allow", "deny"] | None = None
    max_client_rate: Annotated[float, Field(ge=0, strict=False)] | None = None
    max_client_burst: int | None = None
    max_topic_rate: Annotated[float, Field(ge=0, strict=False)] | None = None
    max_topic_burst: int | None = None
    max_snapshot_rows: int | None = None
    max_queue_bytes: int | None = None
    max_queue_frames: int | None = None
    table_max_changes: Annotated[int, Field(ge=1)] = 20_000
    table_max_change_bytes: Annotated[int, Field(ge=1_048_576)] = 67_108_864
    table_log_rows: Annotated[int, Field(ge=1)] = 10_000
    table_log_bytes: Annotated[int, Field(ge=1)] = 16_777_216
    table_log_age_s: Annotated[float, Field(gt=0, strict=False)] = 3600
    table_grace_s: Annotated[float, Field(ge=0, strict=False)] = 120

    def limits(self) -> dict[str, Any]:
        """Return the optional settings that the file gives a value to."""
        limits = {name for name in type(self).model_fields if name[:4] in _LIMITS}
        given = self.model_dump(include={"slug", "topic_access", "table_access", *limits})
        return {name: value for name, value in given.items() if value is not None}


class LimitsSection(BaseModel):
    """The `[flarelet.limits]` table: how long code of a Worker may take. 0 is no limit."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    handler_s: Annotated[float, Field(ge=0)] = 100.0
    """Until a `fetch` handler has returned its response; streams and sockets go on after that."""
    busy_s: Annotated[float, Field(ge=0)] = 30.0
    """Until code that lets nothing else run is interrupted."""


class AiSection(BaseModel):
    """The `[flarelet.ai]` table: what answers `env.AI`. Without `base_url` it is the demo model."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)
    base_url: str | None = None
    api_key: str | None = Field(default=None, pattern=r"^[!-~]+$", repr=False)
    model: str | None = None
    models: dict[str, str] = Field(default_factory=dict[str, str])
    timeout_s: Annotated[float, Field(gt=0, strict=False)] = 60.0

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", value):
            raise ValueError("must be an address such as http://localhost:11434/v1, without a key or a query")
        return value

    @model_validator(mode="after")
    def _has_an_endpoint(self) -> Self:
        if self.base_url is None and self.model_fields_set & {"api_key", "model", "models", "timeout_s"}:
            raise ValueError("base_url is missing: the endpoint that the other keys are about")
        return self


class Flarelet(BaseModel):
    """The `[flarelet]` table: what wrangler does not have."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    plan: Literal["paid", "free"] = "paid"
    """Whose limits hold where they depend on it."""
    limits: LimitsSection = Field(default_factory=LimitsSection)
    realtime: RealtimeSection | None = None
    ai: AiSection | None = None


class KnownBinding(Section):
    """A binding of a kind that is read here but not served yet."""

    model_config = ConfigDict(strict=False, extra="ignore", frozen=True)
    binding: str | None = None
    name: str | None = None


Bindings = list[KnownBinding]


class Environment(Section):
    """The keys that may stand at the top of the file and under `env.<name>`."""

    also_known = DEPLOYMENT
    name: WorkerName | None = None
    main: str | None = None
    compatibility_date: Annotated[str, AfterValidator(_date)] | None = None
    compatibility_flags: list[str] = Field(default_factory=list[str])
    vars: dict[str, Any] = Field(default_factory=dict[str, Any])
    secrets: Secrets | None = None
    d1_databases: list[D1Database] = Field(default_factory=list[D1Database])
    durable_objects: DurableObjects = Field(default_factory=DurableObjects)
    migrations: list[Migration] = Field(default_factory=list[Migration])
    triggers: Triggers = Field(default_factory=Triggers)
    assets: Assets | None = None
    version_metadata: VersionMetadata | None = None
    kv_namespaces: list[KvNamespace] = Field(default_factory=list[KvNamespace])
    r2_buckets: Bindings = Field(default_factory=Bindings)
    queues: dict[str, Any] = Field(default_factory=dict[str, Any])
    services: list[Service] = Field(default_factory=list[Service])
    workflows: list[Workflow] = Field(default_factory=list[Workflow])
    ratelimits: list[RateLimit] = Field(default_factory=list[RateLimit])
    unsafe: dict[str, Any] = Field(default_factory=dict[str, Any])
    analytics_engine_datasets: Bindings = Field(default_factory=Bindings)
    vectorize: Bindings = Field(default_factory=Bindings)
    hyperdrive: Bindings = Field(default_factory=Bindings)
    send_email: Bindings = Field(default_factory=Bindings)
    mtls_certificates: Bindings = Field(default_factory=Bindings)
    secrets_store_secrets: Bindings = Field(default_factory=Bindings)
    vpc_services: Bindings = Field(default_factory=Bindings)
    vpc_networks: Bindings = Field(default_factory=Bindings)
    pipelines: Bindings = Field(default_factory=Bindings)
    dispatch_namespaces: Bindings = Field(default_factory=Bindings)
    ai_search: Bindings = Field(default_factory=Bindings)
    ai_search_namespaces: Bindings = Field(default_factory=Bindings)
    artifacts: Bindings = Field(default_factory=Bindings)
    unsafe_hello_world: Bindings = Field(default_factory=Bindings)
    flagship: KnownBinding | Bindings | None = None
    stream: KnownBinding | None = None
    worker_loaders: list[WorkerLoader] = Field(default_factory=list[WorkerLoader])
    images: KnownBinding | None = None
    media: KnownBinding | None = None
    ai: AiBinding | None = None
    browser: KnownBinding | None = None
    flarelet: Flarelet | None = None


class WranglerFile(Environment):
    """A whole configuration file."""

    also_known = DEPLOYMENT | TOP_ONLY
    dev: Dev = Field(default_factory=Dev)
    env: dict[str, Environment] = Field(default_factory=dict[str, Environment])
