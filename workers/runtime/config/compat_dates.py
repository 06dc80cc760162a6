"""Compatibility dates and flags of Cloudflare Workers as one table.

A flag is on when the configuration names it, or from its date on, unless the configuration names its opposite. Most
flags steer JavaScript and have nothing to do here; they are known so that a misspelt one can be told from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["FLAGS", "Flag", "contradictions", "flags_on", "unknown_flags"]

_TABLE = """
2024-09-02 allow_custom_ports ignore_custom_ports
2025-06-01 allow_eval_during_startup disallow_eval_during_startup
-          allow_insecure_inefficient_logged_eval
-          allow_irrevocable_stub_storage
2025-04-01 assets_navigation_prefers_asset_serving assets_navigation_has_no_effect
-          auto_grpc_convert
2025-06-16 bind_asynclocalstorage_snapshot_to_request do_not_bind_asynclocalstorage_snapshot_to-request
2024-06-03 blob_standard_mime_type blob_legacy_mime_type
2024-04-29 brotli_content_encoding no_brotli_content_encoding
2025-04-19 cache_api_compat_flags no_cache_api_compat_flags
2025-05-19 cache_api_request_cf_overrides_cache_rules no_cache_api_request_cf_overrides_cache_rules
-          cache_no_cache_enabled cache_no_cache_disabled
2024-11-11 cache_option_enabled cache_option_disabled
-          cache_reload_enabled cache_reload_disabled
2022-10-31 capture_async_api_throws do_not_capture_async_api_throws
-          connect_pass_through
2026-04-01 containers_pid_namespace no_containers_pid_namespace
2023-12-01 crypto_preserve_public_exponent no_crypto_preserve_public_exponent
2026-02-24 delete_all_deletes_alarm delete_all_preserves_alarm
2026-05-19 diagnostics_channel_has_subscribers_getter no_diagnostics_channel_has_subscribers_getter
2024-12-02 disable_top_level_await_in_require enable_top_level_await_in_require
-          disallow_importable_env allow_importable_env
2022-06-01 dont_substitute_null_on_type_error substitute_null_on_type_error
-          durable_object_alarms
2021-11-10 durable_object_fetch_requires_full_url durable_object_fetch_allows_relative_url
-          durable_object_get_existing
-          durable_object_rename
2023-03-01 dynamic_dispatch_tunnel_exceptions dynamic_dispatch_treat_exceptions_as_500
-          enable_abortsignal_rpc
2025-11-17 enable_ctx_exports disable_ctx_exports
-          enable_ctx_version_metadata
-          enable_d1_with_sessions_api
-          enable_email_sending_queuing disable_email_sending_queuing
2025-12-03 enable_fast_jsg_struct disable_fast_jsg_struct
-          enable_global_performance_classes disable_global_performance_classes
2025-05-19 enable_navigator_language disable_navigator_language
-          enable_nodejs_child_process_module disable_nodejs_child_process_module
-          enable_nodejs_cluster_module disable_nodejs_cluster_module
-          enable_nodejs_console_module disable_nodejs_console_module
-          enable_nodejs_dgram_module disable_nodejs_dgram_module
-          enable_nodejs_domain_module disable_nodejs_domain_module
-          enable_nodejs_fs_module disable_nodejs_fs_module
-          enable_nodejs_global_timers no_nodejs_global_timers
-          enable_nodejs_http2_module disable_nodejs_http2_module
-          enable_nodejs_http_modules disable_nodejs_http_modules
-          enable_nodejs_http_server_modules disable_nodejs_http_server_modules
-          enable_nodejs_inspector_local_dev
-          enable_nodejs_inspector_module disable_nodejs_inspector_module
-          enable_nodejs_os_module disable_nodejs_os_module
-          enable_nodejs_perf_hooks_module disable_nodejs_perf_hooks_module
-          enable_nodejs_process_v2 disable_nodejs_process_v2
-          enable_nodejs_punycode_module disable_nodejs_punycode_module
-          enable_nodejs_readline_module disable_nodejs_readline_module
-          enable_nodejs_repl_module disable_nodejs_repl_module
-          enable_nodejs_sqlite_module disable_nodejs_sqlite_module
-          enable_nodejs_stream_wrap_module disable_nodejs_stream_wrap_module
-          enable_nodejs_trace_events_module disable_nodejs_trace_events_module
-          enable_nodejs_tty_module disable_nodejs_tty_module
-          enable_nodejs_v8_module disable_nodejs_v8_module
-          enable_nodejs_vm_module disable_nodejs_vm_module
-          enable_nodejs_wasi_module disable_nodejs_wasi_module
-          enable_nodejs_worker_threads_module disable_nodejs_worker_threads_module
2026-04-21 enable_python_external_sdk disable_python_external_sdk
-          enable_request_signal disable_request_signal
-          enable_streams_nodejs_v24_compat disable_streams_nodejs_v24_compat
2025-09-20 enable_validate_workflow_entrypoint disable_validate_workflow_entrypoint
-          enable_version_api
2025-05-05 enable_weak_ref disable_weak_ref
-          enable_web_file_system
2026-03-24 encoder_stream_spec_compliant_backpressure no_encoder_stream_spec_compliant_backpressure
2026-04-21 enhanced_error_serialization legacy_error_serialization
-          env_module_nullable_support no_env_module_nullable_support
-          experimental
2022-10-31 export_commonjs_default export_commonjs_namespace
2025-08-15 expose_global_message_channel no_expose_global_message_channel
2026-02-19 fetch_iterable_type_support no_fetch_iterable_type_support
-          fetch_iterable_type_support_override_adjustment no_fetch_iterable_type_support_override_adjustment
2021-11-10 fetch_refuses_unknown_protocols fetch_treats_unknown_protocols_as_http
2024-06-03 fetch_standard_url fetch_legacy_url
2024-03-26 fetcher_no_get_put_delete fetcher_has_get_put_delete
2024-12-16 fixup-transform-stream-backpressure original-transform-stream-backpressure
2021-11-03 formdata_parser_supports_files formdata_parser_converts_files_to_strings
-          global_fetch_strictly_public global_fetch_private_origin
2022-03-21 global_navigator no_global_navigator
2024-10-14 handle_cross_request_promise_resolution no_handle_cross_request_promise_resolution
-          html_rewriter_treats_esi_include_as_void_tag
2023-03-01 http_headers_getsetcookie no_http_headers_getsetcookie
-          immutable_api_prototypes mutable_api_prototypes
-          increase_websocket_message_size
2024-05-13 internal_stream_byob_return_view internal_stream_byob_return_undefined
2024-09-02 internal_writable_stream_abort_clears_queue internal_writable_stream_abort_does_not_clear_queue
-          js_rpc
-          kv_direct_binding
-          memory_cache_delete
2022-04-05 minimal_subrequests no_minimal_subrequests
-          new_module_registry legacy_module_registry
2023-08-01 no_cf_botmanagement_default cf_botmanagement_default
2022-03-08 no_cots_on_external_fetch cots_on_external_fetch
2024-03-04 no_global_importscripts global_importscripts
-          no_resizable_array_buffer_in_blob resizable_array_buffer_in_blob
-          nodejs_als no_nodejs_als
-          nodejs_compat no_nodejs_compat
-          nodejs_compat_populate_process_env nodejs_compat_do_not_populate_process_env
-          nodejs_compat_v2 no_nodejs_compat_v2
-          nodejs_zlib no_nodejs_zlib
-          nonclass_entrypoint_reuses_ctx_across_invocations
-          pedantic_wpt non_pedantic_wpt
-          precise_timers no_precise_timers
-          python_check_rng_state disable_python_check_rng_state
-          python_dedicated_snapshot disable_python_dedicated_snapshot
-          python_external_packages
2025-08-14 python_no_global_handlers disable_python_no_global_handlers
2026-05-26 python_process_pth_files disable_python_process_pth_files
2026-02-17 python_request_headers_preserve_commas disable_python_request_headers_preserve_commas
-          python_workers
-          python_workers_20250116 no_python_workers_20250116
-          python_workers_20260610 no_python_workers_20260610
-          python_workers_development
-          python_workers_durable_objects
2025-08-11 python_workers_force_new_vendor_path
-          python_workflows disable_python_workflows
-          python_workflows_implicit_dependencies no_python_workflows_implicit_dependencies
-          queue_consumer_no_wait_for_wait_until queue_consumer_wait_for_wait_until
2026-03-12 queue_expose_error_codes no_queue_expose_error_codes
2024-03-18 queues_json_messages no_queues_json_messages
2022-08-04 r2_list_honor_include
-          r2_public_beta_bindings r2_internal_beta_bindings
-          remove_nodejs_compat_eol add_nodejs_compat_eol
-          remove_nodejs_compat_eol_v22 add_nodejs_compat_eol_v22
-          remove_nodejs_compat_eol_v23 add_nodejs_compat_eol_v23
-          remove_nodejs_compat_eol_v24 add_nodejs_compat_eol_v24
-          replica_routing
2025-04-02 request_cf_overrides_cache_rules no_request_cf_overrides_cache_rules
-          request_signal_passthrough no_request_signal_passthrough
2026-01-22 require_returns_default_export require_returns_namespace
2023-03-14 response_redirect_url_standard response_redirect_url_original
2024-04-03 rpc no_rpc
2026-01-20 rpc_params_dup_stubs rpc_params_transfer_stubs
-          rtti_api
-          service_binding_extra_handlers
2025-08-01 set_event_target_this no_set_event_target_this
2025-08-01 set_forwardable_email_full_headers set_forwardable_email_single_headers
2024-09-26 set_tostring_tag do_not_set_tostring_tag
-          spec_compliant_property_attributes no_spec_compliant_property_attributes
-          streaming_tail_worker
2021-11-10 streams_byob_reader_detaches_buffer streams_byob_reader_does_not_detach_buffer
2022-11-30 streams_enable_constructors streams_disable_constructors
-          streams_no_default_auto_allocate_chunk_size streams_auto_allocate_chunk_size_default
2023-08-01 strict_compression_checks no_strict_compression_checks
2023-08-01 strict_crypto_checks no_strict_crypto_checks
2025-09-01 strip_authorization_on_cross_origin_redirect retain_authorization_on_cross_origin_redirect
2026-01-13 strip_bom_in_read_all_text do_not_strip_bom_in_read_all_text
-          tail_worker_user_spans
-          tcp_sockets_support
2026-03-03 text_decoder_cjk_decoder disable_text_decoder_cjk_decoder
2026-02-24 text_decoder_replace_surrogates disable_text_decoder_replace_surrogates
2026-06-16 throw_on_not_implemented_tls_options no_throw_on_not_implemented_tls_options
2025-06-16 throw_on_unrecognized_import_assertion ignore_unrecognized_import_assertion
2022-11-30 transformstream_enable_standard_constructor transformstream_disable_standard_constructor
-          typescript_strip_types
2026-03-03 unhandled_rejection_after_microtask_checkpoint no_unhandled_rejection_after_microtask_checkpoint
2025-03-10 unique_ctx_per_invocation
-          unsafe_module
-          unsupported_process_actual_platform
2024-04-01 unwrap_custom_thenables no_unwrap_custom_thenables
2024-10-14 upper_case_all_http_methods no_upper_case_all_http_methods
2022-10-31 url_standard url_original
2025-05-01 urlpattern_standard urlpattern_original
2023-07-01 urlsearchparams_delete_has_value_arg no_urlsearchparams_delete_has_value_arg
2023-11-08 vectorize_query_metadata_optional vectorize_query_original
2026-04-07 web_socket_auto_reply_to_close web_socket_manual_reply_to_close
2023-08-15 web_socket_compression no_web_socket_compression
2026-03-03 websocket_close_reason_byte_limit no_websocket_close_reason_byte_limit
2026-03-17 websocket_standard_binary_type no_websocket_standard_binary_type
2022-01-31 workers_api_getters_setters_on_prototype workers_api_getters_setters_on_instance
2026-05-14 workflows_preserve_non_retryable_error_message workflows_replace_non_retryable_error_message
-          workflows_step_rollback
2026-03-24 writable_stream_spec_compliant_writer no_writable_stream_spec_compliant_writer
"""

_EFFECTS = {
    "python_workers": "none needed: every Worker here is Python",
    "python_no_global_handlers": "a `Default` class comes before `on_fetch` and `on_scheduled` with and without it",
    "python_workflows": "none needed",
    "disallow_importable_env": "`from workers import env` works with and without it",
    "experimental": "nothing is hidden behind it",
    "rpc": "methods can be called with and without it",
    "js_rpc": "methods can be called with and without it",
    "web_socket_compression": "frames are compressed for whoever offers it, whatever the date",
    "global_fetch_strictly_public": "`fetch` reaches what this machine reaches",
    "allow_custom_ports": "`fetch` uses the port of its URL with and without it",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One compatibility flag."""

    name: str
    date: str
    """From which compatibility date on it is on by itself; empty for never."""
    opposite: str
    """The flag that turns it off; empty if there is none."""
    effect: str
    """What it does here; empty for nothing."""


