"""`make bench`: every benchmark of this folder, one after the other, each in a process of its own.

A benchmark is a file here with a `main()`; it prints its rows. Figures are ratios to a reference measured in the same
run wherever there is one, because the machine is shared.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Run the benchmarks whose name holds one of the words given, or all of them."""
    words = sys.argv[1:]
    failed: list[str] = []
    for path in sorted(FOLDER.glob("*.py")):
        if path.name == Path(__file__).name or (words and not any(word in path.stem for word in words)):
            continue
        print(f"\n== {path.stem}", flush=True)
        began = time.perf_counter()
        if subprocess.run([sys.executable, str(path)], cwd=FOLDER.parent, check=False).returncode:
            failed.append(path.stem)
        print(f"   ({time.perf_counter() - began:.0f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
