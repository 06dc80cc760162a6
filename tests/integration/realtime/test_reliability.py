"""Histories of clients that lose their connections; `make reliability N=1000` lives through more of them."""

from __future__ import annotations

import os
from pathlib import Path

from histories import InProcess, Killed, Outcome, live_through

HISTORIES = int(os.environ.get("FLARELET_HISTORIES", "0"))


def judge(outcome: Outcome, histories: int) -> None:
    told = "\n".join([str(outcome), *outcome.notes])
    assert outcome.histories == histories, told
    assert (outcome.unannounced_gaps, outcome.duplicates, outcome.reordered) == (0, 0, 0), told
    assert outcome.lost_by_stock == 0, told


async def test_cut_clients_miss_nothing_over_restarts_of_the_server(tmp_path: Path):
    histories = HISTORIES or 30
    outcome = await live_through(tmp_path, 1, histories, server=InProcess, restarts=0.4, at_once=10)
    print(outcome)
    judge(outcome, histories)


async def test_cut_clients_miss_nothing_when_the_server_is_killed(tmp_path: Path):
    histories = max(HISTORIES // 10, 10)
    outcome = await live_through(tmp_path, 2, histories, server=Killed, restarts=1.0, at_once=10)
    print(outcome)
    judge(outcome, histories)
