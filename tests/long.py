"""What is too long for every change: `scripts/test long [NAME ...]`. CI runs a sample of each, with a seed of the day.

conversations   interleaved conversations that have much in common, by the thousand
abandoned       runs whose client has gone, a thousand of them, and what they hold
turns           a thousand turns of each outcome, and what is left of them in the bridge
rest            what many do to a bridge at once, and what is left of it
guarded         guarded texts against OpenClaw's own functions, by the hundred thousand
schedules       kills and astray requests of one bridge, 2,000 schedules, twelve at once
shared          the same with two bridges on one PostgreSQL
engines         the main job, kinds of apps, suspension and forms on the engines that scripts/setup engines installs
clients         every agent, framework and SDK that scripts/setup installs, as itself; one that is missing fails
"""

import argparse
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

tell = partial(print, flush=True)
SEED = int(time.strftime("%Y%m%d"))
ENGINES = Path(__file__).resolve().parent.parent / ".cache" / "engines"
PLAYED = [
    f"tests/e2e/test_{name}.py" for name in ("main_job", "app_kinds", "resuming", "stop_after_tool_calls", "forms")
]
SCHEDULES = ["--schedules", "2000", "--at-once", "12", "--keep-going"]
CLIENTS = ["tests/agents", "tests/sdk", "tests/e2e/test_openclaw.py", "tests/e2e/test_openclaw_hands.py"]
RUNS = {
    "engines": [],
    "clients": [],
    "conversations": ["tests.conversations", "--sets", "200"],
    "abandoned": ["tests.e2e.test_abandoned", "--runs", "1000"],
    "turns": ["tests.bridge.endpoint.test_nothing_stays", "--turns", "1000"],
    "rest": ["tests.e2e.test_at_rest"],
    "guarded": ["tests.guarded_texts", "--texts", "200000"],
    "schedules": ["tests.schedules", *SCHEDULES],
    "shared": ["tests.schedules", *SCHEDULES, "--shared"],
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/test long", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*RUNS, []], help="which of them (default: all)")
    parser.add_argument("--seed", type=int, default=SEED, help="the first seed (default: the date, %(default)s)")
    options = parser.parse_args()
    failed = []
    for name in options.names or RUNS:
        began = time.monotonic()
        tell(f"=== {name}: seed {options.seed}")
        code = BY_PYTEST[name]() if name in BY_PYTEST else play(RUNS[name], options.seed)
        tell(f"--- {name}: {(time.monotonic() - began) / 60:.1f} min, exit {code}")
        failed += [name] if code else []
    tell(f"broken: {', '.join(failed) or 'none'}")
    return bool(failed)


def play(command: list[str], seed: int) -> int:
    module, *arguments = command
    return subprocess.run([sys.executable, "-m", module, *arguments, "--seed", str(seed)], check=False).returncode


def play_on_engines() -> int:
    """Play with each engine; without one there is nothing that could be right."""
    pythons = sorted(ENGINES.glob("*/bin/python"))
    if not pythons:
        tell("no engine is installed: scripts/setup engines")
    return max([play_tests(python, *PLAYED) for python in pythons], default=1)


def play_clients() -> int:
    """Play with each client; as in CI, one that is not here is a failure."""
    return play_tests(sys.executable, "--numprocesses=2", "--dist=loadfile", *CLIENTS, CI="true")


def play_tests(python: str | Path, *arguments: str, **environ: str) -> int:
    command = [python, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, env={**os.environ, **environ}, check=False).returncode


BY_PYTEST = {"engines": play_on_engines, "clients": play_clients}


if __name__ == "__main__":
    sys.exit(main())
