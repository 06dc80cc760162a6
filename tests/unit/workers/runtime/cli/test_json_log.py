from __future__ import annotations

import json
import logging
import sys

from workers.runtime.cli.json_log import JsonFormat


def test_a_record_is_one_object_on_one_line():
    record = logging.makeLogRecord({"name": "a.b", "levelname": "WARNING", "msg": "two\n%s", "args": ("é",)})
    record.created = 1_700_000_000.25
    record.topic, record.thing = "chat/a", {1}
    line = JsonFormat().format(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "warning",
        "logger": "a.b",
        "message": "two\né",
        "topic": "chat/a",
        "thing": "{1}",
    }


def test_an_exception_comes_with_its_traceback():
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    told = json.loads(JsonFormat().format(record))
    assert told["traceback"].endswith("ValueError: why")
