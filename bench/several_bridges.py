"""Bridges on one PostgreSQL: `python -m bench.several_bridges [--bridges 1 2 4 8] [--turns 40] [--at-once 8]`.

A relay gives each connection, a client's or the plugin's, to the next bridge, so that most requests of a turn reach
another bridge than the one that drives it. Between each bridge and PostgreSQL another relay counts what goes by, and
every ten milliseconds PostgreSQL is asked who waits for a lock. Prints a JSON line for each number of bridges. What
bridges ask by the clock, however many turns there are, is counted apart, each second and bridge; `bytes` are of both.
"""

import argparse
import asyncio
import itertools
import json
import re
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench.__main__ import APP, light_turn
from bench.turn import seconds_of
from demo.service import Service
from demo.stack import Stack, free_port
from tests.servers import Servers

SAMPLE_SECONDS = 0.01
WARM_UP = 4
_WAITS = """
    SELECT extract(epoch FROM clock_timestamp() - lock.waitstart),
        waits.wait_event, waits.query, holds.wait_event, holds.query
    FROM pg_locks lock JOIN pg_stat_activity waits USING (pid)
    LEFT JOIN pg_stat_activity holds ON holds.pid = ANY (pg_blocking_pids(waits.pid))
    WHERE NOT lock.granted ORDER BY 1 DESC LIMIT 1
"""
_DONE = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"

BY_THE_CLOCK = re.compile(
    r"UPDATE runs SET driven_at|SELECT EXISTS|SELECT runs\.id, runs\.version\s+FROM runs\s+WHERE runs\.id IN|;?$"
)
"""How the statements begin: what is driven, what is due, what has changed, and whether a connection is still there."""

Address = tuple[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridges", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--kinds", type=int, default=0, help="print so many kinds of trips, the most frequent ones")
    options = parser.parse_args()
    with Servers() as servers, loop() as relays:
        for bridges in options.bridges:
            print(json.dumps(measured(servers, relays, bridges, options)), flush=True)


@dataclass
class Counted:
    """What bridges sent to PostgreSQL, and the bytes of both ways. Each trip is sent and waited for."""

    statements: int = 0
    trips: int = 0
    size: int = 0
    by_the_clock: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """How many trips of each kind there were."""

    def see(self, trip: Sequence[str]) -> None:
        if trip and all(map(BY_THE_CLOCK.match, trip)):
            self.by_the_clock += 1
            return
        self.statements += len(trip)
        self.trips += 1
        first, *more = [" ".join(statement.split())[:90] for statement in trip] or [""]
        self.kinds[f"{first}{f' and {len(more)} more' if more else ''}"] += 1


class Relays:
    """Relays of this process, all in one thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def start(self, targets: Sequence[Address], counted: Counted | None = None) -> int:
        """Give each connection to the next of the targets, which may become more; return the port."""
        turns = itertools.count()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, back = await asyncio.open_connection(*targets[next(turns) % len(targets)])
            except OSError:
                writer.close()
                return
            await asyncio.gather(_pass_on(reader, back, counted, Messages(counted)), _pass_on(there, writer, counted))

        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(relay, "127.0.0.1", 0), self._loop).result()
        return int(server.sockets[0].getsockname()[1])


class Messages:
    """Takes the messages that a client of PostgreSQL sends apart. The first one says no kind."""

    def __init__(self, counted: Counted | None) -> None:
        self._counted, self._rest, self._is_first = counted, b"", True
        self._trip: list[str] = []

    def feed(self, data: bytes) -> None:
        if self._counted is None:
            return
        rest = self._rest + data
        while len(rest) >= (head := 4 if self._is_first else 5):
            (length,) = struct.unpack("!i", rest[head - 4 : head])
            end = length + head - 4
            if len(rest) < end:
                break
            if not self._is_first:
                self._take(self._counted, rest[:1], rest[5:end])
            # A request for TLS is eight bytes long, and is answered before the first message proper.
            self._is_first = self._is_first and length == 8
            rest = rest[end:]
        self._rest = rest

    def _take(self, counted: Counted, kind: bytes, body: bytes) -> None:
        # Source: PostgreSQL's protocol, version 3: Parse and Query hold a statement; Sync and Query ask for an answer.
        if kind in {b"P", b"Q"}:
            self._trip.append(body.split(b"\0")[kind == b"P"].decode())
        if kind in {b"S", b"Q"}:
            counted.see(self._trip)
            self._trip = []


async def _pass_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    counted: Counted | None,
    messages: Messages | None = None,
) -> None:
    try:
        while data := await reader.read(65536):
            if counted:
                counted.size += len(data)
            if messages:
                messages.feed(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@contextmanager
def loop() -> Iterator[Relays]:
    running = asyncio.new_event_loop()
    threading.Thread(target=running.run_forever, daemon=True).start()
    yield Relays(running)
    running.call_soon_threadsafe(running.stop)


class Waits(threading.Thread):
    """Asks PostgreSQL who waits for a lock, and for how long already."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self._ended = url, threading.Event()
        self.samples, self.seen = 0, 0
        self.longest: dict[str, tuple[float, list[str]]] = {}
        """By whom whoever held the lock was kept waiting: the longest wait, and for what, by what, who held it and how.
        Where that was a bridge, it had not sent the rest yet: it had no processor, or a slow network.
        """

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._ended.wait(SAMPLE_SECONDS):
                seconds, *who = connection.execute(_WAITS).fetchone() or (None,)
                self.samples += 1
                if seconds is not None:
                    self.seen += 1
                    by = "a bridge" if who[2] == "ClientRead" else "postgresql"
                    said = [" ".join((each or "").split())[:80] for each in who]
                    self.longest[by] = max(self.longest.get(by, (0.0, [])), (round(1000 * float(seconds), 1), said))

    def end(self) -> None:
        self._ended.set()
        self.join()


