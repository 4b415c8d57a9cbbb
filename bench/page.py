"""How long the web page takes over 100,000 runs, and over one run of 1,000 steps: `.venv/bin/python -m bench.page`.

Prints one JSON line: the median and the slowest of the first bytes and the median of the last in milliseconds, by page,
how much of the first the processor worked for it, which tells more on a busy machine, and the page's size in bytes.
"""

import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import insert

from bridge.app import create_app
from bridge.config import parse
from bridge.runs.core import Core
from bridge.store import schema as t
from bridge.store.store import Store
from tools.tokens import hash_token, new_token

PATHS = ("/", "/?page=1000", "/?state=failed", "/?longer=1", "/statistics", "/runs/long")
RUNS, STEPS, TIMES = 100_000, 1_000, 7


def main() -> None:
    token = new_token("operator")
    with tempfile.TemporaryDirectory() as folder:
        config = parse({"data_dir": str(Path(folder)), "tokens": {"operator": hash_token(token)}, "log_content": True})
        app = create_app(config)
        core: Core = app.extensions["clawback"]
        _fill(core)
        client = app.test_client()
        client.post("/login", data={"token": token}, headers={"Origin": "http://localhost"})
        measured = {path: _measured(client, path) for path in PATHS}
        sys.stdout.write(json.dumps(measured) + "\n")


def _measured(client: FlaskClient, path: str) -> dict[str, Any]:
    first, worked, whole, text = [], [], [], b""
    for _ in range(TIMES):
        began, worked_before = time.perf_counter(), time.process_time()
        answer = client.get(path, buffered=False)
        assert answer.status_code == 200, path
        pieces = iter(answer.response)
        text = next(pieces)
        first.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - worked_before) * 1000)
        text += b"".join(pieces)
        whole.append((time.perf_counter() - began) * 1000)
    return {
        "first_byte": round(statistics.median(first)),
        "first_byte_processor": round(statistics.median(worked)),
        "slowest_first_byte": round(max(first)),
        "last_byte": round(statistics.median(whole)),
        "bytes": len(text),
        "lanes": len(re.findall(rb'id="lane-', text)),
    }


def _fill(core: Core) -> None:
    now = time.time()
    rows = [_run(f"run{n}", now - n) | {"state": "finished" if n % 1000 else "failed"} for n in range(RUNS)]
    with core.store.transaction() as connection:
        connection.execute(insert(t.runs), rows)
    long_run(core.store, "long", STEPS)


def long_run(store: Store, run_id: str, steps: int) -> None:
    """Write a run of so many rounds into a store, each with one call of a tool."""
    now = time.time()
    begun = now - 2 * steps
    ticket = {"invocation_id": run_id, "run_id": run_id, "state": "resolved", "updated_at": now, "expires_at": now}
    call = {"position": 0, "name": "exec", "arguments": '{"command": "ls"}', "state": "resolved", "verdict": "rule 1"}
    call |= {"output": "a\n" * 100, "is_error": False}
    event = {"run_id": run_id, "actor": "executor x", "before": "", "after": "", "detail": ""}
    node = {"attempt": 1, "execution_id": "e", "title": "Think", "node_type": "llm", "node_id": "1"}
    node |= {"run_id": run_id, "status": "succeeded", "retries": 0, "total_tokens": 1, "price": "", "currency": ""}
    invocation = {"id": run_id, "run_id": run_id, "attempt": 1, "fingerprint": "f", "state": "answered"}
    numbers = [(f"{run_id}{n}", n) for n in range(steps)]
    with store.transaction() as connection:
        connection.execute(insert(t.runs), [_run(run_id, begun)])
        connection.execute(insert(t.nodes), [node | {"started_at": begun, "ended_at": now}])
        connection.execute(insert(t.invocations), [invocation | {"created_at": begun + 1, "ended_at": now}])
        connection.execute(
            insert(t.tickets), [ticket | {"id": name, "round": n, "created_at": begun + 2 + n} for name, n in numbers]
        )
        connection.execute(insert(t.calls), [call | {"id": name, "ticket_id": name} for name, _ in numbers])
        connection.execute(
            insert(t.events),
            [
                event | {"ticket_id": name, "call_id": name, "event": told, "at": begun + 2 + n + place / 4}
                for name, n in numbers
                for place, told in enumerate(("allow", "claim", "resolve"))
            ],
        )


def _run(run_id: str, begun: float) -> dict[str, Any]:
    request = '{"messages": [{"role": "user", "content": "Look."}], "turn": 0, "query": "Look."}'
    run = dict.fromkeys(("session_key", "turn_key", "dify_user", "query_digest"), "x")
    values = {"id": run_id, "model": "assistant", "state": "finished", "request": request}
    return run | values | {"created_at": begun, "updated_at": time.time(), "expires_at": time.time()}


if __name__ == "__main__":
    main()
