from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[5]


@pytest.mark.parametrize(
    "use",
    [
        "import aiohttp; assert aiohttp.ClientSession.__name__ == 'ClientSession'",
        "from aiohttp import ClientSession, web; assert web.Application",
        "from aiohttp import *; assert ClientTimeout",
        "import aiohttp; assert 'ClientSession' in dir(aiohttp)",
        "import aiohttp.web; assert aiohttp.web.Response; assert aiohttp.TCPConnector",
        "import aiohttp; assert aiohttp.__version__[0].isdigit()",
        "import aiohttp\ntry: aiohttp.nonsense\nexcept AttributeError: pass\nelse: raise SystemExit(1)",
    ],
)
def test_the_client_is_imported_when_somebody_uses_it(use: str) -> None:
    code = (
        "import sys\nimport workers.runtime.edge.server\n"
        "assert 'aiohttp.web_protocol' in sys.modules\nassert 'aiohttp.client' not in sys.modules\n" + use
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
