"""A store of many finished runs: `python -m bench.large_store [--runs 1000 1000000] [--folder FOLDER]`.

Each run has an invocation, a model call, two nodes, three tickets with a call each and their steps, and four segments,
as turns of three rounds leave them. Prints a JSON line for each size: the bytes of a run on the disk, and by request of
the page and of operators the median milliseconds, the first byte's and the processor's of the whole; and while the
oldest half is forgotten, how long that takes and the slowest of the other transactions meanwhile. The stores are asked
in turn, so that what else the machine does weighs on all of them. In a FOLDER that is given they stay, and are found.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert

from bridge.app import create_app
from bridge.config import parse
from bridge.runs.core import Core
from bridge.store import schema as t
from tools.tokens import hash_token, new_token

PAGES = (
    "/",
    "/?page=15",
    "/?state=failed",
    "/?state=undecided",
    "/?longer=1",
    "/?app=assistant",
    "/statistics",
    "/runs/run5",
)
PAGES += ("/approvals", "/executors", "/health", "/try")
OPERATOR = ("/operator/v1/runs", "/operator/v1/runs?state=failed", "/operator/v1/runs/run5", "/operator/v1/status")
OPERATOR += ("/operator/v1/tickets", "/metrics")
TIMES = 15
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1_000, 1_000_000])
    parser.add_argument("--at-once", type=int, default=2_000)
    parser.add_argument("--forget-seconds", type=float, default=20)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        stores = [Large(folder / str(runs), runs, options.at_once) for runs in options.runs]
        for path in (*PAGES, *OPERATOR) * TIMES:
            for store in stores:
                store.ask(path)
        for store in stores:
            print(json.dumps(store.figures() | {"forgetting": store.forget(options.forget_seconds)}), flush=True)


class Large:
    """A store of so many runs, and how long it takes to answer."""

    def __init__(self, folder: Path, runs: int, at_once: int) -> None:
        self._folder, self._runs = folder, runs
        is_new, token = not folder.exists(), new_token("operator")
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        app = create_app(parse({"data_dir": str(folder), "tokens": {"operator": hash_token(token)}}))
        self.core: Core = app.extensions["clawback"]
        for first in range(0, runs if is_new else 0, at_once):
            with self.core.store.transaction() as connection:
                write(connection, range(first, min(first + at_once, runs)), runs)
        self._made = time.perf_counter() - began
        began = time.perf_counter()
        for _ in self.core.store.figures.counting(time.time()):
            pass
        self._counted = time.perf_counter() - began
        self._client = app.test_client()
        self._client.post("/login", data={"token": token}, headers={"Origin": "http://localhost"})
        self._operator = {"Authorization": f"Bearer {token}"}
        self._times: dict[str, list[tuple[float, float, float]]] = {}

    def ask(self, path: str) -> None:
        """Ask once: when did the answer begin, when did it end, and how long did the processor work for it?"""
        began, worked = time.perf_counter(), time.process_time()
        answer = self._client.get(path, headers=self._operator if path in OPERATOR else {}, buffered=False)
        assert answer.status_code == 200, (path, answer.status_code)
        pieces = iter(answer.response)
        next(pieces, None)
        first = time.perf_counter() - began
        for _ in pieces:
            pass
        times = (first, time.perf_counter() - began, time.process_time() - worked)
        self._times.setdefault(path, []).append(times)

    def figures(self) -> dict[str, Any]:
        """Return them, in milliseconds: of each request its first byte, its last, and the processor's."""
        found = {
            path: [round(1000 * statistics.median(each), 1) for each in zip(*times, strict=True)]
            for path, times in self._times.items()
        }
        made = {"opened_seconds": round(self._made, 1), "counted_seconds": round(self._counted, 1)}
        return {"runs": self._runs, "bytes_a_run": round(size(self._folder) / self._runs), **made, "ms": found}

    def forget(self, seconds: float) -> dict[str, Any]:
        """Forget the older half, for so long."""
        return forgotten(self.core, self._runs, seconds)


