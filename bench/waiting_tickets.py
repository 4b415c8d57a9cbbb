"""Open tickets that wait in one bridge process: `python -m bench.waiting_tickets [--tickets 2000]`.

Each ticket is an invocation of its own that attaches, opens it and waits by long poll, as the plugin does. An executor
claims the calls and posts their results one after the other. Measured is how fast tickets are opened, what they weigh,
and the time from before a result is posted until the plugin has it, so that it holds the way in, the transaction, the
wake-up and the way out; and the same for the least that could do it, Flask under gunicorn's gevent worker with dicts
and an event (bench.bare_flask), in the same run. What is sent was written before. Prints a JSON line.
"""

import argparse
import asyncio
import json
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.turn import seconds_of
from demo.service import Service, children
from tools.ids import new_tool_call_id, random_name
from tools.tokens import hash_token, new_token

AT_ONCE = 50
POLL_SECONDS = 30
SETTLE_SECONDS = 5
ATTACHED_BYTES = 800
"""About so much is the bridge's answer to an invocation that attaches."""
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


class Http(asyncio.Protocol):
    """One connection, kept open; just enough of HTTP/1.1 to measure somebody else."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._received = transport, b""  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, content = self._received.partition(b"\r\n\r\n")
        if (length := LENGTH.search(head)) and len(content) >= int(length[1]):
            self._received = b""
            self._answer.set_result((head, content))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    async def ask(self, request: bytes) -> bytes:
        """Send a whole request; return the body of its answer."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await loop.create_connection(lambda: self, self._host, self._port)
        self._answer: asyncio.Future[tuple[bytes, bytes]] = loop.create_future()
        assert self._transport
        self._transport.write(request)
        head, content = await self._answer
        assert head.startswith(b"HTTP/1.1 20"), (head, content)
        if b"connection: close" in head.lower():
            self.close()
        return content

    def close(self) -> None:
        if self._transport:
            self._transport.close()
        self._transport = None


LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def request(method: str, path: str, body: object = None, token: str = "") -> bytes:
    data = json.dumps(body).encode() if body is not None else b""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


class Invocation:
    """One ticket of the bridge's: what is sent for it."""

    def __init__(self, url: str, token: str) -> None:
        self._http = Http(url)
        name = random_name()
        self.ticket_id = f"{name}r0"
        self._run_id = random_name()
        call = {"id": new_tool_call_id(), "name": "read", "arguments": "{}"}
        attach = {"invocation_id": name, "fingerprint": "f", "model": "main", "user": name}
        ticket = {"run_id": self._run_id, "invocation_id": name, "round": 0, "calls": [call]}
        path = f"/plugin/v1/tickets/{self.ticket_id}"
        self._attach = request("POST", "/plugin/v1/attach", attach, token)
        self._open = request("PUT", path, ticket, token)
        self._wait = request("GET", f"{path}?invocation_id={name}&wait={POLL_SECONDS}", token=token)
        self._cancel = request("POST", f"{path}/cancel", {}, token)

    async def open(self) -> None:
        run_id = json.loads(await self._http.ask(self._attach))["run_id"]
        assert len(run_id) == len(self._run_id)
        await self._http.ask(self._open.replace(self._run_id.encode(), run_id.encode()))

    async def wait(self) -> float:
        """Return when the result was there."""
        while b'"open"' in await self._http.ask(self._wait):
            pass
        at = time.perf_counter()
        self._http.close()
        return at

    async def cancel(self) -> None:
        await self._http.ask(self._cancel)
        self._http.close()


class BareInvocation:
    """As many requests of such sizes to the yardstick."""

    def __init__(self, url: str, name: str) -> None:
        self._http = Http(url)
        self._attach = request("POST", f"/answer/{ATTACHED_BYTES}", {"text": "x" * 100})
        self._open = request("POST", f"/open/{name}", {"text": "x" * 200})
        self._wait = request("GET", f"/wait/{name}")

    async def open(self) -> None:
        await self._http.ask(self._attach)
        await self._http.ask(self._open)

    async def wait(self) -> float:
        await self._http.ask(self._wait)
        at = time.perf_counter()
        self._http.close()
        return at


async def measure_bridge(folder: Path, tickets: int) -> dict[str, Any]:
    tokens = {audience: new_token(audience) for audience in ("plugin", "executor")}
    config = folder / "clawback.toml"
    hashes = "".join(f'{audience} = "{hash_token(token)}"\n' for audience, token in tokens.items())
    config.write_text(f"port = 0\ndata_dir = {json.dumps(str(folder))}\n[tokens]\n{hashes}")
    command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(config)]
    service = Service("bridge", [*command, "--log-level", "warning"], folder / "bridge.log")
    try:
        url = service.ready["bridge_url"]
        executor = Http(url)

        async def ask(path: str, body: object) -> Any:
            return json.loads(
                await executor.ask(request("POST", f"/executor/v1/executors{path}", body, tokens["executor"]))
            )

        executor_id = (await ask("", {"name": "bench", "tools": [TOOL], "concurrency": 1000}))["executor_id"]
        # So that all code is loaded before memory is measured.
        first = Invocation(url, tokens["plugin"])
        await first.open()
        await first.cancel()
        invocations = [Invocation(url, tokens["plugin"]) for _ in range(tickets)]
        opened, waiting = await opening(service, invocations)
        by_ticket = {each.ticket_id: task for each, task in zip(invocations, waiting, strict=True)}
        times = []
        for _ in waiting:
            [call] = (await ask(f"/{executor_id}/claim", {"max": 1}))["calls"]
            result = {"lease_id": call["lease_id"], "tool_call_id": call["tool_call_id"], "output": "x" * 1000}
            post = ask(f"/{executor_id}/results", {"results": [result]})
            times.append(await handover(post, by_ticket[call["ticket_id"]]))
        executor.close()
        return {**opened, **percentiles(times)}
    finally:
        service.stop()


async def measure_bare(folder: Path, waiters: int) -> dict[str, Any]:
    service = Service("bare", [sys.executable, "-m", "bench.bare_flask"], folder / "bare.log")
    try:
        url = service.ready["url"]
        await BareInvocation(url, "first").open()
        opened, waiting = await opening(service, [BareInvocation(url, str(number)) for number in range(waiters)])
        poster = Http(url)
        times = []
        for name, task in enumerate(waiting):
            body = {"tool_results": [{"tool_call_id": str(name), "output": "x" * 1000}]}
            times.append(await handover(poster.ask(request("POST", f"/set/{name}", body)), task))
        poster.close()
        return {**opened, **percentiles(times)}
    finally:
        service.stop()


async def opening(
    service: Service, invocations: Sequence[Invocation | BareInvocation]
) -> tuple[dict[str, Any], list["asyncio.Task[float]"]]:
    """Open all tickets, so many at once; return what that took, and those who wait."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def open_one(invocation: Invocation | BareInvocation) -> None:
        async with gate:
            await invocation.open()

    weighed, used = memory(service), seconds_of(service.pid)
    began = time.perf_counter()
    await asyncio.gather(*map(open_one, invocations))
    took, used = time.perf_counter() - began, seconds_of(service.pid) - used
    waiting = [asyncio.create_task(invocation.wait()) for invocation in invocations]
    await asyncio.sleep(SETTLE_SECONDS)
    number = len(invocations)
    figures = {
        "opened_a_second": round(number / took),
        "cpu_ms_to_open": round(1000 * used / number, 2),
        "kilobytes_a_ticket": round((memory(service) - weighed) / number, 1),
    }
    return figures, waiting


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
