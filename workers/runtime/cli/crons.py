"""Runs `scheduled` handlers when their time has come, as `[triggers] crons` says.

DIFFERS(fired-crons): only when it is asked for.
"""

from __future__ import annotations

import asyncio
import time

import click

from durable_objects.clock import Clock
from workers.runtime.app import App
from workers.runtime.cron import Cron, CronError, parse_cron
from workers.runtime.worker import Worker

__all__ = ["fire_crons"]

_LONGEST_SLEEP_S = 30.0  # the machine's clock may be set, and a laptop sleeps


async def fire_crons(app: App, clock: Clock) -> None:
    """Fire every cron of every Worker, until cancelled. A time that passed while the machine slept is left out."""
    async with asyncio.TaskGroup() as tasks:
        for worker in app.workers:
            for text in dict.fromkeys(worker.project.settings.triggers.crons or ()):
                try:
                    cron = parse_cron(text)
                except CronError:  # a warning has named it
                    continue
                tasks.create_task(_fire(worker, cron, clock), name=f"cron-{text}")


async def _fire(worker: Worker, cron: Cron, clock: Clock) -> None:
    due = cron.next_after(clock.now_ms())
    while due is not None:
        wait_s = (due - clock.now_ms()) / 1000
        if wait_s > 0:
            await asyncio.sleep(min(wait_s, _LONGEST_SLEEP_S))
            continue
        if wait_s > -60:
            began = asyncio.get_running_loop().time()
            outcome, _ = await worker.dispatcher.scheduled(cron.text, due)
            took_ms = (asyncio.get_running_loop().time() - began) * 1000
            now = time.strftime("%H:%M:%S")
            click.echo(f'[{now}] {worker.project.name}: cron "{cron.text}" {outcome} ({took_ms:.1f} ms)')
        due = cron.next_after(max(due, clock.now_ms() - 60_000))
        await asyncio.sleep(0)  # after a long sleep of the machine there is much to leave out
