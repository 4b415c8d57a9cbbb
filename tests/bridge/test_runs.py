"""What runs keep, and when they end."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.config import App, parse
from bridge.errors import Internal
from bridge.live import LiveRun
from bridge.requests import RunRequest
from bridge.runs import Runs
from bridge.segments import Failure, Segment
from bridge.store import Store
from bridge.store.rows import RunRow, SessionRow
from bridge.wakeups import Wakeups
from tools.wire import Usage

SESSION = SessionRow(key="ada", model="desk", dify_user="clawback-ada", conversation_id="c1")
DAY = 86_400.0


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Runs of an app whose Dify nobody can reach."""
    app = {"model": "desk", "base_url": "http://127.0.0.1:9/v1", "api_key": "app-x"}
    config = parse({"data_dir": str(tmp_path), "apps": [app], "limits": {"grace_seconds": 3600}})
    store = Store(config.store_url)
    yield Runs(config, store, Wakeups())
    for thread in threading.enumerate():
        if thread.name.startswith("clawback-"):
            thread.join(30)
    store.close()


def app_of(runs: Runs) -> App:
    return runs.config.apps[0]


def row(runs: Runs, run_id: str, **values: object) -> RunRow:
    now = time.time()
    made = RunRow(
        id=run_id,
        model="desk",
        session_key=SESSION.key,
        turn_key=run_id,
        dify_user=SESSION.dify_user,
        conversation_id="c1",
        query_digest="q",
        auxiliary=None,
        state="running",
        attempt=1,
        task_id="",
        workflow_run_id="",
        request=asked().model_dump_json(),
        error=None,
        created_at=now,
        updated_at=now,
        expires_at=now + DAY,
    )
    made = replace(made, **values)  # type: ignore[arg-type]
    runs.store.insert_run(made)
    return made


def asked() -> RunRequest:
    return RunRequest(messages=[{"role": "user", "content": "hi"}], turn=0, query="hi")


@pytest.mark.parametrize(("state", "apart"), [("running", True), ("suspended", True), ("finished", False)])
def test_a_run_gets_a_user_of_its_own_while_another_one_of_its_session_may_still_run(
    runs: Runs, state: str, apart: bool
) -> None:
    row(runs, "earlier", state=state)
    live = runs.start(app_of(runs), asked(), SESSION, "turn", None)
    started = runs.store.run(live.run_id)
    assert started is not None
    assert (started.dify_user != SESSION.dify_user) is apart


def test_who_comes_back_and_goes_again_gets_the_whole_grace_time_again(runs: Runs) -> None:
    row(runs, "r")
    segment = Segment(0)
    for _ in range(2):
        runs.enter(segment)
        runs.leave("r", segment)
    runs._abandon("r", segment, 1)
    assert runs.store.run("r").state == "running"  # type: ignore[union-attr]
    runs._abandon("r", segment, 2)
    assert runs.store.run("r").state == "cancelled"  # type: ignore[union-attr]


def test_a_client_learns_that_its_run_failed_even_where_that_cannot_be_written(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = row(runs, "r")
    live = LiveRun("r", [], lambda _: None, None, lambda _: Usage())
    live.begin(1)
    runs._live["r"] = live

    def full(*_: object) -> bool:
        raise OSError("disk full")

    monkeypatch.setattr(runs.store, "end_run", full)
    with pytest.raises(OSError, match="disk full"):
        runs.fail(run, live, Internal("broken"))
    assert isinstance(live.current.read(0, 0)[-1], Failure)
    monkeypatch.undo()
    live.touched_at -= 10_000
    runs.forget_over()
    assert runs.store.run("r").state == "failed"  # type: ignore[union-attr]
    assert runs.live("r") is None


def test_a_session_is_kept_as_long_as_it_has_runs(runs: Runs) -> None:
    runs.store.save_session(SESSION)
    row(runs, "r", state="finished")
    runs.store.forget_before(time.time() - 60)
    assert runs.store.session("ada") == SESSION
    run = runs.store.run("r")
    assert run is not None
    with runs.store.transaction() as connection:
        connection.exec_driver_sql("UPDATE sessions SET updated_at = 1")
    runs.store.forget_before(time.time() - 60)
    assert runs.store.session("ada") == SESSION
    assert runs.store.forget_before(time.time() + 60) == 1
    assert runs.store.session("ada") is None
