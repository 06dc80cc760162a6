"""The files `_headers` and `_redirects`: reading them, naming their mistakes, and matching requests.

https://developers.cloudflare.com/workers/static-assets/headers/ and .../redirects/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from workers.compat.proxies import JsException
from workers.compat.url import URL

__all__ = ["HeaderRule", "Mistake", "Redirect", "Redirects", "glob", "parse_headers", "parse_redirects"]

_MOST_HEADER_RULES = 100
_MOST_STATIC = 2000
_MOST_DYNAMIC = 100
_LONGEST_LINE = 2000
_STATUSES = frozenset({200, 301, 302, 303, 307, 308})
_PATH_LINE = re.compile(r"([^\s]+://|/)")
_ABSOLUTE = re.compile(r"https://+([^/]+)/?(.*)")
_PLACEHOLDER = re.compile(r":([A-Za-z]\w*)", re.ASCII)
_TO_INDEX = re.compile(r"/index(\.html)?$")


@dataclass(frozen=True, slots=True)
class Mistake:
    """A line that is left out, and why."""

    line: int
    text: str


@dataclass(slots=True)
class HeaderRule:
    """Headers to set and to remove on paths that match."""

    pattern: re.Pattern[str]
    cross_host: bool
    set: dict[str, str] = field(default_factory=dict[str, str])
    unset: list[str] = field(default_factory=list[str])

    def match(self, host: str, path: str) -> dict[str, str] | None:
        """Return what the placeholders of the rule stand for; None when it does not match."""
        found = self.pattern.fullmatch(f"https://{host}{path}" if self.cross_host else path)
        return None if found is None else found.groupdict()


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a path goes. Status 200 answers with another path's file."""

    to: str
    status: int


@dataclass(slots=True)
class Redirects:
    """All rules of a file: plain paths are looked up, patterns tried in their order."""

    static: dict[str, Redirect] = field(default_factory=dict[str, Redirect])
    dynamic: list[tuple[re.Pattern[str], Redirect]] = field(default_factory=list[tuple[re.Pattern[str], Redirect]])

    def match(self, path: str) -> Redirect | None:
        """Return the rule for a path with its placeholders filled in."""
        static = self.static.get(path)
        if static is not None:
            return static
        for pattern, rule in self.dynamic:
            found = pattern.fullmatch(path)
            if found is not None:
                to = filled(rule.to, found.groupdict()).strip()
                return Redirect(to if re.match(r"\w+://", to) else re.sub("/+", "/", to), rule.status)
        return None


def filled(text: str, values: dict[str, str]) -> str:
    """Put the values of placeholders in their places."""
    for name, value in values.items():
        text = text.replace(f":{name}", value or "")
    return text


