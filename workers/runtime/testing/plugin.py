"""pytest plugin: fixtures for the Worker of the project that the tests belong to.

Loaded by every pytest run of an environment that has flarelet, so it imports nothing of it before a fixture is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from workers.runtime.testing.kit import Kit, Seed, Session
    from workers.runtime.testing.miniflare import Bindings, Miniflare
    from workers.runtime.testing.realtime import RealtimeTestClient
    from workers.runtime.testing.remote import RemoteWorker
    from workers.runtime.testing.report import Figures
    from workers.runtime.testing.state import ScratchFolder
    from workers.runtime.testing.worker import TestWorker
    from workers.runtime.virtual_time import VirtualTime

try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:  # the fixtures say so when they are used
    async_fixture = None

_LEFT = "flarelet left running"
_FIGURES = "flarelet figures"
_session: pytest.StashKey[Session] = pytest.StashKey()
_scratch: pytest.StashKey[ScratchFolder] = pytest.StashKey()
_left: list[tuple[str, str]] = []
_figures: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("flarelet", "Cloudflare Workers in Python")
    group.addoption(
        "--flarelet-config",
        metavar="FILE",
        help="wrangler configuration of the Worker under test (default: the nearest one above the test file)",
    )
    group.addoption("--flarelet-env", metavar="NAME", help="environment of the configuration to test")
    group.addoption(
        "--flarelet-interleave",
        type=int,
        metavar="N",
        help="run each test that uses the Worker N times, in N orders of what is ready at the same time",
    )
    group.addoption("--flarelet-seed", type=int, metavar="SEED", help="run them in the one order of this seed")
    group.addoption(
        "--flarelet-evict", action="store_true", help="take Durable Objects out of memory after every event"
    )
    group.addoption(
        "--flarelet-report",
        nargs="?",
        const="table",
        choices=("table", "json"),
        help="tell how near the run came to Cloudflare's limits, what could not hibernate and what it would cost",
    )
    group.addoption("--flarelet-report-file", metavar="FILE", help="write the report as JSON")
    group.addoption("--flarelet-url", metavar="URL", help="test a running server instead, such as flarelet dev")
    parser.addini("flarelet_config", "wrangler configuration of the Worker under test, from the rootdir")
    parser.addini("flarelet_env", "environment of the configuration to test")
    parser.addini("flarelet_traffic", "requests a day to estimate costs for", default="100000")
    parser.addini("flarelet_migrations", "apply D1 migrations before the tests", type="bool", default=True)


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker."""
    config.addinivalue_line(
        "markers",
        'flarelet(interleave=N, evict="every-turn", start=datetime): run the test in N orders of what is ready at the '
        "same time; take objects out of memory after every event; date at which the clock starts",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each seed of its interleavings."""
    if "flarelet_interleaving" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("flarelet")
    seed, count = metafunc.config.getoption("--flarelet-seed"), metafunc.config.getoption("--flarelet-interleave")
    wanted = marker.kwargs.get("interleave") if marker is not None else None
    if seed is not None:
        seeds = [seed]
    elif count is not None or wanted is not None:
        chosen = count if count is not None else wanted
        seeds = list(range(chosen)) if isinstance(chosen, int) else list(chosen or ())
    else:
        return
    metafunc.parametrize("flarelet_interleaving", seeds, ids=[f"seed={seed}" for seed in seeds])


@pytest.fixture
def flarelet_interleaving() -> int | None:
    """The seed by which what is ready is put in another order; None for the loop's own order."""
    return None


@pytest.fixture(scope="session")
def flarelet_seed() -> Seed | None:
    """Override it to fill the state that every test starts from: return a function `async def seed(env)`."""
    return None


def _kit(request: pytest.FixtureRequest) -> Kit:
    from workers.runtime.config.load import ConfigError, find
    from workers.runtime.testing.kit import Session
    from workers.runtime.testing.state import ScratchFolder

    config = request.config
    if _session not in config.stash:
        folder = ScratchFolder(request.getfixturevalue("tmp_path_factory").getbasetemp())
        config.stash[_scratch] = folder
        environment = config.getoption("--flarelet-env") or config.getini("flarelet_env") or None
        config.stash[_session] = Session(folder.make, environment, migrates=bool(config.getini("flarelet_migrations")))
    given = config.getoption("--flarelet-config") or config.getini("flarelet_config")
    try:
        path = Path(config.rootpath, given) if given else find(request.path.parent)
        return config.stash[_session].kit(find(path) if path.is_dir() else path)
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)


def _wants_report(config: pytest.Config) -> bool:
    return bool(config.getoption("--flarelet-report") or config.getoption("--flarelet-report-file"))


