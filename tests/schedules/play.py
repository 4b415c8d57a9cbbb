"""Plays schedules, many at once, and says which promises each broke."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from tests.schedules.client import Client
from tests.schedules.parts import Parts
from tests.schedules.person import Person
from tests.schedules.plan import Fault, Schedule
from tests.schedules.promises import breaches, counts
from tests.schedules.record import Record

QUIET_SECONDS = 60
LOOK_SECONDS = 0.5


@dataclass
class Outcome:
    """How a schedule went. `met` is what was killed meanwhile, by its own plan or by that of another one."""

    schedule: Schedule
    breaches: list[str]
    seconds: float
    record: Record
    met: set[Fault]
    counts: Counter[str]


def play_all(parts: Parts, schedules: Sequence[Schedule], at_once: int = 1) -> Iterator[Outcome]:
    """Play them and yield how each went, as they end.

    Of so many that are played at once, one has its mishaps, which all of them meet.
    """
    with ThreadPoolExecutor(at_once) as pool:
        playing = [
            pool.submit(play, parts, schedule, number, mishaps=number % at_once == 0)
            for number, schedule in enumerate(schedules)
        ]
        try:
            yield from (each.result() for each in as_completed(playing))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def play(parts: Parts, schedule: Schedule, number: int, *, mishaps: bool = True) -> Outcome:
    """Play it. `number` is different each time, so that a schedule that is played again has names of its own."""
    record = Record(f"s{schedule.seed}n{number}p")
    names = [f"{record.name}{position}" for position in range(len(schedule.parties))]
    players = [
        (Person if party.chats else Client)(parts, party, name, record)
        for party, name in zip(schedule.parties, names, strict=True)
    ]
    threads = [threading.Thread(target=player.play, name=name) for player, name in zip(players, names, strict=True)]
    for thread in threads:
        thread.start()
    for mishap in schedule.mishaps if mishaps else ():
        time.sleep(max(0, record.began + mishap.after - time.monotonic()))
        try:
            parts.kill(mishap.what, mishap.pause)
        except Exception as error:
            record.breach(f"{mishap.what} did not come back: {type(error).__name__}: {error}")
    for thread in threads:
        thread.join()
    _wait_for_the_end(parts, record)
    broken, counted = list(breaches(parts, record)), counts(parts, record)
    met = parts.faults_since(record.began)
    return Outcome(schedule, broken, time.monotonic() - record.began, record, met, counted)


def _wait_for_the_end(parts: Parts, record: Record) -> None:
    """Wait until its runs are over, or long enough without a fault. What is left then is named as a breach."""
    answered = time.monotonic()
    given_up = parts.plugin_was_killed(record.began) or record.given_up
    while parts.unfinished(parts.runs_of(record.name), given_up=given_up):
        if time.monotonic() > max(answered, parts.quiet_since()) + QUIET_SECONDS:
            return
        time.sleep(LOOK_SECONDS)
