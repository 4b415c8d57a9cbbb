"""The machine's clock is set while calls wait: nothing ends at once, and nothing lasts an hour longer."""

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.stack import ROOT, Stack
from tests.e2e.conftest import call
from tests.e2e.executors import SECONDS, Chat, Machine, slow_tool, wait_for
from tests.e2e.test_survives import answered_after, begin

pytestmark = pytest.mark.compiler

HOUR = 3600
LEASE_SECONDS = 2
SWEEP_SECONDS = 0.5
SWEEPS = 6


@dataclass
class Clock:
    """The clock on the bridge's wall, as `clock.c` sets it by a file."""

    file: Path
    library: Path

    def jump(self, seconds: int) -> None:
        """Set it to so many seconds from the true time, and let the bridge notice."""
        self.file.write_text(str(seconds))
        time.sleep(SWEEPS * SWEEP_SECONDS)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    clock = Clock(tmp_path / "clock", tmp_path / "clock.so")
    clock.file.write_text("0")
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(clock.library), str(source)], check=True)
    return clock


@pytest.fixture
def stack(clock: Clock, tmp_path: Path) -> Iterator[Stack]:
    limits = {"lease_seconds": LEASE_SECONDS, "sweep_seconds": SWEEP_SECONDS, "forsaken_seconds": 15}
    limits |= {"ticket_seconds": HOUR, "approval_seconds": HOUR, "run_seconds": HOUR}
    with Stack(tmp_path, apps=["minimal"], bridge_settings=limits) as stack:
        stack.bridge.stop()
        stack.bridge.environ |= {"LD_PRELOAD": str(clock.library), "CLOCK_FILE": str(clock.file)}
        stack.bridge.start()
        yield stack


@pytest.fixture
def machine(stack: Stack, tmp_path: Path) -> Iterator[Machine]:
    with Machine(stack, tmp_path) as machine:
        yield machine


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR])
def test_what_waits_for_a_person_or_a_client_goes_on_waiting(
    clock: Clock, stack: Stack, machine: Machine, jump: int
) -> None:
    machine.executor("python", "tests.bridge.executors.notes")
    path = machine.folder / "noted.txt"
    script = f"{call('exec', command='x')}\n!then\n!say still here"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(Chat(stack, "minimal", "ann").say, call("note", path=str(path), text="hello"))
        waiting = machine.waiting_call()
        transcript = begin(stack, script, "client")
        clock.jump(jump)
        assert machine.waiting_call()["id"] == waiting["id"]
        assert machine.clawback("approve", waiting["id"]).returncode == 0
        assert "noted" in answer.result(SECONDS)
    assert path.read_text() == "hello"
    assert answered_after(stack, transcript, "client") == "still here"


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR])
def test_a_lease_ends_neither_at_once_nor_an_hour_later(
    clock: Clock, stack: Stack, machine: Machine, jump: int, tmp_path: Path
) -> None:
    slow_tool(tmp_path, "8 if Path(folder, 'patient').exists() or not begun else 0", "f'done by {begun}'")
    machine.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{tmp_path}"
    first = machine.executor("python", "slowly", name="first")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(Chat(stack, "minimal", "ben").say, call("slowly", folder=str(tmp_path)))
        wait_for(lambda: True if (tmp_path / "begun0").exists() else None)
        clock.jump(jump)
        assert "done by 0" in answer.result(SECONDS), "its executor was there all the time"
        (tmp_path / "begun1").unlink(missing_ok=True)
        answer = pool.submit(Chat(stack, "minimal", "cleo").say, call("slowly", folder=str(tmp_path)))
        (tmp_path / "patient").touch()
        wait_for(lambda: True if (tmp_path / "begun1").exists() else None)
        first.kill()
        (tmp_path / "patient").unlink()
        machine.executor("python", "slowly", name="second")
        clock.jump(-jump)
        assert "done by 2" in answer.result(SECONDS)