def _read() -> dict[str, Flag]:
    found: dict[str, Flag] = {}
    for line in _TABLE.split("\n"):
        if line:
            date, name, *opposite = line.split()
            effect = _EFFECTS.get(name, "")
            found[name] = Flag(name, date.strip("-") and date, opposite[0] if opposite else "", effect)
    return found


FLAGS = _read()
"""Every flag by its name."""

_OPPOSITES = {flag.opposite: flag.name for flag in FLAGS.values() if flag.opposite}


def flags_on(date: str | None, named: Iterable[str]) -> frozenset[str]:
    """Return the flags that are on: those a date brings and those that are named, opposites taken away.

    Flags that another one brings along (those of Node.js modules) are not counted.

    Args:
        date: The configuration's compatibility date; without one it is the newest.
        named: The configuration's compatibility flags; unknown ones count as they are.
    """
    named = frozenset(named)
    by_date = frozenset(flag.name for flag in FLAGS.values() if flag.date and (date is None or flag.date <= date))
    return (by_date | named) - {_OPPOSITES[name] for name in named if name in _OPPOSITES}


def unknown_flags(named: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each flag that is in no list, and the known one that is most like it."""
    import difflib  # only for those who misspell

    known = FLAGS.keys() | _OPPOSITES.keys()
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
            yield name, near[0] if near else None


def contradictions(named: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each pair of flags of which one turns the other off."""
    named = frozenset(named)
    for name in sorted(named):
        if _OPPOSITES.get(name) in named:
            yield _OPPOSITES[name], name