def measured(servers: Servers, relays: Relays, bridges: int, options: argparse.Namespace) -> dict[str, Any]:
    turns, at_once = options.turns, options.at_once
    direct, counted = servers.database_url(), Counted()
    place = urlsplit(direct)
    through = direct.replace(f":{place.port}/", f":{relays.start([('127.0.0.1', place.port or 0)], counted)}/")
    keys = {"database_url": through, "wakeups_url": servers.redis_url}
    ports: list[Address] = []
    front = relays.start(ports)
    credentials = {"bridge_url": f"http://127.0.0.1:{front}"}
    with (
        tempfile.TemporaryDirectory() as name,
        Stack(
            Path(name), apps=[APP], bridge_keys=keys, bridge_settings={"dify_streams": 40}, credentials=credentials
        ) as stack,
        psycopg.connect(direct.rpartition("/")[0] + "/postgres", autocommit=True) as observer,
    ):
        ports.append(("127.0.0.1", urlsplit(stack.bridge_url).port or 0))
        others = [started(stack, number, ports) for number in range(1, bridges)]
        waits = Waits(direct.rpartition("/")[0] + "/postgres")
        try:
            pids = [stack.bridge.pid, *(other.pid for other in others)]
            asyncio.run(take(front, stack, range(WARM_UP), at_once))
            time.sleep(4)

            def figures() -> list[float]:
                (done,) = observer.execute(_DONE, [place.path.strip("/")]).fetchone() or (0,)
                cpu = [sum(map(seconds_of, each)) for each in (pids, [servers.postgres.pid])]
                return [counted.statements, counted.trips, counted.size, float(done), *cpu, float(counted.by_the_clock)]

            counted.kinds.clear()
            before, began = figures(), time.monotonic()
            waits.start()
            asyncio.run(take(front, stack, range(WARM_UP, WARM_UP + turns), at_once))
            seconds = time.monotonic() - began
            waits.end()
            # What is written late, and what PostgreSQL says of itself, is there some seconds later.
            time.sleep(4)
            used = [(after - earlier) / turns for after, earlier in zip(figures(), before, strict=True)]
            by_the_clock = used.pop() * turns / bridges / (time.monotonic() - began)
        finally:
            for other in others:
                other.stop()
    names = ("statements", "trips", "bytes", "transactions")
    return {
        "bridges": bridges,
        "turns_a_second": round(turns / seconds, 1),
        "a_turn": dict(zip(names, map(round, used), strict=False)),
        "a_second_and_bridge": {"trips": round(by_the_clock, 2)},
        "cpu_ms": {"bridges": round(1000 * used[4]), "postgresql": round(1000 * used[5])},
        "lock_waits": {
            "samples": waits.samples,
            "seen": waits.seen,
            "longest_ms": waits.longest,
        },
        "kinds": {kind: round(count / turns, 1) for kind, count in counted.kinds.most_common(options.kinds)},
    }


def started(stack: Stack, number: int, ports: list[Address]) -> Service:
    """Start a further bridge with the configuration of the first one."""
    port = free_port()
    config = (stack.folder / "clawback.toml").read_text()
    config = re.sub(r"^port = .*$", f"port = {port}", config, flags=re.MULTILINE)
    folder = json.dumps(str(stack.folder / f"bridge{number}"))
    config = re.sub(r"^data_dir = .*$", f"data_dir = {folder}", config, flags=re.MULTILINE)
    path = stack.folder / f"bridge{number}.toml"
    path.touch(mode=0o600)
    path.write_text(config)
    command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(path)]
    service = Service(f"bridge{number}", command, stack.folder / f"bridge{number}.log")
    ports.append(("127.0.0.1", port))
    return service


async def take(front: int, stack: Stack, numbers: Sequence[int], at_once: int) -> None:
    """Take turns."""
    gate = asyncio.Semaphore(at_once)

    async def turn(number: int) -> None:
        async with gate:
            await light_turn(f"http://127.0.0.1:{front}/v1", stack.client_token, number)

    await asyncio.gather(*(turn(number) for number in numbers))


if __name__ == "__main__":
    main()
