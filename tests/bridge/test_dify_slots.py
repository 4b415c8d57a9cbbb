"""Who has a place at Dify, who waits for one, and who gives way."""

import threading
import time
from collections.abc import Callable

import pytest

from bridge.runs.dify_slots import Slots


class Guest(threading.Thread):
    """A run that wants a place and keeps it until it is told to leave."""

    def __init__(self, streams: Slots, name: str, arrived: list[str]) -> None:
        super().__init__(daemon=True)
        self._streams, self._arrived = streams, arrived
        self.name = name
        self.leave = threading.Event()
        self.start()

    def run(self) -> None:
        with self._streams.place(self.name):
            self._arrived.append(self.name)
            self.leave.wait(20)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@pytest.fixture
def arrived() -> list[str]:
    return []


def test_who_came_first_is_first(arrived: list[str]) -> None:
    streams = Slots(1)
    guests = []
    for number in range(5):
        guests.append(Guest(streams, str(number), arrived))
        until(lambda: streams.used + streams.waiting == len(guests))
    for number, guest in enumerate(guests):
        assert arrived == [str(each) for each in range(number + 1)]
        guest.leave.set()
        guest.join(20)
        until(lambda number=number: len(arrived) == min(5, number + 2))  # type: ignore[misc]
    assert (streams.used, streams.waiting) == (0, 0)


def test_as_many_give_way_as_wait(arrived: list[str]) -> None:
    crowded = threading.Event()
    streams = Slots(2, crowded.set)
    guests = [Guest(streams, name, arrived) for name in ("a", "b")]
    until(lambda: streams.used == 2)
    assert not streams.gives_way("a")
    assert not crowded.is_set()
    guests.append(Guest(streams, "c", arrived))
    assert crowded.wait(20)
    until(lambda: streams.waiting == 1)
    assert not streams.gives_way("stranger")
    assert streams.gives_way("b")
    assert streams.gives_way("b"), "asked again it is still to leave"
    assert not streams.gives_way("a")
    crowded.clear()
    streams.stays("b")
    assert crowded.is_set(), "another one has to make room then"
    assert streams.gives_way("a")
    guests[0].leave.set()
    until(lambda: "c" in arrived)
    assert not streams.gives_way("b")
    for guest in guests:
        guest.leave.set()
        guest.join(20)


def test_a_higher_limit_lets_those_who_wait_in(arrived: list[str]) -> None:
    streams = Slots(1)
    guests = [Guest(streams, name, arrived) for name in ("a", "b")]
    until(lambda: streams.used == 1 and streams.waiting == 1)
    streams.limit = 2
    until(lambda: streams.used == 2)
    for guest in guests:
        guest.leave.set()
        guest.join(20)
