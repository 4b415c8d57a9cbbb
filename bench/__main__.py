"""All figures of docs/discussion/performance.md, measured in one run: `python -m bench [--json FILE] [--quick]`.

Prints a table: what was measured of Clawback, of the yardstick beside it, and what is wanted. The yardstick is Flask
under gunicorn's gevent worker that answers as many requests of the same sizes and keeps nothing (bench.bare_flask).
"""

import argparse
import asyncio
import http.client
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.turn import seconds_of
from demo.client import Client, session_headers
from demo.local_tools import DEFINITIONS, LocalTools
from demo.service import Service, children
from demo.stack import Stack

APP = "minimal"
ROUNDS = 3
SIZES = {"chat": (3_000, 1_500), "plugin": (1_000, 1_000)}
"""Bytes of a request and of its answer in a turn of this bench, rounded."""


@dataclass
class Figure:
    """One line of the table; `bare` is the yardstick's."""

    name: str
    measured: object
    bare: object = ""
    wanted: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a first look")
    options = parser.parse_args()
    scale = 10 if options.quick else 1
    figures: list[Figure] = []
    for part in (limits, start_up, turns, waiting, at_once):
        for figure in part(scale):
            figures.append(figure)
            print(f"{figure.name:<58} {figure.measured!s:>12} {figure.bare!s:>12}   {figure.wanted}", flush=True)
    if options.json:
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
        options.json.write_text(
            json.dumps({"machine": machine, "figures": [asdict(each) for each in figures]}, indent=1)
        )


def limits(_: int) -> list[Figure]:
    """What the machine allows: a byte there and back, and a page on the disk."""
    return [
        Figure("loopback round trip, ms", milliseconds(round_trip())),
        Figure("one commit: 4 KB written and synced, ms", milliseconds(commit())),
    ]


def round_trip() -> float:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as here:
        there, _ = server.accept()

        def echo() -> None:
            while data := there.recv(1):
                there.sendall(data)

        threading.Thread(target=echo, daemon=True).start()

        def once() -> None:
            here.sendall(b"x")
            here.recv(1)

        return median(once, 1000)


def commit() -> float:
    with tempfile.TemporaryFile() as file:

        def once() -> None:
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fdatasync(file.fileno())

        return median(once, 200)


def median(work: Callable[[], object], times: int) -> float:
    def timed() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return statistics.median(timed() for _ in range(times))


def start_up(_: int) -> list[Figure]:
    def run(*arguments: str) -> float:
        return median(lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True), 5)

    pass_, version = run("-c", "pass"), run("-m", "bridge.cli", "--version")
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "clawback.toml"
        config.write_text(f"port = 0\ndata_dir = {json.dumps(name)}\n")
        command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(config)]

        def serve() -> None:
            Service("bridge", command, Path(name) / "log").stop()

        began = time.perf_counter()
        service = Service("bridge", command, Path(name) / "log")
        ready = time.perf_counter() - began
        time.sleep(2)
        memory = proportional(service)
        service.stop()
        bare = Service("bare", [sys.executable, "-m", "bench.bare_flask"], Path(name) / "bare.log")
        time.sleep(1)
        bare_memory = proportional(bare)
        bare.stop()
    return [
        Figure("clawback --version, s", round(version, 2), round(pass_, 2), "<= 0.25"),
        Figure("clawback serve until ready, s", round(ready, 2), "", "<= 1"),
        Figure("idle memory of the bridge's processes (PSS), MB", round(memory), round(bare_memory), "<= 70"),
    ]


def proportional(service: Service) -> float:
    """Return the megabytes of the service's processes, what they share counted once."""
    total = 0
    for pid in (service.pid, *children(service.pid)):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            total += int(line.split()[1]) if line.startswith("Pss:") else 0
    return total / 1024


