"""What the TypeScript client publishes the Python client receives, and the reverse, value for value."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flarelet_client import Channel, FlareletClient, Payload, RealtimeError
from workers.runtime.testing import DevProcess

HERE = Path(__file__).resolve().parent
CLIENTS = HERE.parents[1]
ESBUILD = CLIENTS / "node_modules" / ".bin" / "esbuild"
WS = CLIENTS / "node_modules" / "ws" / "wrapper.mjs"
ABSENT = [
    name
    for name, is_there in (
        ("node (version 20 or newer)", shutil.which("node") is not None),
        ("clients/node_modules (run `npm ci` in clients)", ESBUILD.exists() and WS.exists()),
    )
    if not is_there
]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"the TypeScript client needs {', '.join(ABSENT)}")

DEEP: Any = "end"
for _ in range(40):
    DEEP = [{"in": DEEP}]

VALUES = {
    "text": "hello",
    "empty text": "",
    "escapes": 'a "quoted" \\ back\u0000slash\n\t\u2028\u2029</script>',
    "accents": "Zoë, e\u0301, Ærøskøbing",
    "right to left": "שלום עליכם مرحبا",
    "wide": "日本語 한국어",
    "emoji": "🙂👩‍👩‍👧‍👦🇪🇺",
    "largest safe integer": 2**53 - 1,
    "smallest safe integer": -(2**53) + 1,
    "first integer past the edge that a double holds": 2**53,
    "fraction": 0.1,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "true": True,
    "null": None,
    "empty": {"list": [], "object": {}},
    "nested": {"a": [1, {"b": [None, False, {"ключ": "🙂", "": 0}]}], "__proto__x": 1, "to_json": 2},
    "deep": DEEP,
    "many": list(range(2_000)),
    "bytes as an array": list(range(256)),
}


class Peer:
    """The process of the TypeScript client."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def hear(self) -> dict[str, Any]:
        """Return its next answer."""
        assert self.process.stdout is not None
        async with asyncio.timeout(15):
            line = await self.process.stdout.readline()
        answer = json.loads(line)
        assert "error" not in answer, answer
        return answer

    async def publish(self, **command: Any) -> None:
        """Let it publish a value, or one that it makes itself, by name."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        assert await self.hear() == {"ack": True}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript client's source as one file."""
    bundle = tmp_path_factory.mktemp("bundle") / "client.mjs"
    source = CLIENTS / "typescript" / "src" / "index.ts"
    options = ("--bundle", "--format=esm", "--log-level=error", f"--outfile={bundle}")
    subprocess.run([ESBUILD, source, *options], check=True, timeout=60)
    return bundle


@pytest.fixture
async def peer(server: DevProcess, bundle: Path) -> AsyncIterator[Peer]:
    """The TypeScript client, subscribed."""
    program = ("node", HERE / "peer.mjs", bundle, WS, server.url)
    process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, limit=2**22)
    peer = Peer(process)
    try:
        assert await peer.hear() == {"ready": True}
        yield peer
    finally:
        assert process.stdin is not None
        process.stdin.close()  # it ends with its input
        async with asyncio.timeout(15):
            await process.wait()


@pytest.fixture
async def received() -> asyncio.Queue[Payload]:
    """What the Python client receives of the other."""
    return asyncio.Queue()


@pytest.fixture
async def topic(client: FlareletClient, received: asyncio.Queue[Payload]) -> Channel:
    """The topic both are on, as Python has it."""
    return await client.realtime.channel("chat/between").on("from-typescript", received.put_nowait).subscribe()


async def next_of(received: asyncio.Queue[Payload]) -> Payload:
    async with asyncio.timeout(15):
        return await received.get()


def is_same(left: Any, right: Any) -> bool:
    """Whether two values have the same JSON: 1 and True, 1 and 1.0 are not the same."""
    return json.dumps(left) == json.dumps(right)


async def test_python_receives_what_typescript_publishes(
    peer: Peer, topic: Channel, received: asyncio.Queue[Payload]
) -> None:
    for name, value in VALUES.items():
        await peer.publish(data=value)
        payload = await next_of(received)
        if name == "huge":
            assert payload.data == value
        else:
            assert is_same(payload.data, value), name
        assert payload.user_id == "ts"
    stored = await topic.get_history(len(VALUES))
    assert [message.data for message in reversed(stored)] == list(VALUES.values())


async def test_typescript_receives_what_python_publishes(peer: Peer, topic: Channel) -> None:
    for name, value in VALUES.items():
        await topic.publish("from-python", value)
        answer = await peer.hear()
        assert answer["userId"] == "ann"
        assert answer["data"] == value, name
        if isinstance(value, str):
            assert answer["seen"] == {"units": len(value.encode("utf-16-le")) // 2, "points": len(value)}


async def test_numbers_at_the_edge_of_what_javascript_holds(
    peer: Peer, topic: Channel, received: asyncio.Queue[Payload]
) -> None:
    await peer.publish(name="edge")
    data = (await next_of(received)).data
    assert data == [2**53 - 1, -(2**53) + 1, 2**53, 10**21, 5e-324, 0.1 + 0.2, 0]
    assert [type(number) for number in data[:3]] == [int, int, int]
    seen: list[Any] = []
    for number in (2**53 - 1, 2**53, 2**53 + 1, 2**64):
        await topic.publish("from-python", number)
        seen.append((await peer.hear())["seen"])
    # Past the edge a JavaScript number is the nearest double: whoever needs all digits sends text.
    assert seen == [
        {"safe": True, "text": "9007199254740991"},
        {"safe": False, "text": "9007199254740992"},
        {"safe": False, "text": "9007199254740992"},
        {"safe": False, "text": "18446744073709552000"},
    ]


async def test_python_receives_its_own_large_integers_whole(topic: Channel) -> None:
    own: asyncio.Queue[Payload] = asyncio.Queue()
    topic.on("own", own.put_nowait)
    for number in (2**53 + 1, 2**63 - 1, -(2**63), 2**64):
        await topic.publish("own", number)
        assert (await next_of(own)).data == number


async def test_bytes_cross_as_base64_or_as_an_array(
    peer: Peer, topic: Channel, received: asyncio.Queue[Payload]
) -> None:
    every = bytes(range(256))
    await peer.publish(name="base64")
    assert base64.b64decode((await next_of(received)).data) == every
    await peer.publish(name="array")
    assert bytes((await next_of(received)).data) == every
    await topic.publish("binary-from-python", base64.b64encode(every).decode())
    assert await peer.hear() == {"bytes": list(every)}
    with pytest.raises(RealtimeError, match="NOT_SERIALIZABLE"):
        await topic.publish("binary-from-python", every)


async def test_half_of_a_surrogate_pair_crosses(peer: Peer, topic: Channel, received: asyncio.Queue[Payload]) -> None:
    await peer.publish(name="surrogate")
    assert (await next_of(received)).data == "\ud83d"
    await topic.publish("from-python", "\ud83d")
    assert (await peer.hear())["data"] == "\ud83d"
