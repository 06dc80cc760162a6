from __future__ import annotations

import importlib
import sys

import pytest

from workers import asgi
from workers.compat import js as real_js
from workers.compat.install import NAMES, install
from workers.compat.proxies import JsException, JsProxy


def test_the_modules_exist_while_installed_and_not_before_or_after():
    for name in NAMES:
        with pytest.raises(ImportError):
            importlib.import_module(name)
    first, second = install(["python-x"]), install()
    try:
        for name in NAMES:
            assert importlib.import_module(name).__name__ == name
        first()
        first()
        assert importlib.import_module("js").URL is real_js.URL
    finally:
        first()
        second()
    assert not NAMES & set(sys.modules)
    with pytest.raises(ImportError):
        importlib.import_module("js")


def test_user_code_imports_what_it_is_used_to():
    uninstall = install(["python_request_headers_preserve_commas"])
    try:
        scope: dict[str, object] = {}
        exec(
            "import js, asgi, pyodide.http, _cloudflare_compat_flags as flags\n"
            "from js import Object, Response, fetch\n"
            "from pyodide.ffi import JsException, JsProxy, create_proxy, run_sync, jsnull, to_js\n"
            "from pyodide.http import pyfetch\n"
            "from pyodide.code import relaxed_call\n"
            "from pyodide.webloop import WebLoop\n"
            "made = Response.new('x', to_js({'status': 201}, dict_converter=Object.fromEntries))\n"
            "on, off = flags.python_request_headers_preserve_commas, flags.other\n",
            scope,
        )
        assert scope["made"].status == 201
        assert (scope["on"], scope["off"]) == (True, False)
        assert scope["JsException"] is JsException
        assert scope["JsProxy"] is JsProxy
        assert scope["asgi"].fetch is asgi.fetch
        assert isinstance(scope["pyodide"].__version__, str)
    finally:
        uninstall()