def turns(scale: int) -> list[Figure]:
    count = max(5, 60 // scale)
    with tempfile.TemporaryDirectory() as name:
        traced = of("bench.turn", "--turns", "10", "--rest", "10", "--trace", str(Path(name) / "trace"))
    plain = of("bench.turn", "--turns", str(count))
    long = of("bench.turn", "--turns", str(max(5, count // 3)), "--prompt", "200000")
    requests: dict[str, float] = plain["requests"]
    clients = ROUNDS + 1
    bare = bare_cpu(clients, round(sum(requests.values())) - clients, count)
    bridge, plugin = plain["cpu_ms"]["bridge"], plain["cpu_ms"]["plugin"]
    shown = ", ".join(f"{each:g} {route}" for route, each in sorted(requests.items(), key=lambda item: -item[1]))
    return [
        Figure("statements of a turn of three rounds", traced["statements"], "", "<= 60"),
        Figure("commits that write, per turn", traced["commits_that_write"], "", "<= 12"),
        Figure("statements per second at rest", traced["statements_a_second_at_rest"], 0, "<= 1"),
        Figure("bridge's CPU per turn, ms", bridge, bare, "<= 30, and <= 3 times bare"),
        Figure("plugin's CPU per turn, ms", plugin, "", "<= 20"),
        Figure(
            "bridge's CPU per turn with 200 KB, times that of 1 KB",
            round(long["cpu_ms"]["bridge"] / bridge, 1),
            "",
            "<= 1.5",
        ),
        Figure("requests per turn", round(sum(requests.values()), 1), "", shown),
    ]


def of(module: str, *arguments: str) -> Any:
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def bare_cpu(clients: int, plugins: int, count: int) -> float:
    """Return the milliseconds of CPU that the yardstick takes for the requests of a turn."""
    with tempfile.TemporaryDirectory() as name:
        service = Service("bare", [sys.executable, "-m", "bench.bare_flask"], Path(name) / "log")
        connection = http.client.HTTPConnection(urlsplit(service.ready["url"]).netloc)

        def turn() -> None:
            for kind, times in (("chat", clients), ("plugin", plugins)):
                size, answer = SIZES[kind]
                for _ in range(times):
                    body = json.dumps({"text": "x" * size})
                    connection.request("POST", f"/answer/{answer}", body, {"Content-Type": "application/json"})
                    connection.getresponse().read()

        turn()
        before = seconds_of(service.pid)
        for _ in range(10 * count):
            turn()
        used = seconds_of(service.pid) - before
        connection.close()
        service.stop()
    return round(1000 * used / (10 * count), 1)


def waiting(scale: int) -> list[Figure]:
    tickets = 2000 // scale
    found = of("bench.waiting_tickets", "--tickets", str(tickets))
    bridge, bare = found["bridge"], found["bare_flask"]
    return [
        Figure(
            f"result accepted until the plugin has it, p50, {tickets} wait, ms",
            bridge["p50_ms"],
            bare["p50_ms"],
            "<= 3 times bare",
        ),
        Figure(
            f"result accepted until the plugin has it, p99, {tickets} wait, ms",
            bridge["p99_ms"],
            bare["p99_ms"],
            "<= 10 times bare",
        ),
        Figure(
            "memory per waiting ticket, KB",
            bridge["kilobytes_a_ticket"],
            bare["kilobytes_a_ticket"],
            "<= 1.25 times bare",
        ),
        Figure("tickets opened per second", bridge["opened_a_second"], bare["opened_a_second"], ">= 500"),
        Figure("CPU to open a ticket, ms", bridge["cpu_ms_to_open"], bare["cpu_ms_to_open"]),
    ]


def at_once(scale: int) -> list[Figure]:
    count = 200 // scale
    with (
        tempfile.TemporaryDirectory() as name,
        Stack(Path(name), apps=[APP], bridge_settings={"dify_streams": 40}) as stack,
    ):
        client = per_second(count, lambda number: demo_turn(stack, number))
        light = asyncio.run(light_turns(stack, count))
    return [
        Figure("turns per second, 20 at once, demo's client", round(client, 1), "", ">= 14"),
        Figure("turns per second, 20 at once, light client", round(light, 1), "", ">= 20"),
    ]


def prompt(number: int) -> str:
    rounds = "\n!then\n".join(f'!call exec {{"command": "echo {number}-{index}"}}' for index in range(ROUNDS))
    return f"Turn {number}.\n{rounds}"


def per_second(count: int, turn: Callable[[int], None]) -> float:
    turn(-1)
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(turn, range(count)))
    return count / (time.monotonic() - began)


def demo_turn(stack: Stack, number: int) -> None:
    client = Client(stack.base_url, stack.client_token, APP, LocalTools(stack.folder), session=f"demo-{number}")
    assert client.ask(prompt(number)).http_requests == ROUNDS + 1
    client.close()


async def light_turns(stack: Stack, count: int) -> float:
    gate = asyncio.Semaphore(20)

    async def turn(number: int) -> None:
        async with gate:
            await light_turn(stack.base_url, stack.client_token, number)

    began = time.monotonic()
    await asyncio.gather(*(turn(number) for number in range(count)))
    return count / (time.monotonic() - began)


async def light_turn(base_url: str, client_token: str, number: int) -> None:
    """Take a turn over one connection, and run no tool."""
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    said: list[dict[str, Any]] = [{"role": "user", "content": prompt(number)}]
    headers = {
        "Host": address.netloc,
        "Authorization": f"Bearer {client_token}",
        "Content-Type": "application/json",
        **session_headers(f"light-{number}"),
    }
    for _ in range(ROUNDS + 1):
        body = json.dumps({"model": APP, "messages": said, "tools": DEFINITIONS, "stream": True}).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"POST /v1/chat/completions HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        streamed = (await reader.readuntil(b"0\r\n\r\n")).decode()
        calls: dict[int, dict[str, Any]] = {}
        for line in streamed.splitlines():
            if not line.startswith("data: {"):
                continue
            for part in [
                p for choice in json.loads(line[6:])["choices"] for p in choice["delta"].get("tool_calls", ())
            ]:
                call = calls.setdefault(part["index"], {"type": "function", "function": {"name": "", "arguments": ""}})
                call["id"] = part.get("id") or call["id"]
                call["function"]["name"] += part["function"].get("name", "")
                call["function"]["arguments"] += part["function"].get("arguments", "")
        if calls:
            said.append({"role": "assistant", "content": None, "tool_calls": list(calls.values())})
            said += [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls.values()]
    assert len(said) == 1 + 2 * ROUNDS, streamed
    writer.close()


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)


if __name__ == "__main__":
    main()
