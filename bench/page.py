"""How long the web page takes over 100,000 runs, and over one run of 1,000 steps: `.venv/bin/python -m bench.page`.

Prints one JSON line: the median and the slowest of the first bytes in milliseconds, by page, and its size in bytes.
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
from tools.tokens import hash_token, new_token

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
        measured = {path: _measured(client, path) for path in ("/", "/?page=1000", "/?state=failed", "/runs/long")}
        sys.stdout.write(json.dumps(measured) + "\n")


def _measured(client: FlaskClient, path: str) -> dict[str, Any]:
    took, size = [], 0
    for _ in range(TIMES):
        began = time.perf_counter()
        answer = client.get(path)
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, path
        size = len(answer.data)
    lanes = len(re.findall(r'id="lane-', answer.text))
    return {"median": round(statistics.median(took)), "slowest": round(max(took)), "bytes": size, "lanes": lanes}


def _fill(core: Core) -> None:
    now = time.time()
    request = '{"messages": [{"role": "user", "content": "Look."}], "turn": 0, "query": "Look."}'
    run = dict.fromkeys(("session_key", "turn_key", "dify_user", "query_digest"), "x")
    run |= {"model": "assistant", "state": "finished", "request": request, "updated_at": now, "expires_at": now}
    node = {"attempt": 1, "title": "Think", "node_type": "llm", "status": "succeeded", "ended_at": now}
    node |= {
        "execution_id": "e",
        "retries": 0,
        "total_tokens": 1,
        "price": "",
        "currency": "",
        "started_at": now - 2000,
    }
    call = {"position": 0, "name": "exec", "arguments": '{"command": "ls"}', "state": "resolved", "verdict": "rule 1"}
    call |= {"output": "a\n" * 100, "is_error": False}
    ticket = {"invocation_id": "i", "run_id": "long", "state": "resolved", "updated_at": now, "expires_at": now}
    event = {"run_id": "long", "actor": "executor x", "before": "", "after": "", "detail": ""}
    with core.store.transaction() as connection:
        numbers = range(RUNS)
        rows = [run | {"id": f"run{n}", "created_at": now - n, "state": _state(n)} for n in numbers]
        connection.execute(insert(t.runs), [*rows, run | {"id": "long", "created_at": now - 2000}])
        connection.execute(insert(t.nodes), [node | {"run_id": "long", "node_id": "1"}])
        invocation = {"id": "i", "run_id": "long", "attempt": 1, "fingerprint": "f", "state": "answered"}
        connection.execute(insert(t.invocations), [invocation | {"created_at": now - 1999, "ended_at": now}])
        steps = range(STEPS)
        connection.execute(
            insert(t.tickets), [ticket | {"id": f"t{n}", "round": n, "created_at": now - 1998 + n} for n in steps]
        )
        connection.execute(insert(t.calls), [call | {"id": f"c{n}", "ticket_id": f"t{n}"} for n in steps])
        connection.execute(
            insert(t.events),
            [
                event | {"ticket_id": f"t{n}", "call_id": f"c{n}", "event": name, "at": now - 1998 + n + place / 4}
                for n in steps
                for place, name in enumerate(("allow", "claim", "resolve"))
            ],
        )


def _state(number: int) -> str:
    return "failed" if number % 1000 == 0 else "finished"


if __name__ == "__main__":
    main()
