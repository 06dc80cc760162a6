"""The file `.assetsignore`: patterns of files that are not served, written as in `.gitignore`."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["Ignore"]

_STEERING = ("/.assetsignore", "/_redirects", "/_headers")
# DIFFERS(static-secrets): wrangler serves these when the folder is the project itself; nobody wants his secrets served.
_PRIVATE = (".dev.vars", ".dev.vars.*", ".env", ".env.*", ".git", ".wrangler")


class Ignore:
    """The patterns of one folder; files that steer the serving or hold secrets are always left out."""

    def __init__(self, text: str = "") -> None:
        self._rules: list[tuple[bool, bool, re.Pattern[str]]] = []
        for line in (*text.splitlines(), *_STEERING, *_PRIVATE):
            self._add(line)
        self.covers = lru_cache(maxsize=4096)(self._covers)
        """Whether a path such as `/a/b.txt` is not served."""

    def _add(self, line: str) -> None:
        pattern = re.sub(r"(?<!\\) +$", "", line.rstrip("\r\n"))
        if not pattern or pattern.startswith("#"):
            return
        negated = pattern.startswith("!")
        if negated:
            pattern = pattern[1:]
        folders_only = pattern.endswith("/")
        pattern = pattern.rstrip("/")
        anchored = "/" in pattern
        expression = _expression(pattern.removeprefix("/"))
        if not anchored:
            expression = f"(?:.*/)?{expression}"
        try:
            self._rules.append((negated, folders_only, re.compile(expression, re.DOTALL)))
        except re.error:
            return  # git too leaves out what it cannot read

    def _covers(self, path: str) -> bool:
        parts = path.strip("/").split("/")
        # A file in a folder that is left out cannot come back by a rule of its own.
        return any(self._decides("/".join(parts[:end]), is_folder=end < len(parts)) for end in range(1, len(parts) + 1))

    def _decides(self, path: str, *, is_folder: bool) -> bool:
        ignored = False
        for negated, folders_only, pattern in self._rules:
            if (is_folder or not folders_only) and pattern.fullmatch(path):
                ignored = not negated
        return ignored


def _expression(pattern: str) -> str:
    expression, position = "", 0
    for found in re.finditer(r"(?:^|/)\*\*(?=/|$)|\*+|\?|\[[^\]]*\]|\\.", pattern):
        expression += re.escape(pattern[position : found.start()])
        token, position = found[0], found.end()
        if token in ("**", "/**"):
            at_end = position == len(pattern)
            lead = "/" if token == "/**" else ""
            if at_end:
                expression += f"{lead}.+"
            else:
                expression += f"{lead}(?:.*/)?"
                position += 1  # the slash belongs to it
        elif token[0] == "*":
            expression += "[^/]*"
        elif token == "?":
            expression += "[^/]"
        elif token[0] == "[":
            expression += f"[^{token[2:]}" if token[1] in "!^" else token
        else:
            expression += re.escape(token[1])
    return expression + re.escape(pattern[position:])
