"""A store of many finished runs: `python -m bench.large_store [--runs 1000 1000000] [--at-once 2000]`.

Each run has an invocation, a model call, two nodes, three tickets with a call each and their steps, and four segments,
as turns of three rounds leave them. Prints a JSON line for each size: the bytes of a run on the disk, and by request of
the page and of operators the median milliseconds; and while the oldest half is forgotten, how long that takes and the
slowest of the other transactions meanwhile.
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

from flask.testing import FlaskClient
from sqlalchemy import Connection, Table, insert

from bridge.app import create_app
from bridge.config import parse
from bridge.runs.core import Core
from bridge.store import schema as t
from tools.tokens import hash_token, new_token

PAGES = ("/", "/?page=50", "/?state=failed", "/?longer=1", "/statistics", "/runs/run5", "/approvals", "/executors")
OPERATOR = ("/operator/v1/runs", "/operator/v1/runs/run5", "/operator/v1/status", "/operator/v1/tickets", "/metrics")
TIMES = 7
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1_000, 1_000_000])
    parser.add_argument("--at-once", type=int, default=2_000)
    parser.add_argument("--forget-seconds", type=float, default=20)
    options = parser.parse_args()
    for runs in options.runs:
        with tempfile.TemporaryDirectory() as name:
            print(json.dumps(measured(Path(name), runs, options.at_once, options.forget_seconds)), flush=True)


def measured(folder: Path, runs: int, at_once: int, forget_seconds: float) -> dict[str, Any]:
    token = new_token("operator")
    app = create_app(parse({"data_dir": str(folder), "tokens": {"operator": hash_token(token)}}))
    core: Core = app.extensions["clawback"]
    for first in range(0, runs, at_once):
        with core.store.transaction() as connection:
            write(connection, range(first, min(first + at_once, runs)), runs)
    client = app.test_client()
    client.post("/login", data={"token": token}, headers={"Origin": "http://localhost"})
    operator = {"Authorization": f"Bearer {token}"}
    paths: dict[str, dict[str, str]] = {path: {} for path in PAGES} | dict.fromkeys(OPERATOR, operator)
    result: dict[str, Any] = {"runs": runs, "bytes_a_run": round(size(folder) / runs)}
    result["ms"] = {path: median(client, path, headers) for path, headers in paths.items()}
    return result | {"forgetting": forgotten(core, runs, forget_seconds)}


def median(client: FlaskClient, path: str, headers: dict[str, str]) -> float | str:
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        answer = client.get(path, headers=headers)
        if answer.status_code != 200:
            return f"HTTP {answer.status_code}"
        answer.get_data()
        times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times), 1)


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
    for count in core.store.forgetting(time.time() - runs / 2):
        gone += count
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
    session, state = f"session{number // 5}", "failed" if number % 100 == 0 else "finished"
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
