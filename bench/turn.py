"""What one turn costs: `python -m bench.turn [--turns 20] [--app minimal] [--rounds 3] [--prompt 1000] [--trace FILE]`.

A turn has `--rounds` rounds of one tool call each, so one client request more than that. Turns run one after the
other, each in a session of its own, after some that warm up. Prints one JSON line: per turn, the CPU milliseconds of
each part, and with `--trace` the statements that SQLite ran in the bridge and its commits that wrote, which slow it.
"""

import argparse
import json
import os
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from bridge.store.statements import LATEST_SECONDS
from demo.client import Client
from demo.local_tools import LocalTools
from demo.service import children
from demo.stack import EXAMPLES, Stack

WARM_UP = 5
WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=1000, help="characters of the user's words")
    parser.add_argument("--app", choices=EXAMPLES, default="minimal")
    parser.add_argument("--rest", type=float, default=0, help="seconds for which the bridge is watched at rest, too")
    parser.add_argument("--trace", type=Path, help="write each statement into this file")
    options = parser.parse_args()
    if options.trace:
        options.trace.unlink(missing_ok=True)
        os.environ |= {"SQLITE_TRACE": str(options.trace), "PYTHONPATH": str(Path(__file__).parent / "trace")}
    with tempfile.TemporaryDirectory() as name, Stack(Path(name), apps=[options.app]) as stack:
        print(json.dumps(measured(stack, options)))


def measured(stack: Stack, options: argparse.Namespace) -> dict[str, Any]:
    for number in range(WARM_UP):
        turn(stack, options, number)
    # What counts the requests reads the store, too.
    answered = requests(stack)
    before, statements = cpu(stack), len(lines(options.trace))
    began = time.monotonic()
    for number in range(options.turns):
        turn(stack, options, WARM_UP + number)
    wall = time.monotonic() - began
    # What follows a turn still runs.
    time.sleep(LATEST_SECONDS + 0.2)
    taken = len(lines(options.trace))
    result: dict[str, Any] = {
        "turns": options.turns,
        "seconds": round(wall / options.turns, 3),
        "cpu_ms": {part: round(1000 * (now - before[part]) / options.turns, 1) for part, now in cpu(stack).items()},
    }
    result["requests"] = {
        route: round((count - answered.get(route, 0)) / options.turns, 1)
        for route, count in requests(stack).items()
        if count > answered.get(route, 0) and route != "GET /metrics"
    }
    if options.trace:
        resting = len(lines(options.trace))
        time.sleep(options.rest)
        at_rest = len(lines(options.trace)) - resting
        result |= {"statements_a_second_at_rest": round(at_rest / options.rest, 1)} if options.rest else {}
        result |= counts(lines(options.trace)[statements:taken], options.turns)
    return result


def turn(stack: Stack, options: argparse.Namespace, number: int) -> None:
    rounds = "\n!then\n".join(f'!call exec {{"command": "echo {number}-{index}"}}' for index in range(options.rounds))
    client = Client(stack.base_url, stack.client_token, options.app, LocalTools(stack.folder), session=f"turn-{number}")
    outcome = client.ask(f"Turn {number}. {'word ' * (options.prompt // 5)}\n{rounds}")
    client.close()
    if outcome.http_requests != options.rounds + 1:
        raise SystemExit(f"turn {number} took {outcome.http_requests} requests: {outcome.reply.text}")


def cpu(stack: Stack) -> dict[str, float]:
    """Return the seconds of CPU that each part has used; the plugin's process belongs to the box."""
    plugins = sum(map(used, children(stack.box.pid)))
    return {"bridge": seconds_of(stack.bridge.pid), "box": used(stack.box.pid), "plugin": plugins}


def seconds_of(pid: int) -> float:
    """Return the seconds of CPU that a process and its children have used."""
    return sum(map(used, (pid, *children(pid))))


def used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def requests(stack: Stack) -> dict[str, float]:
    """Return how many requests the bridge has answered, by route."""
    answer = httpx.get(f"{stack.bridge_url}/metrics", headers={"Authorization": f"Bearer {stack.operator_token}"})
    found = re.findall(r'http_requests_total\{method="(\w+)",route="([^"]*)",status="\d+"\} (\S+)', answer.text)
    counted: Counter[str] = Counter()
    for method, route, count in found:
        counted[f"{method} {route}"] += float(count)  # type: ignore[assignment]
    return dict(counted)


def lines(trace: Path | None) -> list[str]:
    return trace.read_text(errors="replace").splitlines() if trace and trace.exists() else []


def counts(statements: list[str], turns: int) -> dict[str, Any]:
    transactions = commits = wrote = 0
    for statement in statements:
        word = statement.split(" ", 1)[0].upper()
        wrote += word in WRITES
        if word in {"COMMIT", "ROLLBACK"}:
            transactions += 1
            commits += bool(wrote)
            wrote = 0
    kinds = Counter(" ".join(statement.split()[:3]) for statement in statements)
    return {
        "statements": round(len(statements) / turns, 1),
        "transactions": round(transactions / turns, 1),
        "commits_that_write": round(commits / turns, 1),
        "kinds": {kind: round(count / turns, 1) for kind, count in kinds.most_common(15)},
    }


if __name__ == "__main__":
    main()
