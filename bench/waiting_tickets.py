"""Open tickets that wait in one bridge process: `python -m bench.waiting_tickets [--tickets 2000]`.

Each ticket is an invocation of its own that attached, opened it and waits by long poll, as the plugin does. An executor
claims the calls and posts their results one after the other. Measured is the time from before a result is posted until
the plugin has it, so that it holds the way in, the transaction, the wake-up and the way out; and the same for the least
that could do it, Flask under gunicorn's gevent worker with a dict and an event (bench.bare_flask), in the same run.
Prints a JSON line.
"""

import argparse
import asyncio
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from demo.service import Service, children
from tools.ids import new_tool_call_id, random_name
from tools.tokens import hash_token, new_token

AT_ONCE = 50
POLL_SECONDS = 30
TOOL = {"type": "function", "function": {"name": "read"}, "read_only": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tickets", type=int, default=2000)
    options = parser.parse_args()
    files = 2 * options.tickets + 1000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files if hard == resource.RLIM_INFINITY else min(files, hard), hard))
    with tempfile.TemporaryDirectory() as name:
        bridge = asyncio.run(measure_bridge(Path(name), options.tickets))
        bare = asyncio.run(measure_bare(Path(name), options.tickets))
    print(json.dumps({"tickets": options.tickets, "bridge": bridge, "bare_flask": bare}))


class Http:
    """One connection, kept open; just enough of HTTP/1.1 to measure somebody else."""

    def __init__(self, url: str, token: str = "") -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        data = json.dumps(body).encode() if body is not None else b""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in answer.splitlines() if line.lower().startswith("content-le"))
        content = await reader.readexactly(length)
        assert " 20" in answer.splitlines()[0], (answer, content)
        if "connection: close" in answer.lower():
            self.close()
        return json.loads(content or b"null")

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def measure_bridge(folder: Path, tickets: int) -> dict[str, Any]:
    tokens = {audience: new_token(audience) for audience in ("plugin", "executor")}
    config = folder / "clawback.toml"
    hashes = "".join(f'{audience} = "{hash_token(token)}"\n' for audience, token in tokens.items())
    config.write_text(f"port = 0\ndata_dir = {json.dumps(str(folder))}\n[tokens]\n{hashes}")
    command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(config)]
    service = Service("bridge", [*command, "--log-level", "warning"], folder / "bridge.log")
    try:
        url = service.ready["bridge_url"]
        executor = Http(url, tokens["executor"])
        registration = {"name": "bench", "tools": [TOOL], "concurrency": 1000}
        executor_id = (await executor.ask("POST", "/executor/v1/executors", registration))["executor_id"]
        await wait_open(url, tokens["plugin"])
        before = memory(service)
        gate = asyncio.Semaphore(AT_ONCE)
        began = time.perf_counter()
        opened: set[str] = set()
        waiting = [asyncio.create_task(invocation(url, tokens["plugin"], gate, opened)) for _ in range(tickets)]
        while len(opened) < tickets:
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in waiting), next(t.exception() for t in waiting if t.done())
            await executor.ask("POST", f"/executor/v1/executors/{executor_id}/heartbeat", {})
        opening = time.perf_counter() - began
        await asyncio.sleep(2)
        after = memory(service)
        by_ticket = {ticket_id: task for task in waiting for ticket_id in [task.get_name()]}
        times = []
        for _ in opened:
            [call] = (await executor.ask("POST", f"/executor/v1/executors/{executor_id}/claim", {"max": 1}))["calls"]
            result = {"lease_id": call["lease_id"], "tool_call_id": call["tool_call_id"], "output": "x" * 1000}
            post = executor.ask("POST", f"/executor/v1/executors/{executor_id}/results", {"results": [result]})
            times.append(await handover(post, by_ticket[call["ticket_id"]]))
        executor.close()
        return {
            "kilobytes_a_ticket": round((after - before) / tickets, 1),
            "opened_a_second": round(tickets / opening),
            **percentiles(times),
        }
    finally:
        service.stop()


async def wait_open(url: str, token: str) -> None:
    """Open one ticket and cancel it, so that all code is loaded before memory is measured."""
    opened: set[str] = set()
    task = asyncio.create_task(invocation(url, token, asyncio.Semaphore(1), opened))
    while not opened:
        await asyncio.sleep(0.01)
    plugin = Http(url, token)
    await plugin.ask("POST", f"/plugin/v1/tickets/{next(iter(opened))}/cancel", {})
    await task
    plugin.close()


async def invocation(url: str, token: str, gate: asyncio.Semaphore, opened: set[str]) -> float:
    """Attach, open a ticket, wait for it; return when its result was there."""
    http = Http(url, token)
    invocation_id = random_name()
    async with gate:
        asked = {"invocation_id": invocation_id, "fingerprint": "f", "model": "main", "user": invocation_id}
        run_id = (await http.ask("POST", "/plugin/v1/attach", asked))["run_id"]
        ticket_id = f"{invocation_id}r0"
        call = {"id": new_tool_call_id(), "name": "read", "arguments": "{}"}
        ticket = {"run_id": run_id, "invocation_id": invocation_id, "round": 0, "calls": [call]}
        await http.ask("PUT", f"/plugin/v1/tickets/{ticket_id}", ticket)
    task = asyncio.current_task()
    assert task is not None
    task.set_name(ticket_id)
    opened.add(ticket_id)
    path = f"/plugin/v1/tickets/{ticket_id}?invocation_id={invocation_id}&wait={POLL_SECONDS}"
    while (await http.ask("GET", path))["state"] == "open":
        pass
    at = time.perf_counter()
    http.close()
    return at


async def measure_bare(folder: Path, waiters: int) -> dict[str, Any]:
    service = Service("bare", [sys.executable, "-m", "bench.bare_flask"], folder / "bare.log")
    try:
        url = service.ready["url"]
        before = memory(service)

        async def wait(name: str) -> float:
            http = Http(url)
            await http.ask("GET", f"/wait/{name}")
            at = time.perf_counter()
            http.close()
            return at

        waiting = {name: asyncio.create_task(wait(name)) for name in map(str, range(waiters))}
        await asyncio.sleep(5)
        after = memory(service)
        poster = Http(url)
        times = []
        for name, task in waiting.items():
            body = {"tool_results": [{"tool_call_id": name, "output": "x" * 1000}]}
            times.append(await handover(poster.ask("POST", f"/set/{name}", body), task))
        poster.close()
        return {"kilobytes_a_ticket": round((after - before) / waiters, 1), **percentiles(times)}
    finally:
        service.stop()


async def handover(post: Awaitable[Any], waiter: "asyncio.Task[float]") -> float:
    """Return the seconds from before a result is posted until who waits for it has it."""
    began = time.perf_counter()
    await post
    return await waiter - began


def percentiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    named: dict[str, Callable[[], float]] = {
        "p50": lambda: cuts[49],
        "p99": lambda: cuts[98],
        "most": lambda: max(times),
    }
    return {f"{name}_ms": round(1000 * value(), 2) for name, value in named.items()}


def memory(service: Service) -> float:
    """Return the kilobytes of memory that the service's processes hold."""
    total = 0.0
    for pid in [service.pid, *children(service.pid)]:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                total += int(line.split()[1])
    return total


if __name__ == "__main__":
    main()
