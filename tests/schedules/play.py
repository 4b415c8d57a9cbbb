"""Plays one schedule, and says which promises it broke."""

import contextlib
import threading
import time
from dataclasses import dataclass

from tests.schedules.client import Client
from tests.schedules.parts import Parts, wait_until
from tests.schedules.person import Person
from tests.schedules.plan import Schedule
from tests.schedules.promises import breaches
from tests.schedules.record import Record

QUIET_SECONDS = 45


@dataclass
class Outcome:
    """How a schedule went."""

    schedule: Schedule
    breaches: list[str]
    seconds: float
    record: Record


def play(parts: Parts, schedule: Schedule, number: int) -> Outcome:
    """Play it. `number` is different each time, so that a schedule that is played again has names of its own."""
    began = time.monotonic()
    parts.forget_log()
    parts.kills.clear()
    known = set(parts.store.run_ids())
    record = Record()
    names = [f"s{schedule.seed}n{number}p{position}" for position in range(len(schedule.parties))]
    players = [
        (Person if party.chats else Client)(parts, party, name, record)
        for party, name in zip(schedule.parties, names, strict=True)
    ]
    threads = [threading.Thread(target=player.play, name=name) for player, name in zip(players, names, strict=True)]
    for thread in threads:
        thread.start()
    for mishap in schedule.mishaps:
        time.sleep(max(0, began + mishap.after - time.monotonic()))
        parts.kill(mishap.what, mishap.pause)
    for thread in threads:
        thread.join()
    runs = [run for run in parts.store.run_ids() if run not in known]
    given_up = parts.plugin_was_killed or record.given_up
    with contextlib.suppress(AssertionError):  # what was left is named below
        wait_until(lambda: not parts.unfinished(runs, given_up=given_up), "the runs ended", QUIET_SECONDS)
    return Outcome(schedule, list(breaches(parts, record, runs)), time.monotonic() - began, record)
