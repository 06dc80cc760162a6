"""The reference page of D1's limits, from the tables that enforce them."""

from __future__ import annotations

from itertools import groupby

from d1.engine.authorizer import DENIED_FUNCTIONS, FUNCTION_GROUPS, MODULES, PRAGMAS
from d1.limits import FORBIDDEN, LIMITS, NEAR, Limit

_INTRODUCTION = f"""# Limits of D1

Each limit is enforced with the error text of production, behind `D1_ERROR: ` and with the text alone as `cause`.
`flarelet.plan` in the configuration (`"paid"`, or `"free"`) chooses among the limits that depend on the plan.

A statement that comes near a limit ({NEAR:.0%} of it) is logged as a warning, once for each text, on the logger
`d1.usage`; the highest figure of each is kept in `Engine.usage.peaks`. Warnings go by the documented figure where the
recorded build of production accepts more.

"""


def limits_page() -> str:
    """Return the page."""
    return _INTRODUCTION + _limits() + _statements() + _functions() + _pragmas()


def _limits() -> str:
    rows = "".join(
        f"| {entry.value:,}{_documented(entry)} {entry.unit} | {entry.plan} | {_beyond(entry)} "
        f"| {'yes' if entry.is_watched else 'no'} | {_source(entry.source)} |\n"
        for entry in LIMITS
    )
    return (
        "| Limit | Plan | Beyond it | Warned about | Source |\n| --- | --- | --- | --- | --- |\n" + rows + "\n"
        "A call is one `run`, `all`, `first`, `raw`, `exec` or `batch`, however many statements it holds. An\n"
        "invocation is one request, one scheduled event or one event of a Durable Object, with the tasks it starts;\n"
        "what is called outside of one, as in a test, is not counted. A full database refuses what would make it grow\n"
        "and goes on answering the rest.\n\n"
    )


def _documented(entry: Limit) -> str:
    return f" (documented: {entry.documented:,})" if entry.documented else ""


def _source(source: str) -> str:
    return "; ".join(f"[documentation]({part})" if part.startswith("https:") else part for part in source.split("; "))


def _beyond(entry: Limit) -> str:
    if not entry.error:
        return "not enforced" if entry.category is None else "nothing to see"
    return ", or ".join(f"`{part}`" for part in entry.error.split(", or "))


def _statements() -> str:
    rows = ""
    for what, cases in groupby(FORBIDDEN, key=lambda case: case.what):
        found = list(cases)
        examples = ", ".join(f"`{case.example}`" for case in found)
        rows += f"| {what} | {examples} | `{found[0].error}{'...' if found[0].error.endswith(' the') else ''}` |\n"
    return (
        "## Statements that are refused\n\n| What | For example | Error |\n| --- | --- | --- |\n" + rows + "\n"
        f"Virtual tables may be of the modules {' and '.join(f'`{name}`' for name in sorted(MODULES))}.\n\n"
    )


def _functions() -> str:
    rows = "".join(
        f"| {group} | {' '.join(f'`{name}`' for name in names.split())} |\n" for group, names in FUNCTION_GROUPS.items()
    )
    denied = " ".join(f"`{name}`" for name in sorted(DENIED_FUNCTIONS))
    return (
        "## Functions\n\n| Group | Allowed |\n| --- | --- |\n" + rows + "\n"
        f"Refused with `not authorized to use function: NAME at offset N: SQLITE_ERROR`: {denied}.\n"
        "Every other function does not exist: `no such function: NAME at offset N: SQLITE_ERROR`.\n\n"
    )


def _pragmas() -> str:
    rows = "".join(f"| `{name}` | {kind.value} |\n" for name, kind in PRAGMAS.items())
    return (
        "## PRAGMAs\n\n| Allowed | Argument |\n| --- | --- |\n" + rows + "\n"
        "Every other PRAGMA, and every other argument, is refused with `not authorized: SQLITE_AUTH`.\n"
    )
