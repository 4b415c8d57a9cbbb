"""Whatever many do to a bridge at once, afterwards it is at rest: its memory, its threads and its descriptors."""

import argparse
import asyncio
import contextlib
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.service import children
from demo.stack import Stack
from tests.e2e.executors import wait_for
from tests.e2e.wire import Wire, asking, request, session_lines
from tests.servers import Servers
from tools.ids import new_tool_call_id, random_name

tell = partial(print, flush=True)
FEW, MANY = 20, {"resolve": 1000, "vanish": 500, "slow": 200, "deaf": 200}
LIMITS = {
    "grace_seconds": 0.5,
    "sweep_seconds": 0.3,
    "request_seconds": 8,
    "stalled_seconds": 2,
    "dify_streams": 20,
}
KEPT_BYTES = 60 * 1024 * 1024
"""A second time may leave so much more than the first: what ended is kept for a minute for who comes back for it."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("rest"), apps=["minimal"], bridge_settings=LIMITS) as running:
        yield running


@dataclass(frozen=True)
class Held:
    """What a bridge's worker holds."""

    descriptors: int
    threads: int
    bytes: int

    @classmethod
    def by(cls, stack: Stack) -> "Held":
        (worker,) = children(stack.bridge.pid)
        folder = Path(f"/proc/{worker}")
        pages = int((folder / "statm").read_text().split()[1])
        return cls(*(len(list((folder / each).iterdir())) for each in ("fd", "task")), pages * 4096)


def comes_to_rest(stack: Stack, do: Callable[[Stack, int], object], count: int) -> None:
    """Do it, wait until nothing is left of it, and do it once more: nothing may be left of that either."""
    before = Held.by(stack)
    grown = []
    for _ in range(2):
        do(stack, count)
        wait_for(lambda: is_idle(stack) or None)
        wait_for(lambda: Held.by(stack).descriptors <= before.descriptors + 4 or None)
        wait_for(lambda: Held.by(stack).threads <= before.threads + 2 or None)
        grown.append(Held.by(stack).bytes)
    tell(f"{do.__name__} {count}: {before} -> {Held.by(stack)}, memory {[each // 2**20 for each in grown]} MB")
    assert grown[1] - grown[0] <= KEPT_BYTES
    assert "Traceback" not in stack.bridge.log.read_text()


def is_idle(stack: Stack) -> bool:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    status = httpx.get(f"{stack.bridge_url}/operator/v1/status", headers=headers, timeout=30).json()
    places = sum(each["used"] + each["waiting"] for each in status["dify_streams"])
    return places == status["tickets"]["open"] == status["runs"].get("running", 0) == 0


def resolve(stack: Stack, count: int) -> None:
    """So many tickets wait, and an executor answers them all in one request: each plugin hears of its own, once."""
    asyncio.run(_resolve(stack, count))


async def _resolve(stack: Stack, count: int) -> None:
    plugin = {"Authorization": f"Bearer {stack.plugin_token}"}
    executor = {"Authorization": f"Bearer {stack.executor_token}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=stack.bridge_url, timeout=120, limits=limits) as http:

        async def ask(headers: dict[str, str], method: str, path: str, body: Any = None) -> Any:
            answer = await http.request(method, path, headers=headers, json=body)
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None

        tool = {"type": "function", "function": {"name": "look"}, "read_only": True}
        body = {"name": "all", "tools": [tool], "concurrency": 1000}
        registered = await ask(executor, "POST", "/executor/v1/executors", body)
        own = f"/executor/v1/executors/{registered['executor_id']}"
        at_once = asyncio.Semaphore(50)
        waiting = asyncio.Event()
        opened = 0

        async def invoke() -> tuple[str, Any]:
            nonlocal opened
            name, call = random_name(), new_tool_call_id()
            async with at_once:
                attached = {"invocation_id": name, "fingerprint": name, "model": "m", "user": name}
                run = (await ask(plugin, "POST", "/plugin/v1/attach", attached))["run_id"]
                calls = [{"id": call, "name": "look", "arguments": "{}"}]
                ticket = {"run_id": run, "invocation_id": name, "round": 0, "calls": calls}
                await ask(plugin, "PUT", f"/plugin/v1/tickets/{name}r0", ticket)
            opened += 1
            if opened == count:
                waiting.set()
            while True:
                status = await ask(plugin, "GET", f"/plugin/v1/tickets/{name}r0?wait=30&invocation_id={name}")
                if status["state"] != "open":
                    break
            async with at_once:
                await ask(plugin, "POST", f"/plugin/v1/invocations/{name}/record", {"run_id": run, "text": "done"})
            return call, status

        async def answer() -> float:
            while not waiting.is_set():
                await ask(executor, "POST", f"{own}/heartbeat", {})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiting.wait(), 5)
            calls: list[Any] = []
            while len(calls) < count:
                calls += (await ask(executor, "POST", f"{own}/claim", {"max": 1000, "wait": 5}))["calls"]
            assert len({call["tool_call_id"] for call in calls}) == len(calls) == count, "a call was handed out twice"
            results = [
                {"lease_id": call["lease_id"], "tool_call_id": call["tool_call_id"], "output": call["tool_call_id"]}
                for call in calls
            ]
            began = time.monotonic()
            await ask(executor, "POST", f"{own}/results", {"results": results})
            return time.monotonic() - began

        answering = asyncio.create_task(answer())
        told = await asyncio.gather(*(invoke() for _ in range(count)))
        tell(f"{count} results were taken within {await answering:.2f} s")
        for call, status in told:
            assert [(each["tool_call_id"], each["output"]) for each in status["results"]] == [(call, call)]
        await ask(executor, "DELETE", own)


