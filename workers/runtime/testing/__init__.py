"""Running Workers in tests: `serve` in this process, `DevProcess` in one of its own."""

from __future__ import annotations

from workers.runtime.testing.process import DevProcess
from workers.runtime.testing.serve import serve

__all__ = ["DevProcess", "serve"]
