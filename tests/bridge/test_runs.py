"""What runs keep, and when they end."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.config import App, parse
from bridge.errors import Internal, UnprocessableRun
from bridge.runs.core import Core
from bridge.runs.live import LiveRun
from bridge.runs.requests import RequestKeys, RunRequest
from bridge.runs.runs import MAX_ATTEMPTS
from bridge.runs.segments import Failure, Segment
from bridge.runs.tickets import moves as steps
from bridge.runs.watchdogs import PluginWatchdog
from bridge.store.exchanges import FRESH_SECONDS
from bridge.store.rows import CallRow, FormRow, RunRow, SessionRow, TicketRow
from bridge.store.store import Store
from tools.results import ToolResult
from tools.run_states import RunEvent
from tools.wire import Usage

SESSION = SessionRow(key="ada", model="desk", dify_user="clawback-ada", conversation_id="c1")
DAY = 86_400.0


@pytest.fixture
def core(data_dir: Path) -> Iterator[Core]:
    """Runs of an app whose Dify nobody can reach."""
    app = {"model": "desk", "base_url": "http://127.0.0.1:9/v1", "api_key": "app-x"}
    config = parse({"data_dir": str(data_dir), "apps": [app], "limits": {"grace_seconds": 3600}})
    store = Store(config.store_url)
    others = set(threading.enumerate())
    yield Core(config, store)
    for thread in set(threading.enumerate()) - others:
        if thread.name.startswith("clawback-"):
            thread.join(30)
    store.close()


def app_of(core: Core) -> App:
    return core.services.config.apps[0]


def row(core: Core, run_id: str, **values: object) -> RunRow:
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
    core.store.insert_run(made)
    return made


def asked() -> RunRequest:
    return RunRequest(messages=[{"role": "user", "content": "hi"}], turn=0, query="hi")


def transcript(turns: int, system: str = "be kind") -> RunRequest:
    said = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"{n} {'word ' * 20}"} for n in range(turns * 2)]
    tools = [{"type": "function", "function": {"name": "read", "parameters": {"description": "x" * 2000}}}]
    messages = [{"role": "system", "content": system}, *said]
    return RunRequest.model_validate({"messages": messages, "turn": 1, "query": "hi", "tools": tools})


def begun(core: Core, request: RunRequest) -> RunRow:
    live = core.runs.start_apart(app_of(core), request, SESSION, RequestKeys("turn"))
    run = core.store.run(live.run_id)
    assert run is not None
    return run


def read_anew(core: Core, run: RunRow) -> RunRequest:
    return RunRequest.model_validate_json(core.store.pieces.whole(run.session_key, run.request))


def stored_bytes(core: Core) -> int:
    with core.store.transaction() as connection:
        texts = ["SELECT coalesce(sum(length(body)), 0) FROM pieces", "SELECT sum(length(request)) FROM runs"]
        return sum(connection.exec_driver_sql(text).scalar_one() for text in texts)


def test_a_growing_transcript_is_stored_as_what_is_new_of_it(core: Core) -> None:
    sizes = []
    for turns in range(1, 61):
        run = begun(core, transcript(turns))
        sizes.append(stored_bytes(core))
        assert read_anew(core, run) == transcript(turns)
    grown = [after - before for before, after in pairwise(sizes)]
    assert max(grown) <= min(grown) + 20, grown


def test_a_transcript_that_is_rewritten_at_its_beginning_is_not_stored_again(core: Core) -> None:
    runs = [begun(core, transcript(30, f"it is {hour} o'clock")) for hour in range(3)]
    assert stored_bytes(core) < 1.5 * len(transcript(30).model_dump_json())
    assert [read_anew(core, run) for run in runs] == [transcript(30, f"it is {hour} o'clock") for hour in range(3)]


def test_a_message_that_comes_twice_and_another_process_change_nothing(core: Core) -> None:
    twice = transcript(3)
    twice.messages += twice.messages
    assert read_anew(core, begun(core, twice)) == twice
    other = Store(core.services.config.store_url)
    other_core = Core(core.services.config, other)
    longer = begun(other_core, transcript(5))
    # What this process knows of the session is too little by now.
    longest = begun(core, transcript(7))
    assert (read_anew(core, longer), read_anew(other_core, longest)) == (transcript(5), transcript(7))
    other.close()


def test_pieces_stay_as_long_as_a_run_that_holds_them(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.time()

    def later(days: float) -> None:
        monkeypatch.setattr("bridge.store.clock.now", lambda: began + days * DAY)

    runs = {}
    for day in (0, 3, 40):
        later(day)
        runs[day] = begun(core, transcript(2 if day else 4))
        core.store.end_run(runs[day].id, RunEvent.CANCEL)
    later(41)
    core.store.forget_before(began + 11 * DAY)
    assert read_anew(core, runs[40]) == transcript(2)
    with core.store.transaction() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM pieces").scalar_one()
    assert count == len(transcript(2).messages) + 1, "what only the first run held is still there"
    assert FRESH_SECONDS < DAY
    again = begun(core, transcript(4))
    assert read_anew(core, again) == transcript(4)


def test_pieces_that_another_process_forgot_are_stored_again(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.time()
    core.store.end_run(begun(core, transcript(4)).id, RunEvent.CANCEL)
    monkeypatch.setattr("bridge.store.clock.now", lambda: began + 41 * DAY)
    other = Store(core.services.config.store_url)
    assert other.forget_before(began + 11 * DAY) == 1
    other.close()
    assert read_anew(core, begun(core, transcript(4))) == transcript(4)


def test_what_is_old_is_forgotten_a_little_at_a_time(core: Core) -> None:
    for number in range(120):
        row(core, f"r{number}", state="finished")
    forgetting = core.store.forgetting(time.time() + 60)
    gone = [next(forgetting)]
    row(core, "another", state="running")
    gone += [count for count in forgetting if count]
    assert (sum(gone), max(gone) <= 50) == (120, True), "a request would have waited for all of it"
    assert core.store.run_ids() == ["another"]


@pytest.mark.parametrize(("state", "apart"), [("running", True), ("suspended", True), ("finished", False)])
def test_a_run_gets_a_user_of_its_own_while_another_one_of_its_session_may_still_run(
    core: Core, state: str, apart: bool
) -> None:
    row(core, "earlier", state=state)
    live = core.runs.start(app_of(core), asked(), SESSION, RequestKeys("turn"))
    assert (live is None) is apart
    live = live or core.runs.start_apart(app_of(core), asked(), SESSION, RequestKeys("turn"))
    started = core.store.run(live.run_id)
    assert started is not None
    assert (started.dify_user != SESSION.dify_user) is apart


def test_who_comes_back_and_goes_again_gets_the_whole_grace_time_again(core: Core) -> None:
    row(core, "r")
    segment = Segment(0)
    for _ in range(2):
        core.runs.enter_reading("r", segment)
        core.runs.leave_reading("r", segment)
    core.runs._abandon("r", segment, 1)
    assert core.store.run("r").state == "running"  # type: ignore[union-attr]
    core.runs._abandon("r", segment, 2)
    assert core.store.run("r").state == "cancelled"  # type: ignore[union-attr]


def test_nothing_is_asked_of_the_store_about_the_client_of_a_run_that_is_over(core: Core) -> None:
    live = LiveRun("r", [], lambda *_: None, None, lambda _: Usage())
    row(core, "r")
    core.live_runs.add(live)
    live.over = True
    core.store.end_run("r", RunEvent.FINISH)
    asked: list[str] = []
    with core.store.reading() as connection:
        connection.connection.dbapi_connection.set_trace_callback(asked.append)  # type: ignore[union-attr]
    core.runs.release_unanswered("r", 0)
    assert asked == []


def form(core: Core, run_id: str, **values: object) -> FormRow:
    now = time.time()
    asked = FormRow("f", run_id, 1, "w", "node", "print", "{}", token="t", created_at=now, expires_at=now + DAY)
    made = replace(asked, **values)  # type: ignore[arg-type]
    core.store.decide(run_id, lambda change: change.also(core.store.forms.adding(made)))
    return made


@pytest.mark.parametrize("method", ["decide", "run"])
def test_a_client_learns_that_its_run_failed_even_where_the_store_is_out_of_reach(
    core: Core, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    run = row(core, "r")
    form(core, "r")
    live = LiveRun("r", [], lambda *_: None, None, lambda _: Usage())
    live.begin(1)
    core.live_runs.add(live)

    def full(*_: object) -> bool:
        raise OSError("disk full")

    monkeypatch.setattr(core.store, method, full)
    core.runs.fail(run, live, Internal("broken"))
    assert isinstance(live.current.read(0, 0)[-1], Failure)
    monkeypatch.undo()
    live.touched_at -= 10_000
    core.runs.forget_over(live)
    assert core.store.run("r").state == "failed"  # type: ignore[union-attr]
    assert [each.state for each in core.store.forms.of_run("r")] == ["cancelled"], "nobody is asked for it any more"
    assert core.live_runs.get("r") is None


def test_a_form_whose_answer_dify_refuses_is_left_to_a_person_whoever_gave_it(core: Core) -> None:
    run, forms = row(core, "r", state="suspended", workflow_run_id="w"), core.forms
    asked = form(core, "r", ticket_id="the-client-s")
    assert forms.waiting() == []
    assert core.store.forms.answer(asked.id, "yes", "{}", "client")
    assert core.store.forms.reopen(asked.id)
    assert [each.id for each in forms.waiting()] == [asked.id]
    assert [(each.state, each.action) for each in core.store.forms.pausing(run)] == [("open", None)]


def test_a_session_is_kept_as_long_as_it_has_runs(core: Core) -> None:
    core.store.save_session(SESSION)
    row(core, "r", state="finished")
    core.store.forget_before(time.time() - 60)
    assert core.store.session("ada") == SESSION
    run = core.store.run("r")
    assert run is not None
    with core.store.transaction() as connection:
        connection.exec_driver_sql("UPDATE sessions SET updated_at = 1")
    core.store.forget_before(time.time() - 60)
    assert core.store.session("ada") == SESSION
    assert core.store.forget_before(time.time() + 60) == 1
    assert core.store.session("ada") is None


def test_a_session_recognises_as_many_turns_of_its_conversation_as_difys_memory_holds(core: Core) -> None:
    core.store.save_session(SESSION)
    for number in range(520):
        row(core, f"r{number}", state="finished", query_digest=f"q{number % 510}", created_at=number, updated_at=number)
    row(core, "elsewhere", state="finished", conversation_id="c2", query_digest="other", updated_at=1)
    latest = row(core, "latest")
    assert core.store.forget_before(520) == 521
    assert set(core.store.past_queries(latest)) == {f"q{number}" for number in [*range(20, 510), *range(10)]}
    assert core.store.past_queries(replace(latest, conversation_id="c2")) == []


def opened(core: Core, run_id: str, attempt: int, created_at: float) -> None:
    """An attempt of the run opens a ticket."""
    core.store.update_run(run_id, attempt=attempt)
    invocation = core.store.decide(run_id, lambda change: change.attach(f"invocation{attempt}", f"f{attempt}"))
    assert invocation
    call = CallRow(f"call{attempt}", f"t{attempt}", "exec", "{}", None, None)
    core.store.open_ticket(
        TicketRow(
            id=f"t{attempt}",
            run_id=run_id,
            invocation_id=invocation.id,
            round=0,
            state="open",
            content=None,
            shown="",
            segment=attempt,
            reply=None,
            reason=None,
            created_at=created_at,
            expires_at=created_at + DAY,
            calls=[call],
        ),
        [],
    )


@pytest.mark.parametrize(("attempt", "goes_on"), [(130, True), (124, True), (100 + MAX_ATTEMPTS, False)])
def test_a_run_is_tried_again_as_long_as_something_comes_of_it(core: Core, attempt: int, goes_on: bool) -> None:
    row(core, "r", state="failed")
    opened(core, "r", 100, time.time() + 1)
    if attempt == 130:
        opened(core, "r", 130, time.time() + 2)
    core.store.update_run("r", attempt=attempt)
    run = core.store.run("r")
    assert run is not None
    if goes_on:
        assert core.runs.resume(run, app_of(core)).attempt == attempt + 1
    else:
        with pytest.raises(UnprocessableRun, match="failed 25 times"):
            core.runs.resume(run, app_of(core))


@pytest.mark.parametrize(("cut_off", "state"), [(True, "suspended"), (False, "failed")])
def test_a_workflow_that_is_cut_off_while_tools_run_only_suspends_the_run(
    core: Core, cut_off: bool, state: str
) -> None:
    run = row(core, "r")
    live = LiveRun("r", [], lambda *_: None, None, lambda _: Usage())
    live.begin(1)
    core.live_runs.add(live)
    opened(core, "r", 1, time.time())
    core.runs.fail(run, live, Internal("the stream broke"), cut_off=cut_off)
    assert core.store.run("r").state == state  # type: ignore[union-attr]
    assert core.store.ticket("t1").state == ("open" if cut_off else "cancelled")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("silent", "results", "state", "attempt"),
    [
        (5, True, "running", 1),
        (20, True, "running", 2),
        (20, False, "running", 1),
        (100, False, "suspended", 1),
    ],
)
def test_a_plugin_that_fell_silent_is_not_waited_for(
    core: Core, silent: float, results: bool, state: str, attempt: int
) -> None:
    row(core, "r")
    live = LiveRun("r", [], lambda *_: None, None, lambda _: Usage())
    live.begin(1)
    core.live_runs.add(live)
    opened(core, "r", 1, time.time())
    core.live_runs.polls.heard("t1")
    if results:
        call = core.store.ticket("t1").calls[0]  # type: ignore[union-attr]
        core.store.move_calls(
            "t1", [steps.resolve(call, *[ToolResult(tool_call_id="call1", output="ok")] * 2, "client")]
        )
    for _, act in PluginWatchdog(core.services, core.live_runs, core.runs).due(time.time() + silent):
        act()
    run = core.store.run("r")
    assert run is not None
    assert (run.state, run.attempt) == (state, attempt)