def vanish(stack: Stack, count: int) -> None:
    """So many clients are there, some before and some amid their answer, and lose their network."""
    wires = [Wire(stack) for _ in range(count)]
    for number, wire in enumerate(wires):
        wire.send(request(stack, asking(f"Vanish {random_name()}.\n!say one\n!sleep 40"), *session_lines(f"v{number}")))
    wires[0].until(b"data:")
    for wire in wires:
        wire.vanish()


def send_slowly(stack: Stack, count: int) -> None:
    """So many clients send a byte now and then, and are told that it takes too long; nobody else waits for them."""
    body = asking("Never mind.")
    head = request(stack, body).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def send(_: int) -> bytes:
        with Wire(stack) as wire:
            wire.send(head)
            wire.trickle(body, 0.5)
            return wire.rest()

    with ThreadPoolExecutor(count) as pool:
        sending = [pool.submit(send, number) for number in range(count)]
        assert httpx.get(f"{stack.bridge_url}/healthz", timeout=10).status_code == 200
        answers = [each.result(60) for each in sending]
    assert all(b" 408 " in answer for answer in answers)


def read_nothing(stack: Stack, count: int) -> None:
    """So many clients ask for a long answer and never read it."""
    long = "line " * 40_000
    wires = [Wire(stack, takes=4096) for _ in range(count)]
    for number, wire in enumerate(wires):
        text = f"Deaf {random_name()}.\n!delta 8000\n!say {long}"
        wire.send(request(stack, asking(text), *session_lines(f"deaf{number}")))
    wait_for(lambda: is_idle(stack) or None)
    wait_for(lambda: Held.by(stack).descriptors < count // 2 + 20 or None)  # the kernel has let go of them
    for wire in wires:
        wire.vanish()


DEEDS = {"resolve": resolve, "vanish": vanish, "slow": send_slowly, "deaf": read_nothing}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("deed", DEEDS)
def test_what_many_do_at_once_leaves_nothing_behind(stack: Stack, deed: str) -> None:
    comes_to_rest(stack, DEEDS[deed], FEW)


@pytest.mark.timeout(300)
def test_who_finds_no_descriptor_left_is_told_to_come_back_and_it_goes_on_by_itself(stack: Stack) -> None:
    (worker,) = children(stack.bridge.pid)
    former = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (64, former[1]))
    logged, host = len(stack.bridge.log.read_bytes()), ("127.0.0.1", int(stack.bridge_url.rpartition(":")[2]))
    before = Held.by(stack)
    with contextlib.ExitStack() as open_:

        def take(count: int) -> None:
            for _ in range(count):
                open_.enter_context(socket.create_connection(host))

        take(100)
        busy, refused = _processor_seconds(worker), []
        for _ in range(10):
            take(10)  # in the place of any that the bridge has given up for its silence
            refused.append(httpx.get(f"{stack.bridge_url}/readyz", timeout=10))
        assert _processor_seconds(worker) - busy < 2
        assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(503, "5")}
        assert refused[0].json()["error"]["code"] == "unavailable"
    wait_for(lambda: Held.by(stack).descriptors <= before.descriptors + 4 or None)
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    body = {"model": "minimal", "messages": [{"role": "user", "content": "!say it goes on"}]}
    answer = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"] == "it goes on"
    said = stack.bridge.log.read_bytes()[logged:].decode()
    assert said.count("connections are refused") == 1
    assert "Traceback" not in said
    resource.prlimit(worker, resource.RLIMIT_NOFILE, former)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.timeout(300)
@pytest.mark.servers
def test_a_database_that_takes_no_more_connections_is_told_and_it_goes_on_by_itself(tmp_path: Path) -> None:
    with Servers(["-c", "max_connections=12"]) as servers:
        url = servers.database_url()
        with Stack(tmp_path, apps=["minimal"], bridge_keys={"database_url": url}, bridge_settings=LIMITS) as stack:
            headers = {"Authorization": f"Bearer {stack.client_token}"}

            def ask() -> httpx.Response:
                body = {"model": "minimal", "messages": [{"role": "user", "content": "!say there"}]}
                return httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)

            assert ask().status_code == 200
            with taken(url):
                refused = wait_for(lambda: answer if (answer := ask()).status_code != 200 else None)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
                assert int(refused.headers["retry-after"]) > 0
                wait_for(lambda: httpx.get(f"{stack.bridge_url}/readyz").status_code == 503 or None)
                assert httpx.get(f"{stack.bridge_url}/healthz").status_code == 200
            wait_for(lambda: httpx.get(f"{stack.bridge_url}/readyz").status_code == 200 or None)
            assert ask().json()["choices"][0]["message"]["content"] == "there"
            assert "Traceback" not in stack.bridge.log.read_text()


@contextlib.contextmanager
def taken(url: str) -> Iterator[None]:
    """End everyone else's connections to a database, and take all that it has, for as long as this lasts."""
    import psycopg

    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> ALL(%s)"
    own: list[psycopg.Connection[Any]] = []
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                own.append(psycopg.connect(url, autocommit=True))
                own[0].execute(ends, ([each.info.backend_pid for each in own],))
            except psycopg.OperationalError:
                if len(own) >= 12:
                    break
        yield
    finally:
        for each in own:
            each.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.test_at_rest", description=__doc__)
    parser.add_argument("--seed", help="there is no chance in it: taken and not used")
    parser.parse_args()
    for name, count in MANY.items():
        # So many may keep a bridge busy for longer than a slow sender is to be waited for. It is as long until a
        # connection is let go of that brings no further request.
        limits = LIMITS if name in {"slow", "deaf"} else {**LIMITS, "request_seconds": 75}
        with (
            tempfile.TemporaryDirectory() as folder,
            Stack(Path(folder), apps=["minimal"], bridge_settings=limits) as running,
        ):
            comes_to_rest(running, DEEDS[name], count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
