"""Writes the reference pages that come from the code: error codes, configuration keys, the command line.

`--check` writes nothing and fails when a page is not what the code says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from d1_limits import limits_page
from realtime_protocol import protocol_page

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by `make docs` from the code. Do not edit. -->\n\n"


def errors_page() -> str:
    """Return the table of everything a realtime client can be told."""
    from durable_objects.realtime.core.codes import Code

    rows = "".join(
        f"| {code.number} | `{code.name}` | {'yes' if code.retry else 'no'} | {code.status} | {_comment(code.name)} |\n"
        for code in Code
    )
    return (
        "# Error codes of the realtime protocol\n\n"
        "A refused frame is answered with\n"
        '`{"type": "error", "code": N, "name": "NAME", "message": "...", "retry": bool}`.\n'
        'HTTP answers carry the name as `code`: `{"error": {"code": "NAME", ...}}` from the RPC endpoint, flat\n'
        '`{"code": "NAME", ...}` from a refused upgrade and from the history endpoint. Numbers are never reused.\n\n'
        "| code | name | worth retrying | HTTP status | meaning |\n| --- | --- | --- | --- | --- |\n" + rows
    )


def _comment(name: str) -> str:
    return MEANINGS[name]


MEANINGS = {
    "UNAUTHORIZED": "no key, or one this server does not know",
    "FORBIDDEN": "the key is known but may not do this (a public key at a server endpoint)",
    "TOKEN_NOT_VERIFIED": "a token was given that this server cannot verify",
    "TOKEN_EXPIRED": "the token was good, and its time is over",
    "REVOKED": "the server took the connection's access to this topic, or to everything, back",
    "NOT_JSON": "the frame is not JSON",
    "NOT_AN_OBJECT": "the frame is JSON, but not an object",
    "UNKNOWN_TYPE": "the frame's `type` is not one of the protocol",
    "BAD_FIELD": "a field is missing or has the wrong type; `field` names it",
    "TOO_BIG": "the frame or a part of it is over its limit",
    "BAD_TOPIC": "the topic name is empty, too long or has forbidden characters",
    "BINARY_FRAME": "a binary frame; the protocol is JSON text",
    "TOO_MANY_TOPICS": "the connection uses as many topics or spellings as it may",
    "REFUSED": "the topic's class refused it; the message is its own",
    "HANDLER_FAILED": "a hook of the topic's class raised an exception; it is in the server's log",
    "NO_SUCH_TABLE": "the database has no such table (the subscription stands and begins when it is created)",
    "TOPIC_UNAVAILABLE": "the topic's object could not be reached or was reset",
    "OVERLOADED": "too many commands wait for this topic",
    "NOT_STORED": "the message could not be written; it was not delivered either",
    "RATE_LIMITED": "more frames or publishes than allowed; `retryAfterMs` says when there is room again",
    "BAD_FILTER": "a filter names an unknown comparison or has the wrong shape; `field` names the place",
    "NO_SNAPSHOT": "a table's rows could not be read, or are more than a snapshot may have",
    "NO_SUCH_STREAM": "no stream of that id is running on the topic",
    "BAD_REQUEST": "the HTTP request's body or parameters are wrong",
    "UNKNOWN_METHOD": "no such RPC method",
    "BAD_SQL": "SQLite refused the statement; the message is SQLite's",
    "CROSS_SITE": "a browser page of another site called a server endpoint",
    "NOT_FOUND": "no such path",
    "METHOD_NOT_ALLOWED": "the path exists, the HTTP method does not fit",
    "UPGRADE_REQUIRED": "the path speaks WebSocket only",
}


def config_page() -> str:
    """Return the keys of `[flarelet.realtime]` with their defaults."""
    from dataclasses import MISSING, fields

    from durable_objects.realtime.core.settings import RealtimeSettings
    from workers.runtime.config.models import AiSection, LimitsSection, RealtimeSection

    defaults = {field.name: field.default for field in fields(RealtimeSettings) if field.default is not MISSING}
    limits = "".join(
        f"| `{name}` | `{field.default:g}` | {LIMITS[name]} |\n" for name, field in LimitsSection.model_fields.items()
    )
    ai = "".join(
        f"| `{name}` | {f'`{field.default:g}`' if isinstance(field.default, float) else '-'} | {AI[name]} |\n"
        for name, field in AiSection.model_fields.items()
    )
    rows = ""
    for name, field in RealtimeSection.model_fields.items():
        default = [] if field.default_factory is not None else (field.default or defaults.get(name))
        shown = "-" if default in (None, "") else f"`{json.dumps(default)}`"
        rows += f"| `{name}` | {shown} | {CONFIG[name]} |\n"
    return (
        "# `[flarelet]`\n\n"
        'The one table of ours in `wrangler.toml`; an unknown key in it is an error. `plan` is `"paid"` (the\n'
        'default) or `"free"`: whose limits hold where they depend on it, see [limits](limits.md).\n\n'
        "## `[flarelet.limits]`\n\n"
        "How long code of a Worker may take, in seconds; 0 is no limit.\n\n"
        "| key | default | meaning |\n| --- | --- | --- |\n" + limits + "\n"
        "## `[flarelet.ai]`\n\n"
        "What answers the binding of `[ai]`, see [bindings](bindings.md#ai). Without `base_url` it is the\n"
        "demo model.\n\n"
        "| key | default | meaning |\n| --- | --- | --- |\n" + ai + "\n"
        "## `[flarelet.realtime]`\n\n"
        "Without it nothing of realtime exists.\n\n"
        "| key | default | meaning |\n| --- | --- | --- |\n" + rows + "\n"
        "Each `[[flarelet.realtime.topics]]` entry has `pattern`, a glob on topic names such as `chat/*`. The first\n"
        "pattern that matches decides. Further keys, all optional: `class_name`, a `TopicObject` subclass that the\n"
        "main module exports; `persist`, true to store everything that is said, false to store nothing, whatever the\n"
        "publisher asks for; `history_limit`, stored messages kept of each of these topics; `delivery`, what happens\n"
        "to what is said while a client does not read: `resync`, `drop_oldest`, `conflate`, `coalesce` or `close`.\n"
    )


LIMITS = {
    "handler_s": "until a `fetch` handler has returned its response; then it is cancelled and the client told. Bodies "
    "that stream, WebSockets and `waitUntil` go on after the response and do not count",
    "busy_s": "until code that lets nothing else run (an infinite loop) is interrupted by a `BusyError`; the log says "
    "after 1.5 s where it is",
}


AI = {
    "base_url": "an endpoint of OpenAI's protocol, such as `http://localhost:11434/v1`",
    "api_key": "its key, or better the name of a secret in `.dev.vars`",
    "model": "the model there, for every name that `models` does not have; default: the name as it is",
    "models": 'models there by Workers AI names: `{ "@cf/baai/bge-base-en-v1.5" = "text-embedding-3-small" }`',
    "timeout_s": "seconds the endpoint may say nothing, before its answer and within a stream",
}


CONFIG = {
    "database": "D1 binding whose committed row changes become table topics",
    "binding": "name of the realtime binding in `env`",
    "project": "project id that clients name; default: the Worker's name",
    "routes": "answer the endpoint paths before the Worker's own `fetch`",
    "public_keys": "keys a browser may hold: subscribe, publish, history",
    "secret_keys": "keys of servers: also `POST /internal/hooks/rpc`; they begin with `sk_` by convention",
    "topics": "classes behind kinds of topic, see below",
    "slug": "a second name of the project, equal to its id",
    "max_frame_bytes": "largest frame a client may send",
    "max_topic_bytes": "longest topic name",
    "max_topics": "topics one connection may use at a time",
    "max_spellings": "names one connection may use for the same topic",
    "max_state_bytes": "largest presence state",
    "max_waiting": "commands that may wait while a topic is being reached",
    "history_limit": "stored messages kept a topic",
    "max_queue_bytes": "bytes that topics may say to one client that does not read before it misses something",
    "max_queue_frames": "frames, likewise",
    "history_age_s": "seconds a stored message is kept; 0 sets no limit",
    "history_bytes": "bytes stored of one topic; 0 sets no limit",
    "history_page": "messages a history request returns without `limit`",
    "history_page_max": "largest `limit` of a history request",
    "rpc_max_bytes": "largest body of an RPC request",
    "max_sessions": "connections kept for their return; the oldest go first",
    "max_session_topics": "topics kept in all sessions together",
    "max_session_bytes": "what is held of the latest that one topic said; before it history or a `resync` helps",
    "max_sessions_bytes": "what is held of all topics together; those silent longest give way",
    "session_grace_s": "seconds the subscriptions of a cut connection are kept for its return, also over a restart",
    "session_moment_s": "seconds a new connection may subscribe by itself before it is given what was kept for it",
    "session_overlap_s": "what was said so many seconds before a client vanished is told again; 0 trusts TCP's word",
    "presence_grace_s": "seconds a user stays present whose connection was cut or whose page is reloaded",
    "silence_s": "seconds of silence after which a connection that sends pings counts as cut",
    "jwt": "how tokens of end users are verified, see [realtime](realtime.md#tokens)",
    "rules": "who may do what on which topics, see [realtime](realtime.md#rules)",
    "topic_access": '`"deny"` refuses what no rule allows on topics',
    "table_access": '`"deny"` refuses to let anybody follow a table that no rule names',
    "max_client_rate": "frames a second one connection may send in the long run; 0: no limit",
    "max_client_burst": "frames one connection may send at once under that limit",
    "max_topic_rate": "publishes a second all connections together may make on one topic; 0: no limit",
    "max_topic_burst": "publishes at once under that limit",
    "max_snapshot_rows": "rows the snapshot of a table may have",
    "table_max_changes": "row changes of one transaction that are told one by one; beyond it each of its tables is "
    "told as one `resync`",
    "table_max_change_bytes": "the same as bytes of old and new rows",
    "table_log_rows": "row changes of watched tables kept for subscribers who come back",
    "table_log_bytes": "what these changes may take in the database file",
    "table_log_age_s": "how long they are kept; older positions are told that there is a gap",
    "table_grace_s": "how long a table that nobody follows any more, or followed when the server stopped, is captured",
}


def compatibility_page() -> str:
    """Return the table of compatibility flags."""
    from workers.runtime.config.compat_dates import FLAGS

    rows = "".join(
        f"| `{flag.name}` | {flag.date or 'never'} | {f'`{flag.opposite}`' if flag.opposite else '-'} | "
        f"{flag.effect or 'none'} |\n"
        for flag in FLAGS.values()
    )
    return (
        "# Compatibility dates and flags\n\n"
        "A flag is on from its date, or when `compatibility_flags` names it, and off when its opposite is named. A\n"
        "flag that is not in this table is named at the start, with the nearest one that is; two that contradict each\n"
        "other are an error. Most steer JavaScript. All that are on are attributes of `_cloudflare_compat_flags`.\n\n"
        "| flag | on from | turned off by | effect here |\n| --- | --- | --- | --- |\n" + rows
    )


def cli_page() -> str:
    """Return the help text of every command."""
    import click

    from workers.runtime.cli.main import cli

    parts = ["# The command line\n"]

    def describe(command: click.Command, title: str) -> None:
        with click.Context(command, info_name=title, terminal_width=100, max_content_width=100) as context:
            parts.append(f"## {title}\n\n```\n{command.get_help(context)}\n```\n")
            if isinstance(command, click.Group):
                for name in command.list_commands(context):
                    inner = command.get_command(context, name)
                    if inner is not None:
                        describe(inner, f"{title} {name}")

    describe(cli, "flarelet")
    return "\n".join(parts)


PAGES = {
    "errors.md": errors_page,
    "config.md": config_page,
    "cli.md": cli_page,
    "compatibility.md": compatibility_page,
    "limits.md": limits_page,
    "protocol.md": protocol_page,
}


def main() -> None:
    """Write the pages, or compare them."""
    check = "--check" in sys.argv[1:]
    stale: list[str] = []
    for name, page in PAGES.items():
        path, text = REFERENCE / name, NOTE + page()
        if check and (not path.exists() or path.read_text() != text):
            stale.append(name)
        elif not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(REFERENCE.parent.parent)}")
    if stale:
        sys.exit(f"not what the code says, run `make docs`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