def glob(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in which `*` stands for anything."""
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def _rule_pattern(rule: str) -> re.Pattern[str]:
    """Compile a rule: `*` is the placeholder `splat`, `:name` one segment, in a host name one label."""
    host_end = rule.find("/", len("https://")) if rule.startswith("https://") else 0
    expression, position = "", 0
    for found in re.finditer(r"\*|:[A-Za-z]\w*", rule, re.ASCII):
        expression += re.escape(rule[position : found.start()])
        if found[0] == "*":
            expression += "(?P<splat>.*)"
        else:
            expression += f"(?P<{found[0][1:]}>{'[^/.]+' if found.start() < host_end else '[^/]+'})"
        position = found.end()
    return re.compile(expression + re.escape(rule[position:]), re.DOTALL)


def _address(token: str, *, relative: bool = False, ports: bool = True, whole: bool = False) -> tuple[str | None, str]:
    """Return a token as a path or https URL in normal form, or None and what is wrong with it.

    `whole` keeps a query and a fragment.
    """
    host = _ABSOLUTE.match(token)
    if host is not None:
        if relative:
            return None, f"Only relative URLs are allowed. Skipping absolute URL {token}."
        if not ports and re.search(r":\d+$", host[1]):
            return None, f"Specifying ports is not supported. Skipping absolute URL {token}."
        return f"https://{host[1]}{_path(host[2], whole=whole)}", ""
    if relative and not token.startswith("/"):
        token = f"/{token}"
    if token.startswith("/"):
        try:
            return _path(token, whole=whole), ""
        except JsException:
            return None, f"Error parsing URL segment {token}. Skipping."
    if relative:
        return None, "URLs should begin with a forward-slash."
    return None, (
        'URLs should either be relative (e.g. begin with a forward-slash), or use HTTPS (e.g. begin with "https://").'
    )


def _path(path: str, *, whole: bool) -> str:
    url = URL(f"http://h/{path.removeprefix('/')}" if not path.startswith("//") else f"http://h{path}")
    return f"{url.pathname}{url.search}{url.hash}" if whole else url.pathname


def _lines(text: str, mistakes: list[Mistake]) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if len(line) > _LONGEST_LINE:
            mistakes.append(Mistake(number, f"the line exceeds the maximum allowed length of {_LONGEST_LINE}"))
            continue
        yield number, line


def parse_headers(text: str) -> tuple[list[HeaderRule], list[Mistake]]:
    """Read a `_headers` file; lines that cannot be used are mistakes."""
    rules: dict[str, HeaderRule] = {}
    mistakes: list[Mistake] = []
    rule: HeaderRule | None = None
    count, skipping = 0, False
    for number, line in _lines(text, mistakes):
        if _PATH_LINE.match(line):
            if count >= _MOST_HEADER_RULES:
                mistakes.append(Mistake(number, f"Maximum number of rules supported is {_MOST_HEADER_RULES}."))
                break
            path, problem = _address(line, ports=False)
            problem = problem or _wildcards(path or "")
            skipping = bool(problem) or path is None
            rule = None
            if path is None or problem:
                mistakes.append(Mistake(number, problem))
                continue
            count += 1
            try:
                rule = rules[path] = HeaderRule(_rule_pattern(path), path.startswith("https://"))
            except re.error as error:
                mistakes.append(Mistake(number, f"the path cannot be matched: {error}"))
                skipping = True
        elif not skipping:
            problem = _header_line(line, rule)
            if problem:
                mistakes.append(Mistake(number, problem))
    return list(rules.values()), mistakes


def _wildcards(path: str) -> str:
    if path.count("*") > 1:
        return (
            f"Only one wildcard is allowed per rule. Use a named placeholder (e.g. :project) instead. Skipping {path}."
        )
    if "*" in path and re.search(r":splat(?!\w)", path):
        return (
            "Cannot combine a wildcard * with a :splat placeholder because wildcards are converted to :splat at "
            f"runtime. Skipping {path}."
        )
    return ""


def _header_line(line: str, rule: HeaderRule | None) -> str:
    """Take one line under a path; return what is wrong with it."""
    name, colon, value = line.partition(":")
    if not colon:
        if rule is None:
            return "Expected a path beginning with at least one forward-slash"
        if not line.startswith("! "):
            return "Expected a colon-separated header pair (e.g. name: value)"
        rule.unset.append(line[2:].strip())
        return ""
    name, value = name.strip().lower(), value.strip()
    if " " in name:
        return "Header name cannot include spaces"
    if not name:
        return "No header name specified"
    if not value:
        return "No header value specified"
    if rule is None:
        return f"Path should come before header ({name}: {value})"
    rule.set[name] = f"{rule.set[name]}, {value}" if name in rule.set else value
    return ""


def parse_redirects(text: str, html_handling: str) -> tuple[Redirects, list[Mistake]]:
    """Read a `_redirects` file; lines that cannot be used are mistakes."""
    found, mistakes, seen = Redirects(), list[Mistake](), set[str]()
    dynamic, only_static = 0, True
    for number, line in _lines(text, mistakes):
        tokens = re.sub(r"\s+#.*$", "", line).split()
        if len(tokens) not in (2, 3):
            mistakes.append(Mistake(number, f"Expected exactly 2 or 3 whitespace-separated tokens. Got {len(tokens)}."))
            continue
        source, problem = _address(tokens[0], relative=True, ports=False)
        target, target_problem = _address(tokens[1], whole=True)
        problem = problem or target_problem
        if source is None or target is None:
            mistakes.append(Mistake(number, problem))
            continue
        is_pattern = "*" in source or _PLACEHOLDER.search(source) is not None
        if only_static and not is_pattern:
            if len(found.static) >= _MOST_STATIC:
                mistakes.append(Mistake(number, f"Maximum number of static rules supported is {_MOST_STATIC}."))
                continue
        else:
            dynamic, only_static = dynamic + 1, False
            if dynamic > _MOST_DYNAMIC:
                mistakes.append(Mistake(number, f"Maximum number of dynamic rules supported is {_MOST_DYNAMIC}."))
                break
        status = tokens[2] if len(tokens) == 3 else "302"
        problem = _redirect_problem(source, target, status, html_handling, seen)
        if problem:
            mistakes.append(Mistake(number, problem))
            continue
        seen.add(source)
        rule = Redirect(target, int(status))
        if only_static:
            found.static[source] = rule
        else:
            try:
                found.dynamic.append((_rule_pattern(source), rule))
            except re.error as error:
                mistakes.append(Mistake(number, f"the path cannot be matched: {error}"))
    return found, mistakes


def _redirect_problem(source: str, target: str, status: str, html_handling: str, seen: set[str]) -> str:
    if not status.isdigit() or int(status) not in _STATUSES:
        return f"Valid status codes are 200, 301, 302 (default), 303, 307, or 308. Got {status}."
    is_relative = not target.startswith("https://")
    if is_relative and _TO_INDEX.search(target):
        loops = source.endswith("/*") or (source.endswith("/") and html_handling != "none")
        if loops:
            return (
                "Infinite loop detected in this rule and has been ignored. This will cause a redirect to strip "
                "`.html` or `/index` and end up triggering this rule again."
            )
    if source in seen:
        return f"Ignoring duplicate rule for path {source}."
    if status == "200" and not is_relative:
        return f"Proxy (200) redirects can only point to relative paths. Got {target}"
    return ""
