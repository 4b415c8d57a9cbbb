"""What a turn costs the store, counted by SQLite itself: a number that grows only by decision."""

import json
import subprocess
import sys
from pathlib import Path

ROUNDS = 3
STATEMENTS = 76
COMMITS = 12


def test_a_turn_of_three_rounds_needs_so_many_statements_and_commits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.turn", "--turns", "5", "--rounds", str(ROUNDS)]
    done = subprocess.run([*command, "--trace", str(tmp_path / "trace")], capture_output=True, text=True, check=True)
    counted = json.loads(done.stdout)
    # A sweep may fall among the turns, and what watchers are told may be written by itself.
    assert STATEMENTS / 2 < counted["statements"] <= STATEMENTS + 4, counted["kinds"]
    assert counted["commits_that_write"] <= COMMITS + 1, counted["kinds"]
