"""The clock is set while something waits: it neither ends at once nor waits for hours."""

import time
from collections.abc import Iterator

import pytest

from bridge.store import clock
from bridge.store.clock import Clock

HOUR = 3600.0


class Machine:
    """A machine's clocks: `pass_` lets time pass, `jump` sets the clock on the wall."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._wall, self._steady = time.time(), time.monotonic()
        monkeypatch.setattr(clock.time, "time", lambda: self._wall)
        monkeypatch.setattr(clock.time, "monotonic", lambda: self._steady)

    def pass_(self, seconds: float) -> None:
        self._wall += seconds
        self._steady += seconds

    def jump(self, seconds: float) -> None:
        self._wall += seconds

    @property
    def wall(self) -> float:
        return self._wall


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with monkeypatch.context() as patched:
        yield Machine(patched)


def test_without_jumps_it_is_the_machine_s(machine: Machine) -> None:
    made = Clock()
    for seconds in (0.0, 0.1, 5.0, HOUR):
        machine.pass_(seconds)
        assert made.now() == pytest.approx(machine.wall)


@pytest.mark.parametrize("jump", [0.2, 200.0, HOUR, -0.2, -200.0, -HOUR])
def test_a_jump_makes_a_wait_at_most_twice_as_long_and_at_least_half(machine: Machine, jump: float) -> None:
    made = Clock()
    before = made.now()
    machine.jump(jump)
    assert made.now() == before
    last = before
    for second in range(1, 61):
        machine.pass_(1)
        now = made.now()
        assert second / 2 <= now - before <= second * 2
        assert now >= last
        last = now


@pytest.mark.parametrize("jump", [200.0, -200.0])
def test_it_is_right_again_after_a_while(machine: Machine, jump: float) -> None:
    made = Clock()
    machine.jump(jump)
    for _ in range(41):
        machine.pass_(10)
        made.now()
    assert made.now() == pytest.approx(machine.wall)
