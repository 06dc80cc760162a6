"""Keys of a wrangler configuration that this runtime knows by name only.

They steer a deployment, a bundler or a service that is not served here. One file serves both tools: such a key is
accepted, a misspelt one inside of it is named, and where its absence would be noticed a line says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

__all__ = ["DEPLOYMENT", "INSIDE", "NOT_SERVED", "TOP_ONLY", "not_served", "unknown_inside"]

DEPLOYMENT = frozenset(
    {
        "account_id",
        "base_dir",
        "build",
        "cache",
        "cloudchamber",
        "compliance_region",
        "containers",
        "data_blobs",
        "define",
        "find_additional_modules",
        "first_party_worker",
        "jsx_factory",
        "jsx_fragment",
        "keep_names",
        "limits",
        "logfwdr",
        "logpush",
        "minify",
        "no_bundle",
        "observability",
        "placement",
        "preserve_file_names",
        "preview_urls",
        "previews",
        "python_modules",
        "route",
        "routes",
        "rules",
        "streaming_tail_consumers",
        "tail_consumers",
        "text_blobs",
        "tsconfig",
        "upload_source_maps",
        "usage_model",
        "wasm_modules",
        "workers_dev",
        "zone_id",
    }
)
"""Keys of every environment that mean nothing on this machine."""

TOP_ONLY = frozenset({"$schema", "send_metrics", "keep_vars", "legacy_env", "site", "alias", "pages_build_output_dir"})
"""Such keys that stand at the top of a file only."""

_ROUTE = "custom_domain enabled pattern previews_enabled zone_id zone_name"
_LOGS = "destinations enabled head_sampling_rate persist"

INSIDE = {
    key: frozenset(names.split())
    for key, names in {
        "ai": "binding remote staging",
        "ai_search": "binding instance_name remote",
        "ai_search_namespaces": "binding namespace remote",
        "analytics_engine_datasets": "binding dataset remote",
        "artifacts": "binding namespace remote",
        "browser": "binding remote",
        "build": "command cwd watch_dir",
        "cloudchamber": "image instance_type ipv4 location memory vcpu",
        "containers": "authorized_keys class_name configuration constraints durable_objects image image_build_context "
        "image_vars instance_type instances max_instances name observability rollout_active_grace_period rollout_kind "
        "rollout_step_percentage scheduling_policy ssh trusted_user_ca_keys wrangler_ssh",
        "dispatch_namespaces": "binding namespace outbound remote",
        "dispatch_namespaces.outbound": "environment parameters service",
        "flagship": "app_id binding remote",
        "hyperdrive": "binding id localConnectionString remote",
        "images": "binding remote",
        "limits": "cpu_ms subrequests",
        "logfwdr": "bindings",
        "media": "binding remote",
        "mtls_certificates": "binding certificate_id remote",
        "observability": "enabled head_sampling_rate logs traces",
        "observability.logs": f"{_LOGS} invocation_logs",
        "observability.traces": _LOGS,
        "pipelines": "binding pipeline remote stream",
        "placement": "hint host hostname mode region",
        "python_modules": "exclude",
        "queues": "consumers producers",
        "queues.consumers": "dead_letter_queue max_batch_size max_batch_timeout max_concurrency max_retries queue "
        "retry_delay type visibility_timeout_ms",
        "queues.producers": "binding delivery_delay queue remote",
        "r2_buckets": "binding bucket_name jurisdiction preview_bucket_name remote",
        "route": _ROUTE,
        "routes": _ROUTE,
        "rules": "fallthrough globs type",
        "secrets_store_secrets": "binding secret_name store_id",
        "send_email": "allowed_destination_addresses allowed_sender_addresses destination_address name remote",
        "site": "bucket entry-point exclude include",
        "stream": "binding remote",
        "streaming_tail_consumers": "service",
        "tail_consumers": "environment service",
        "unsafe": "bindings capnp metadata",
        "unsafe_hello_world": "binding enable_timer",
        "vectorize": "binding index_name remote",
        "vpc_networks": "binding network_id remote tunnel_id",
        "vpc_services": "binding remote service_id",
        "worker_loaders": "binding",
        "workflows": "binding class_name limits name remote schedules script_name",
    }.items()
}
"""What may stand inside of a key, by the path to it."""

NOT_SERVED = {
    "build.command": "the build command is not run here; run it before",
    "containers": "containers are not served",
    "queues.consumers": "queues are not served yet; the queue handler is never called",
    "site": "Workers Sites is not served; use [assets]",
    "tail_consumers": "tail Workers are not served yet",
    "streaming_tail_consumers": "tail Workers are not served yet",
}
"""Keys whose absence would be noticed, with what to say; bindings say it by themselves."""


def not_served(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key that asks for something which is not served."""
    for path, text in NOT_SERVED.items():
        value: Any = raw
        for part in path.split("."):
            value = cast(Mapping[str, Any], value).get(part) if isinstance(value, dict) else None
        if value:
            yield f"{path}: {text}"


def unknown_inside(raw: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield what is unknown inside of the keys known by name: where it stands, its name, the names known there."""
    for key, value in raw.items():
        inner = f"{path}{key}"
        for place, table in _tables(inner, value):
            known = INSIDE.get(inner)
            if known is None:
                continue
            for name in table:
                if name not in known:
                    yield f"{place}.", name, known
            for name in table:
                if f"{inner}.{name}" in INSIDE:
                    yield from (
                        (f"{place}.{found[0].removeprefix(f'{inner}.')}", *found[1:])
                        for found in unknown_inside({name: table[name]}, f"{inner}.")
                    )


def _tables(path: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, dict):
        yield path, cast(Mapping[str, Any], value)
    elif isinstance(value, list):
        for number, item in enumerate(cast(list[Any], value)):
            if isinstance(item, dict):
                yield f"{path}.{number}", cast(Mapping[str, Any], item)
