"""A storage on a temporary file, without an object around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from durable_objects.gates import InputGate
from durable_objects.storage.files import ObjectFile
from durable_objects.storage.object_storage import DurableObjectStorage, Settled
from durable_objects.storage.transaction import Transactions


@dataclass
class Alarm:
    is_running: bool = False
    can_fire: bool = True

    def now_ms(self) -> int:
        return 1000


@dataclass
class Bench:
    """A storage, its parts, and how often a transaction was opened."""

    file: ObjectFile
    transactions: Transactions = field(init=False)
    storage: DurableObjectStorage = field(init=False)
    opened: int = 0

    def __post_init__(self) -> None:
        self.transactions = Transactions(self.file, self._count, lambda: Settled(None))
        self.storage = DurableObjectStorage(self.file, InputGate(), self.transactions, Alarm(), is_sqlite=True)

    def _count(self) -> None:
        self.opened += 1

    def commit(self) -> None:
        self.transactions.commit()

    def reopened(self) -> Any:
        """Return another storage on the same file: it sees what is committed."""
        return Bench(ObjectFile(self.file.path)).storage


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(ObjectFile(tmp_path / "objects" / "a.sqlite"))
    yield bench
    bench.transactions.rollback()
    bench.file.close()
