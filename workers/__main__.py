"""`python -m workers`: the command line of the runtime."""

from __future__ import annotations

from workers.runtime.cli.main import main

if __name__ == "__main__":
    main()
