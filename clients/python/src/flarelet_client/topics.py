"""Topic names as the public clients write them, and the delays between attempts to connect."""

from __future__ import annotations

from random import Random

__all__ = ["backoff_s", "full_topic"]


def full_topic(topic: str, project_id: str) -> str:
    """Return the full name of a topic, `<path>/<project>`. A name without a slash is a table."""
    path = topic if "/" in topic else f"table/{topic}"
    return path if not project_id or path.endswith(f"/{project_id}") else f"{path}/{project_id}"


def backoff_s(attempt: int, random: Random) -> float:
    """Delay before retry number `attempt` (from 0): 1 s doubling to 30 s, and up to 30 % more so that crowds spread."""
    base = min(2.0 ** min(attempt, 10), 30.0)
    return base + base * 0.3 * random.random()
