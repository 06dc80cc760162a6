"""An exception as a web page, for the browser of the person who wrote the Worker.

DIFFERS(error-page): Cloudflare answers with text.
"""

from __future__ import annotations

import linecache
from html import escape

from workers.compat import web
from workers.runtime.tracebacks import Frame, Report

__all__ = ["error_page", "wants_page"]

_AROUND = 5
_HEADERS = {
    "content-type": "text/html;charset=UTF-8",
    # The page shows source: nothing of it may be run, framed or kept.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #d33; --mark: #d333; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; color: var(--bad); overflow-wrap: anywhere; white-space: pre-wrap; }
h2 { font-size: 1rem; margin: 1.5rem 0 .3rem; font-weight: 600; }
pre { font: 14px/1.6 ui-monospace, monospace; border: 1px solid var(--line); border-radius: 6px; padding: .6rem;
      overflow-x: auto; margin: 0; }
pre b { display: inline-block; min-width: 100%; background: var(--mark); font-weight: inherit; }
summary { cursor: pointer; margin: 1.5rem 0 .5rem; }
p { color: #888; }
"""


def wants_page(request: web.Request) -> bool:
    """Say whether a browser asks, to show the answer to a person."""
    accept = request.headers.get("accept") or ""
    return "text/html" in accept.lower()


def error_page(report: Report, method: str = "", url: str = "", note: str = "") -> web.Response:
    """Return the 500 that shows an exception: the Worker's own line with what is around it, everything else folded.

    Args:
        report: The exception.
        method: Method of the request that failed.
        url: Its URL.
        note: A sentence below the headline.
    """
    parts = [f"<h1>{escape(report.headline)}</h1>"]
    if note or url:
        parts.append(f"<p>{escape(note or f'{method} {url}')}</p>")
    parts += _frames(report)
    seen = report.cause
    while seen is not None:
        parts.append(f"<h2>caused by {escape(seen.headline)}</h2>")
        parts += _frames(seen)
        seen = seen.cause
    parts.append(f"<details><summary>As text</summary><pre>{escape(report.text())}</pre></details>")
    title = escape(report.headline.partition("\n")[0])
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>"
    )
    return web.Response(body, status=500, headers=_HEADERS)


def _frames(report: Report) -> list[str]:
    own = [frame for frame in reversed(report.frames) if frame.own] or list(report.frames[-1:])
    parts = [
        f"<h2>{escape(frame.where)} in {escape(frame.function)}</h2><pre>{_around(frame)}</pre>" for frame in own[:8]
    ]
    folded = [frame for frame in report.frames if frame not in own]
    if folded:
        lines = "".join(f"{escape(frame.where)} in {escape(frame.function)}\n" for frame in reversed(folded))
        plural = "" if len(folded) == 1 else "s"
        parts.append(
            f"<details><summary>{len(folded)} frame{plural} of libraries</summary><pre>{lines}</pre></details>"
        )
    return parts


def _around(frame: Frame) -> str:
    lines: list[str] = []
    for number in range(max(frame.line - _AROUND, 1), frame.line + _AROUND + 1):
        source = linecache.getline(frame.file, number) or (frame.source if number == frame.line else "")
        if not source and number > frame.line:
            break
        text = f"{number:>5}  {escape(source.rstrip())}"
        lines.append(f"<b>{text}</b>" if number == frame.line else text)
    return "\n".join(lines)
