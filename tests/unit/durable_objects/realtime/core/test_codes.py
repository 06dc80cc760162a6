from __future__ import annotations

from durable_objects.realtime.core.codes import Code, Refused


def test_every_code_has_a_number_of_its_own():
    numbers = [code.number for code in Code]
    assert len(set(numbers)) == len(numbers)


def test_a_code_knows_its_http_status():
    assert all(400 <= code.status < 600 for code in Code)


def test_a_refusal_carries_its_message():
    assert Refused("not today").message == "not today"
