"""The public names and signatures of the official SDK, kept by hand: a change here must follow a change there."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import workers

NAMES = {
    "Blob", "BlobEnding", "BlobValue", "Body", "Context", "DurableObject", "FetchKwargs", "FetchResponse", "File",
    "FormData", "FormDataValue", "Headers", "JSBody", "Request", "RequestInitCfProperties", "Response",
    "WorkerEntrypoint", "WorkflowEntrypoint", "env", "fetch", "handler", "import_from_javascript", "patch_env",
    "python_from_rpc", "python_to_rpc", "waitUntil", "wait_until",
}  # fmt: skip

SIGNATURES = {
    "WorkerEntrypoint": "(ctx, env)",
    "DurableObject": "(ctx, env)",
    "WorkflowEntrypoint": "(ctx, env)",
    "WorkflowEntrypoint.run": "(self, event, step)",
    "Request": "(input, **other_options)",
    "Response": "(body=None, status=None, status_text='', headers=None, web_socket=None)",
    "Response.from_json": "(data, status=None, status_text='', headers=None)",
    "Response.json": "(data, status=None, status_text='', headers=None)",
    "Response.redirect": "(url, status=302)",
    "Blob": "(blob_parts, content_type=None, endings=None)",
    "File": "(blob_parts, filename=None, content_type=None, endings=None, last_modified=None)",
    "FormData": "(form_data=None)",
    "FormData.append": "(self, key, value, filename=None)",
    "FormData.get_all": "(self, key)",
    "fetch": "(resource, **other_options)",
    "handler": "(func)",
    "import_from_javascript": "(module_name)",
    "patch_env": "(d=None, **kwds)",
    "python_from_rpc": "(value, /)",
    "python_to_rpc": "(value, /)",
    "asgi.fetch": "(app, req, env, ctx=None)",
    "asgi.websocket": "(app, req, env=None)",
    "wsgi.fetch": "(app, req, env, ctx=None)",
}

MEMBERS = {
    "Request": "method headers url body body_used cf cache credentials destination integrity is_history_navigation "
    "keepalive mode redirect referrer referrer_policy js_object text json bytes buffer blob form_data clone",
    "Response": "status status_text ok url headers body text json bytes buffer blob form_data clone replace_body "
    "js_object js_response from_json redirect",
    "Blob": "size content_type text bytes slice js_object",
    "File": "name last_modified",
    "FormData": "append delete get_all items keys values get js_object",
}

SUBMODULES = {
    "workers.asgi": ["fetch", "websocket"],
    "workers.wsgi": ["fetch"],
    "workers.workflows": ["NonRetryableError"],
    "workers.rpc": ["python_from_rpc", "python_to_rpc"],
    "workers.utils": ["patch_env", "import_from_javascript"],
    "workers.entrypoints": ["DurableObjectAbort", "WorkerEntrypoint"],
}


def bare(function: object) -> str:
    signature = inspect.signature(function)
    empty = inspect.Parameter.empty
    return str(
        signature.replace(
            parameters=[parameter.replace(annotation=empty) for parameter in signature.parameters.values()],
            return_annotation=inspect.Signature.empty,
        )
    )


def find(path: str) -> object:
    value: object = workers
    for name in path.split("."):
        value = getattr(value, name)
    return value


def test_the_package_exports_exactly_the_official_names():
    assert set(workers.__all__) == NAMES
    for name in NAMES:
        assert getattr(workers, name) is not None


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_call_takes_the_official_arguments(path: str):
    assert bare(find(path)) == SIGNATURES[path]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_class_has_the_official_members(name: str):
    cls = getattr(workers, name)
    assert [member for member in MEMBERS[name].split() if not hasattr(cls, member)] == []


@pytest.mark.parametrize("name", SUBMODULES)
def test_a_submodule_has_the_official_names(name: str):
    module = importlib.import_module(name)
    assert [item for item in SUBMODULES[name] if not hasattr(module, item)] == []


def test_file_derives_from_blob_and_response_from_fetch_response():
    assert issubclass(workers.File, workers.Blob)
    assert issubclass(workers.Response, workers.FetchResponse)
    assert {str(ending) for ending in workers.BlobEnding} == {"transparent", "native"}


def test_importing_the_package_loads_nothing_else():
    names = "('aiohttp', 'sqlite3', 'asyncio', 'http.client')"
    code = f"import sys, workers; print(sorted(name for name in {names} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
