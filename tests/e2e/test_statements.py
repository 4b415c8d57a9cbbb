"""What turns cost the store: numbers that grow only by decision."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import bench.turn
from bench.long_session import ask
from tests.e2e.conftest import MakeClient, MakeStack, upstream_log

TRACING = Path(bench.turn.__file__).parent / "trace"
ROUNDS = 3
STATEMENTS = 66
COMMITS = 12
SHARED = 50


def test_a_turn_of_three_rounds_needs_so_many_statements_and_commits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.turn", "--turns", "5", "--rounds", str(ROUNDS)]
    done = subprocess.run([*command, "--trace", str(tmp_path / "trace")], capture_output=True, text=True, check=True)
    counted = json.loads(done.stdout)
    # A sweep may fall among the turns. Where they take a second each, what is written late is not shared between them.
    assert STATEMENTS / 2 < counted["statements"] <= STATEMENTS + 10, counted["kinds"]
    assert counted["commits_that_write"] <= COMMITS + 1, counted["kinds"]


@pytest.mark.servers
@pytest.mark.timeout(300)
def test_a_turn_on_postgresql_needs_so_many_round_trips() -> None:
    command = [sys.executable, "-m", "bench.several_bridges", "--bridges", "1", "--turns", "4", "--at-once", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counted = json.loads(done.stdout)["a_turn"]
    assert SHARED / 3 < counted["trips"] <= SHARED, counted


WRITTEN_LATE = ('INSERT INTO "nodes"', 'INSERT INTO "model_calls"')
"""Of a turn, these may not be there yet."""


def test_tools_that_come_with_each_result_are_stored_where_they_are_others(
    make_stack: MakeStack, make_client: MakeClient
) -> None:
    stack = make_stack()
    client = make_client(stack)
    tools = client._tools.definitions
    offers = iter([tools, tools[1:], tools])

    def change(kind: str, _: Any) -> None:
        if kind == "result":
            client._tools.definitions = next(offers)

    client._tell = change
    rounds = "\n!then\n".join(f'!call exec {{"command": "echo {number}"}}' for number in range(3))
    client.ask(f"{rounds}\n!then\n!say done")
    with closing(sqlite3.connect(stack.store_url.removeprefix("sqlite:///"))) as store:
        replies = store.execute("SELECT reply FROM tickets ORDER BY created_at").fetchall()
    assert [json.loads(reply).get("tools") for (reply,) in replies] == [None, tools[1:], tools]
    asked = [len(entry["request"]["tools"]) for entry in upstream_log(stack, "!say done")]
    assert asked == [3, 3, 2, 3]


def test_a_turn_of_a_long_session_stores_what_is_new(make_stack: MakeStack, make_client: MakeClient) -> None:
    stack = make_stack()
    client, sizes = make_client(stack), []
    for number in range(24):
        ask(client, number, "word " * 50)
        with closing(sqlite3.connect(stack.store_url.removeprefix("sqlite:///"))) as store:
            rows = (line for line in store.iterdump() if not line.startswith(WRITTEN_LATE))
            sizes.append(sum(map(len, rows)))
    early, late = sizes[11] - sizes[3], sizes[23] - sizes[15]
    assert late < 1.1 * early, f"eight turns stored {early} bytes, and twelve turns later {late}"


def test_a_turn_of_a_long_session_asks_the_store_no_more_than_an_early_one(
    make_stack: MakeStack, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call that was ever made stands in the transcript, and none of them is looked up again."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("SQLITE_TRACE", str(trace))
    monkeypatch.setenv("PYTHONPATH", str(TRACING))
    client, asked = make_client(make_stack()), [0]
    for number in range(24):
        ask(client, number, "word " * 400)
        lines = trace.read_text(errors="replace").splitlines()
        asked.append(sum(line.count("'call") for line in lines if "SELECT" in line))
    early, late = asked[12] - asked[4], asked[24] - asked[16]
    assert early > 0
    assert late < 1.2 * early, f"eight turns asked for {early} calls, and twelve turns later for {late}"
