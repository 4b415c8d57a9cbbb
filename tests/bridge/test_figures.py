"""What many runs came to is read from a few rows, and is what they came to."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from bench.large_store import OPERATOR, PAGES, Large, write
from bridge.app import create_app
from bridge.config import Limits, parse
from bridge.runs.core import Core
from bridge.store import clock
from bridge.store import schema as t
from bridge.store.figures import SETTLED_SECONDS
from bridge.store.store import Store
from bridge.store.timeline import Timeline
from bridge.store.watching import Watching
from tests.servers import Servers
from tools.run_states import UNFINISHED, RunEvent

RUNS = 700
DAY = 86_400


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.parts, pytest.mark.servers])])
def store(request: pytest.FixtureRequest, data_dir: Path) -> Iterator[Store]:
    """One of runs that ended a second after one another, the last one just now."""
    if request.param == "sqlite":
        yield from of_runs(f"sqlite:///{data_dir}/bridge.sqlite3")
        return
    with Servers() as servers:
        yield from of_runs(servers.database_url())


def of_runs(url: str) -> Iterator[Store]:
    store = Store(url)
    with store.transaction() as connection:
        write(connection, range(RUNS), RUNS)
        connection.execute(update(t.runs).where(t.runs.c.id == "run7").values(model="helper", client="cara"))
    yield store
    store.close()


def told(store: Store) -> tuple[Any, ...]:
    timeline = Timeline(store, Limits())
    days = {(day.day, day.model): day for day in timeline.days("", "", 0.0, 0.0)}
    figures = {name: (day.runs, day.failed, round(day.seconds, 3), day.tokens) for name, day in days.items()}
    return Watching(store).run_states(), timeline.parties(), figures


def true(store: Store) -> tuple[Any, ...]:
    used = Counter[str]()
    with store.watching() as connection:
        runs = connection.execute(select(t.runs)).all()
        for run_id, usage in connection.execute(select(t.segments.c.run_id, t.segments.c.usage)):
            used[run_id] += sum(map(int, re.findall(r"\d+", usage)))
    figures = {}
    for day, model in {(run.created_at // DAY, run.model) for run in runs}:
        those = [run for run in runs if (run.created_at // DAY, run.model) == (day, model)]
        seconds = [run.updated_at - run.created_at for run in those if run.state not in UNFINISHED]
        failed, tokens = sum(run.state == "failed" for run in those), sum(used[run.id] for run in those)
        figures[day, model] = (len(those), failed, round(fmean(seconds or [0]), 3), tokens)
    parties = sorted({run.model for run in runs}), sorted({run.client for run in runs})
    return dict(Counter(run.state for run in runs)), parties, figures


def counted(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(func.coalesce(func.sum(t.counted.c.runs), 0))).scalar_one())


def test_figures_are_those_of_the_runs_whatever_becomes_of_them(store: Store) -> None:
    assert told(store) == true(store)
    now = time.time()
    assert len(list(store.figures.counting(now))) == 1
    assert RUNS - SETTLED_SECONDS - 60 < counted(store) <= RUNS - SETTLED_SECONDS + 60
    assert told(store) == true(store)
    assert store.decide("run0", lambda change: change.step(RunEvent.RESUME, 1))
    assert told(store)[0]["running"] == 1
    assert told(store) == true(store)
    assert store.end_run("run0", RunEvent.FAIL)
    assert told(store) == true(store)
    list(store.figures.counting(now + SETTLED_SECONDS + 60))
    assert counted(store) == RUNS
    assert told(store) == true(store)
    mark = Timeline(store, Limits()).newest()
    forgetting = store.forgetting(now - 200)
    next(forgetting)
    assert Timeline(store, Limits()).newest() != mark, "what is shown has changed"
    assert told(store) == true(store)
    list(forgetting)
    assert told(store) == true(store)
    assert counted(store) == len(store.run_ids()) == sum(told(store)[0].values())
    with store.reading() as connection:
        assert connection.execute(select(func.min(t.counted.c.runs))).scalar_one() > 0


def test_a_clock_that_was_wrong_leaves_no_wrong_figures(store: Store) -> None:
    list(store.figures.counting(time.time() + 1_000_000))
    with store.transaction() as connection:
        connection.execute(update(t.runs).where(t.runs.c.id == "run9").values(state="cancelled"))
    list(store.figures.counting(time.time()))
    assert told(store) == true(store)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Large]]:
    """One of runs for fifteen pages, and one of four times as many."""
    found = [Large(tmp_path / str(runs), runs, 1_000) for runs in (800, 3_200)]
    yield found
    for each in found:
        each.core.store.close()


def test_every_page_and_call_of_operators_costs_a_large_store_no_more(stores: list[Large]) -> None:
    for path in (*PAGES, *OPERATOR):
        small, large = (min(steps(each, partial(each.ask, path)) for _ in range(2)) for each in stores)
        assert large < 1.3 * small + 50, f"{path} took {small} hundred steps of SQLite's, and in a large store {large}"


def test_to_forget_keeps_others_waiting_no_longer_in_a_large_store(stores: list[Large]) -> None:
    longest = []
    for each, users in zip(stores, (10_000, 40_000), strict=True):
        with each.core.store.transaction() as connection:
            rows = [{"uuid": f"u{n}", "dify_user": "x", "updated_at": time.time()} for n in range(users)]
            connection.execute(insert(t.end_users), rows)
        forgetting = each.core.store.forgetting(time.time() - 500)
        longest.append(max(iter(partial(steps, each, partial(next, forgetting, None)), 0)))
    small, large = longest
    assert large < 1.3 * small, f"one transaction took {small} hundred steps of SQLite's, and in a large store {large}"


def steps(large: Large, work: Callable[[], object]) -> int:
    """Return how many hundred steps SQLite made for it."""
    made = 0

    def count() -> None:
        nonlocal made
        made += 1

    connection = large.core.store._connection
    assert connection
    driver: Any = connection.connection.dbapi_connection
    driver.set_progress_handler(count, 100)
    work()
    driver.set_progress_handler(None, 0)
    return made


def test_the_sweeper_adds_up_what_is_over(data_dir: Path) -> None:
    core: Core = create_app(parse({"data_dir": str(data_dir)})).extensions["clawback"]
    with core.store.transaction() as connection:
        write(connection, range(RUNS), RUNS)
    now, counts = clock.now(), []
    for seconds in (0, 30, 90):
        core.sweeper.sweep(now + seconds)
        counts.append(counted(core.store))
    assert 0 < counts[0] == counts[1] < counts[2]
    core.store.close()
