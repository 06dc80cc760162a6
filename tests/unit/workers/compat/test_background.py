from __future__ import annotations

import asyncio

import pytest

from workers.compat import background


async def test_work_runs_beside_its_caller_and_can_be_stopped():
    done = asyncio.Event()

    async def finish() -> None:
        done.set()

    await background.start(finish(), "finish")
    assert done.is_set()
    endless = background.start(asyncio.Event().wait(), "endless")
    await asyncio.sleep(0)
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless


async def test_a_failure_is_logged_under_its_name(caplog: pytest.LogCaptureFixture):
    async def fail() -> None:
        raise ValueError("broken")

    await background.start(fail(), "the-work")
    assert "the-work failed" in caplog.text
    assert "broken" in caplog.text