def forgotten(core: Core, runs: int, seconds: float) -> dict[str, Any]:
    """Forget the older half, for so long, and write something else meanwhile."""
    over, waits = threading.Event(), [0.0]

    def write_others() -> None:
        while not over.is_set():
            began = time.perf_counter()
            core.store.probe()
            waits.append(1000 * (time.perf_counter() - began))
            time.sleep(0.005)

    other = threading.Thread(target=write_others)
    other.start()
    began, gone = time.perf_counter(), 0
    step = began
    for count in core.store.forgetting(time.time() - runs / 2):
        gone += count
        # As long as the bridge itself lets others be served.
        time.sleep(time.perf_counter() - step)
        step = time.perf_counter()
        if time.perf_counter() - began > seconds:
            break
    took = time.perf_counter() - began
    over.set()
    other.join()
    return {"runs": gone, "a_second": round(gone / took), "slowest_other_ms": round(max(waits), 1)}


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("bridge.sqlite3*"))


def write(connection: Connection, numbers: Sequence[int], runs: int) -> None:
    """Write runs that ended a second after one another, the last one just now."""
    rows: dict[Table, list[dict[str, Any]]] = {}
    for number in numbers:
        for table, row in of_run(f"run{number}", number, time.time() - runs + number):
            rows.setdefault(table, []).append(row)
    for table in (t.sessions, t.pieces, t.runs, t.invocations, t.tickets, t.calls, t.events, t.segments, t.nodes):
        connection.execute(insert(table), rows[table])
    connection.execute(insert(t.model_calls), rows[t.model_calls])


def of_run(run: str, number: int, at: float) -> Iterator[tuple[Table, dict[str, Any]]]:
    session, state = f"session{number // 5}", "failed" if number % 10 == 0 else "finished"
    if number % 5 == 0:
        yield t.sessions, {"key": session, "model": "assistant", "dify_user": session, "updated_at": at, "scope": "s"}
        tools = {"session_key": session, "number": 6, "digest": "tools", "body": "[]"}
        yield t.pieces, tools | {"updated_at": at}
    body = '{"role":"user","content":"' + "word " * 40 + '"}'
    piece = {"session_key": session, "number": number % 5 + 1, "digest": f"{number % 5:032}", "body": body}
    yield t.pieces, piece | {"updated_at": at}
    request = '{"turn":0,"query":"' + "word " * 40 + '","kept":{"messages":[[1,1]],"tools":6}}'
    yield (
        t.runs,
        {"id": run, "model": "assistant", "session_key": session, "turn_key": f"{number:040}", "dify_user": session}
        | {"conversation_id": session, "query_digest": f"{number:016}", "state": state, "request": request}
        | {"request_key": f"{number:040}", "began_at": at - 5}
        | {"created_at": at - 5, "updated_at": at, "expires_at": at},
    )
    invocation = {"id": run, "run_id": run, "attempt": 1, "fingerprint": f"{number:040}", "state": "answered"}
    yield t.invocations, invocation | {"answer": "word " * 40, "created_at": at - 4, "ended_at": at - 1}
    for round_ in range(ROUNDS + 1):
        ticket = f"{run}r{round_}" if round_ < ROUNDS else None
        usage = '{"prompt_tokens":614,"completion_tokens":12}'
        segment = {"run_id": run, "number": round_, "text": "word " * 10, "ticket_id": ticket, "usage": usage}
        yield t.segments, segment | {"finish_reason": "tool_calls" if ticket else "stop", "created_at": at}
        called = {"invocation_id": run, "number": round_, "run_id": run, "round": round_, "at": at, "seconds": 0.5}
        yield t.model_calls, called | {"finish_reason": "stop", "prompt_tokens": 614, "before": 0}
        if ticket is None:
            continue
        times = {"created_at": at - 3, "updated_at": at - 2, "expires_at": at}
        opened = {"id": ticket, "run_id": run, "invocation_id": run, "round": round_, "state": "resolved"}
        yield t.tickets, opened | times | {"segment": round_, "reply": '{"messages":[]}'}
        call = {"id": f"{ticket}c", "ticket_id": ticket, "position": 0, "name": "exec", "state": "resolved"}
        yield t.calls, call | {"arguments": '{"command":"ls"}', "output": "a\n" * 100, "resolved_at": at - 2}
        for actor, event in (("plugin", "open"), ("bridge", "hand_out"), ("client", "resolve"), ("bridge", "settle")):
            told = {"at": at - 2, "run_id": run, "ticket_id": ticket, "actor": actor, "event": event}
            yield t.events, told | {"before": "open", "after": "resolved"}
    for name in ("Start", "Think"):
        node = {"run_id": run, "attempt": 1, "execution_id": name, "title": name, "node_type": "llm"}
        yield t.nodes, node | {"status": "succeeded", "started_at": at - 5, "ended_at": at, "node_id": name}


if __name__ == "__main__":
    main()