def _url(request: pytest.FixtureRequest) -> str | None:
    return request.config.getoption("--flarelet-url")


if async_fixture is None:

    @pytest.fixture
    def miniflare() -> None:
        """Fail: without pytest-asyncio there is no event loop for tests."""
        pytest.fail("flarelet's fixtures need an event loop for tests: pip install pytest-asyncio", pytrace=False)

    env = worker = realtime = clock = miniflare

else:

    @async_fixture
    async def _flarelet(
        request: pytest.FixtureRequest, flarelet_seed: Seed | None, flarelet_interleaving: int | None
    ) -> AsyncGenerator[Miniflare | None, None]:
        if _url(request) is not None:
            yield None
            return
        from workers.runtime.testing.report import to_line

        kit = _kit(request)

        def left(lines: list[str]) -> None:
            request.node.user_properties.append((_LEFT, "\n".join(lines)))

        def report(figures: Figures) -> None:
            request.node.user_properties.append((_FIGURES, to_line(figures)))

        marker = request.node.get_closest_marker("flarelet")
        wanted: dict[str, Any] = {} if marker is None else marker.kwargs
        async with kit.instance(
            clock=wanted.get("start") or "clock" in request.fixturenames,
            interleave=flarelet_interleaving,
            evict="every-turn" if request.config.getoption("--flarelet-evict") else wanted.get("evict"),
            seed=flarelet_seed,
            left=left,
            report=report if _wants_report(request.config) else None,
        ) as running:
            yield running

    @pytest.fixture
    def miniflare(_flarelet: Miniflare | None) -> Miniflare:
        """The project's Worker, running on state of its own: `dispatch_fetch`, `get_bindings`, ..."""
        if _flarelet is None:
            pytest.skip("this test looks inside the Worker, which a server at --flarelet-url does not allow")
        return _flarelet

    @async_fixture
    async def env(miniflare: Miniflare) -> Bindings:
        """The bindings of the Worker, as its handlers see them."""
        return await miniflare.get_bindings()

    @async_fixture
    async def worker(
        request: pytest.FixtureRequest, _flarelet: Miniflare | None
    ) -> AsyncGenerator[TestWorker | RemoteWorker, None]:
        """The Worker itself: `await worker.fetch("/path")`, `.scheduled()`, `.queue()`, `.websocket("/path")`."""
        url = _url(request)
        if _flarelet is not None:
            yield await _flarelet.get_worker()
        elif url is not None:
            from workers.runtime.testing.remote import RemoteWorker

            async with RemoteWorker(url) as remote:
                yield remote

    @async_fixture
    async def realtime(
        _flarelet: Miniflare | None, worker: TestWorker | RemoteWorker
    ) -> AsyncGenerator[RealtimeTestClient, None]:
        """A connected realtime client: `subscribe`, `publish`, `event`, `track`, ..."""
        from workers.runtime.testing.realtime import connect

        section = None if _flarelet is None else _flarelet.realtime
        if _flarelet is not None and section is None:
            pytest.fail("the realtime fixture needs [flarelet.realtime] in the configuration", pytrace=False)
        client = await connect(worker, section)
        yield client
        client.close()

    @pytest.fixture
    def clock(miniflare: Miniflare) -> VirtualTime:
        """The one clock of the test: it stands still until `await clock.advance(seconds)` or until everything waits."""
        assert miniflare.clock is not None
        return miniflare.clock


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the state of all tests."""
    folder = session.config.stash.get(_scratch, None)
    if folder is not None:
        folder.remove()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a test left running, and its figures, for the summary."""
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == _LEFT:
                _left.append((report.nodeid, str(value)))
            elif name == _FIGURES:
                _figures.append(str(value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was still running when tests ended, and report what the run came to."""
    if _left:
        terminalreporter.section("still running when its test ended")
        for nodeid, lines in _left:
            terminalreporter.line(nodeid)
            for line in lines.splitlines():
                terminalreporter.line(f"  {line}")
        _left.clear()
    if _figures and _wants_report(terminalreporter.config):
        _report(terminalreporter)
        _figures.clear()


def _report(terminalreporter: pytest.TerminalReporter) -> None:
    from workers.runtime.testing.report import from_line, merge, render, to_json

    config = terminalreporter.config
    total, traffic = merge(from_line(line) for line in _figures), int(config.getini("flarelet_traffic"))
    file = config.getoption("--flarelet-report-file")
    if file:
        Path(file).write_text(to_json(total, traffic), encoding="utf-8")
    how = config.getoption("--flarelet-report")
    if how:
        terminalreporter.section("flarelet")
        for line in render(total, traffic) if how == "table" else to_json(total, traffic).splitlines():
            terminalreporter.line(line)
