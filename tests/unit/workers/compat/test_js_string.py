from __future__ import annotations

import datetime as dt

import pytest

from workers.compat.js_string import js_string, whole
from workers.compat.proxies import JsMap, jsnull


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "undefined"),
        (jsnull, "null"),
        (True, "true"),
        (5, "5"),
        (5.0, "5"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1e-7, "1e-7"),
        (0.00001, "0.00001"),
        (0.000001, "0.000001"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ([1, None, [2, jsnull, 3]], "1,,2,,3"),
        ({"a": 1}, "[object Object]"),
        (JsMap({1: 2}), "[object Map]"),
        ({1}, "[object Set]"),
        (dt.datetime(2024, 1, 2, 3, 4, 5), "Tue Jan 02 2024 03:04:05 GMT+0000 (Coordinated Universal Time)"),
    ],
)
def test_values_print_as_in_javascript(value: object, text: str):
    assert js_string(value) == text


def test_whole_numbers_become_int():
    assert [type(whole(number)) for number in (5.0, 5.5, 2.0**60, float("inf"))] == [int, float, float, float]
