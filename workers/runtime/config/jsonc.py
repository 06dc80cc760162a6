"""JSON with comments and trailing commas, as `wrangler.jsonc` is written."""

from __future__ import annotations

import json
import re

__all__ = ["parse"]

# Strings first, so that what looks like a comment inside one is left alone.
_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])', re.DOTALL)


def parse(text: str) -> object:
    """Parse JSONC text; positions in errors are those of the text as written.

    Raises:
        json.JSONDecodeError: The text is not JSON once comments and trailing commas are gone.
    """
    blanked = _TOKEN.sub(_blank_comment, text.removeprefix("\ufeff"))
    return json.loads(_TRAILING_COMMA.sub(lambda match: match.group(1) or " ", blanked))


def _blank_comment(match: re.Match[str]) -> str:
    token = match.group()
    if token.startswith('"'):
        return token
    return re.sub(r"[^\n]", " ", token)  # lines and columns stay where they were
