"""Two bridges on one PostgreSQL, with Redis between them: what one takes in, the other knows."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import settings
from sqlalchemy import Connection, func, select

from bridge.app import create_app
from bridge.config import ConfigError, parse
from bridge.runs.requests import RunRequest
from bridge.store import clock, schema
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import RunRow, SegmentRow, SessionRow
from bridge.store.run_record import Change, Overtaken
from bridge.store.statements import execute, fetch_together, inserting, values_of
from bridge.store.store import Store
from bridge.store.wakeups import SharedWakeups
from tests.bridge.executor.conftest import Bridge, Executor, Ticket
from tests.bridge.executor.test_random_steps import Steps
from tests.levels import starts
from tests.servers import Servers
from tools.run_states import RunEvent
from tools.tokens import hash_token, new_token

pytestmark = pytest.mark.servers

Pair = tuple[Bridge, Bridge]
TIMES = 8


@pytest.fixture(scope="module")
@starts("parts")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.fixture(scope="module")
@starts("parts")
def bridges(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "policy.toml").write_text('[[rules]]\naction = "allow"\n')
    tokens = {audience: new_token(audience) for audience in ("client", "plugin", "executor", "operator")}
    values: dict[str, Any] = {
        "tokens": {audience: hash_token(token) for audience, token in tokens.items()},
        "policy": str(folder / "policy.toml"),
        "database_url": servers.database_url(),
        "wakeups_url": servers.redis_url,
    }
    configs = [parse(values | {"data_dir": str(folder / name)}) for name in "ab"]
    # Both find an empty database at the same moment.
    with ThreadPoolExecutor(2) as pool:
        first, second = (
            Bridge(app, config, tokens) for app, config in zip(pool.map(create_app, configs), configs, strict=True)
        )
    yield first, second
    for bridge in (first, second):
        bridge.stop()
        wakeups = bridge.core.services.wakeups
        assert isinstance(wakeups, SharedWakeups)
        wakeups.close()


def at(bridge: Bridge, ticket: Ticket) -> Ticket:
    return replace(ticket, bridge=bridge)


def together(*work: Callable[[], Any]) -> list[Any]:
    """Do it all at the same moment."""
    barrier = threading.Barrier(len(work))

    def do(one: Callable[[], Any]) -> Any:
        barrier.wait(10)
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return [done.result(60) for done in [pool.submit(do, one) for one in work]]


def test_results_at_one_bridge_wake_the_plugin_at_the_other(bridges: Pair) -> None:
    a, b = bridges
    laptop = a.register()
    ticket = a.open(("read", "{}"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(at(b, ticket).status, 20)
        elsewhere = Executor(b, laptop.id)
        assert elsewhere.post(elsewhere.claim()[0], "done").status == 200
        assert waiting.result(60)["state"] == "resolved", "the poll ended without a hint"
    laptop.leave()


def test_a_result_with_a_character_that_postgresql_does_not_take_is_kept_without_it(bridges: Pair) -> None:
    a, _ = bridges
    laptop = a.register()
    ticket = a.open(("read", "{}"))
    assert laptop.post(laptop.claim()[0], "one\x00two").status == 200
    assert at(a, ticket).status(0)["results"][0]["output"] == "one\ufffdtwo"
    laptop.leave()


def test_who_writes_what_another_bridge_has_just_written_is_overtaken(bridges: Pair) -> None:
    stores = [bridge.core.store for bridge in bridges]
    laptop = bridges[0].register()
    ticket = bridges[0].open(("read", "{}"))
    run_id = bridges[0].core.tickets.known(ticket.id).run_id
    first, second = (Change(record) for store in stores if (record := store.record(run_id)))
    for change in (first, second):
        change.attach(f"another-{run_id}", "f")
    stores[0].commit(first)
    with pytest.raises(Overtaken):
        stores[1].commit(second)
    assert all(store.invocation(f"another-{run_id}") for store in stores)
    laptop.post(laptop.claim()[0], "done")
    laptop.leave()


def begun_run(bridge: Bridge) -> RunRow:
    """Return a run that has begun."""
    laptop = bridge.register()
    run = bridge.core.store.run(bridge.attach()["run_id"])
    laptop.leave()
    assert run is not None
    return run


def test_of_two_runs_that_begin_in_a_session_at_once_one_does(bridges: Pair) -> None:
    a, b = (bridge.core.store for bridge in bridges)
    begun = begun_run(bridges[0])
    session = SessionRow(f"session-of-{begun.id}", begun.model, f"user-of-{begun.id}", "")
    of_session = {"session_key": session.key, "dify_user": session.dify_user}
    runs = [replace(begun, id=f"{begun.id}{name}", **of_session) for name in "ab"]
    pieces = RunRequest(messages=[], turn=None, query="").pieces()
    is_held, others = threading.Event(), queue.Queue[RunRow | None]()

    def may_begin(_: Connection) -> None:
        is_held.set()

    with a.transaction() as connection:
        # As whoever is first writes it: the session's row is held until the end.
        assert a._take_session(connection, session)[:2] == (session.dify_user, False)
        execute(connection, inserting(schema.runs, values_of(runs[0])))
        waiting = threading.Thread(target=lambda: others.put(b.begin_run(runs[1], session, pieces, may_begin)))
        waiting.start()
        assert is_held.wait(10)
        time.sleep(0.3)
        assert others.empty(), "it waits for the row"
    waiting.join()
    assert others.get() is None, "two runs of one Dify user are under way"


def test_what_is_asked_together_is_answered_as_of_one_moment(bridges: Pair) -> None:
    a, b = (bridge.core.store for bridge in bridges)
    run = begun_run(bridges[0])
    version = (select(schema.runs.c.version).where(schema.runs.c.id == run.id), {})
    pause = (select(func.pg_sleep(0.5)), {})
    with ThreadPoolExecutor() as pool, a.reading() as connection:
        asked = pool.submit(fetch_together, connection, version, pause, version)
        time.sleep(0.2)
        b.update_run(run.id, error="it was changed meanwhile")
        before, _, after = asked.result()
    assert before == after
    with a.reading() as connection:
        assert fetch_together(connection, version)[0] != after, "and later what is so then"


def test_a_run_that_was_read_before_it_was_changed_is_not_taken_for_what_it_is(bridges: Pair) -> None:
    store, run = bridges[0].core.store, begun_run(bridges[0])
    store.hold(run.id)
    read = store._load(run.id)
    assert read is not None
    store.update_run(run.id, error="it was changed meanwhile")
    newest = store.record(run.id)
    assert newest is not None
    assert newest.run.version > read.run.version
    assert store._held.put(read, time.monotonic()) is newest
    assert store.record(run.id) is newest
    store.release(run.id)


def test_a_run_that_is_being_written_keeps_no_other_from_being_said_to_be_driven(bridges: Pair) -> None:
    a, _ = bridges
    store = a.core.store
    laptop = a.register()
    tickets = [a.open(("read", "{}")) for _ in range(2)]
    written, driven = (store.run(a.core.tickets.known(ticket.id).run_id) for ticket in tickets)
    assert written
    assert driven
    with psycopg.connect(a.core.services.config.store_url) as writer:
        writer.execute("UPDATE runs SET task_id = task_id WHERE id = %s", [written.id])
        store.drive({written.id: 1, driven.id: 1}, clock.now())
        assert store.is_driven(driven, 0)
        assert not store.is_driven(written, 0)
    store.drive({written.id: 1}, clock.now())
    assert store.is_driven(written, 0)
    store.drive({written.id: 1, driven.id: 1}, None)
    assert not store.is_driven(written, 0)
    assert not store.is_driven(driven, 0)
    for call in laptop.claim(2):
        laptop.post(call, "done")
    laptop.leave()


def test_a_bridge_goes_on_after_its_connections_were_cut(servers: Servers, bridges: Pair) -> None:
    a, b = bridges
    laptop = a.register()
    store, run_id = a.core.store, a.core.tickets.known(a.open(("read", "{}")).id).run_id
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"
    with psycopg.connect(servers.database_url(), autocommit=True) as other:
        other.execute(end, [urlsplit(a.core.services.config.store_url).path.strip("/")])
    # Each of them may be found so once.
    with suppress(StoreUnavailable):
        store.update_run(run_id, task_id="cut")
    with suppress(StoreUnavailable):
        store.record(run_id)
    with suppress(StoreUnavailable):
        b.core.store.segments(run_id)
    store.update_run(run_id, task_id="task")
    assert (run := store.run(run_id)) is not None
    assert run.task_id == "task"
    laptop.post(laptop.claim()[0], "done")
    laptop.leave()


def test_no_text_of_a_model_or_of_dify_is_one_that_postgresql_does_not_take(bridges: Pair) -> None:
    a, b = bridges
    laptop = a.register()
    run_id = a.core.tickets.known(a.open(("read", "{}")).id).run_id
    laptop.post(laptop.claim()[0], "done")
    said = SegmentRow(run_id, 0, text="one\x00two", ticket_id=None, finish_reason="stop", usage="{}", reasoning="\x00")
    assert a.core.store.save_segment(said, attempt=1)
    assert a.core.store.end_run(run_id, RunEvent.FAIL, "no\x00pe")
    (told,) = b.core.store.segments(run_id)
    run = b.core.store.run(run_id)
    assert (told.text, told.reasoning, run and run.error) == ("one\ufffdtwo", "\ufffd", "no\ufffdpe")
    laptop.leave()


def test_an_executor_at_one_bridge_is_woken_by_a_ticket_at_the_other(bridges: Pair) -> None:
    a, b = bridges
    laptop = a.register()
    attached = b.attach()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(laptop.claim, 1, 20)
        ticket = b.open(("read", "{}"), attached=attached)
        (call,) = waiting.result(60)
    assert call["tool_call_id"] == ticket.calls[0]
    laptop.post(call, "done")
    laptop.leave()


def test_a_call_is_handed_out_once_by_bridges_that_are_asked_at_once(bridges: Pair) -> None:
    a, b = bridges
    laptop = a.register(concurrency=100)
    for number in range(TIMES):
        ticket = a.open(("read", f'{{"n": {number}}}'))
        calls = together(laptop.claim, Executor(b, laptop.id).claim)
        claimed = [call for each in calls for call in each]
        assert [call["tool_call_id"] for call in claimed] == ticket.calls
        laptop.post(claimed[0], "done")
    laptop.leave()


def test_the_last_two_results_at_two_bridges_at_once_resolve_the_ticket(bridges: Pair) -> None:
    a, b = bridges
    laptop = a.register(concurrency=100)
    elsewhere = Executor(b, laptop.id)
    for number in range(TIMES):
        ticket = a.open(("read", f'{{"n": {number}}}'), ("exec", f'{{"n": {number}}}'))
        first, second = laptop.claim()
        answers = together(lambda: laptop.post(first, "one"), lambda: elsewhere.post(second, "two"))  # noqa: B023
        assert [answer.status for answer in answers] == [200, 200]
        assert ticket.status()["state"] == "resolved"
    laptop.leave()


def test_of_two_results_for_a_call_at_once_one_is_accepted(bridges: Pair) -> None:
    a, b = bridges
    laptop = a.register(concurrency=100)
    elsewhere = Executor(b, laptop.id)
    for number in range(TIMES):
        ticket = a.open(("read", f'{{"n": {number}}}'))
        (call,) = laptop.claim()
        answers = together(lambda: laptop.post(call, "one"), lambda: elsewhere.post(call, "two"))  # noqa: B023
        assert sorted(answer.status for answer in answers) == [200, 409]
        accepted = "one" if answers[0].status == 200 else "two"
        assert [result["output"] for result in at(b, ticket).status()["results"]] == [accepted]
    laptop.leave()


def test_a_bridge_without_redis_still_finds_the_results(servers: Servers, bridges: Pair, tmp_path: Path) -> None:
    a, _ = bridges
    config = parse(a.config.model_dump(exclude={"wakeups_url"}) | {"data_dir": str(tmp_path)})
    alone = Bridge(create_app(config), config, a.tokens)
    laptop = a.register()
    ticket = alone.open(("read", "{}"))
    laptop.post(laptop.claim()[0], "done")
    assert at(alone, ticket).status()["state"] == "resolved"
    alone.stop()
    laptop.leave()


@pytest.fixture(autouse=True)
def closes_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.store.wakeups.LISTEN_SECONDS", 0.5)


@pytest.fixture(params=["redis", "sentinel", "postgresql"])
def line(servers: Servers, request: pytest.FixtureRequest) -> str:
    urls = {"redis": lambda: servers.redis_url, "sentinel": servers.sentinel_url, "postgresql": servers.database_url}
    url: str = urls[request.param]()
    assert parse({"wakeups_url": url}).wakeups_url == url
    return url


def hears(a: SharedWakeups, b: SharedWakeups, seconds: float = 10.0) -> bool:
    """Whether b hears what a says; who has just begun to listen may miss the first."""
    with b.listen("ticket:x") as hint:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            a.wake("ticket:x")
            if hint.wait(0.2):
                return True
    return False


def test_wakeups_reach_other_bridges_over_each_line(line: str) -> None:
    with closing(SharedWakeups(line)) as a, closing(SharedWakeups(line)) as b:
        acted: queue.SimpleQueue[str] = queue.SimpleQueue()
        b.when("run:", acted.put)
        assert hears(a, b)
        assert hears(b, a)
        for number in range(300):
            a.wake(f"run:{number}")
        assert [acted.get(timeout=10) for _ in range(300)] == [str(number) for number in range(300)]


def test_wakeups_over_postgresql_come_back_after_a_restart_of_it(servers: Servers) -> None:
    url = servers.database_url()
    with closing(SharedWakeups(url)) as a, closing(SharedWakeups(url)) as b:
        assert hears(a, b)
        servers.restart_postgres()
        assert hears(a, b, 20)


def test_a_bridge_behind_a_pooler_wakes_others_and_says_why_it_hears_none(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    direct = servers.database_url()
    with closing(SharedWakeups(servers.pooled(direct))) as pooled, closing(SharedWakeups(direct)) as other:
        assert hears(pooled, other)
        assert not hears(other, pooled, 1)
    assert "wakeups_url" in caplog.text


def test_transactions_of_two_bridges_behind_a_pooler_all_succeed(servers: Servers) -> None:
    url = servers.pooled(servers.database_url())
    bridges = [Store(url), Store(url, connections=3)]

    def work(store: Store, name: str) -> None:
        for number in range(15):
            key = f"{name}-{number}"
            store.save_session(SessionRow(key=key, model="m", dify_user=key, conversation_id=""))
            found = store.session(key)
            assert found is not None
            assert (found.key, found.dify_user) == (key, key)
            with store.transaction() as connection:
                assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(work, bridges[n % 2], f"session-{n}") for n in range(16)]:
            done.result(60)
    for store in bridges:
        store.close()
    with psycopg.connect(url) as other:
        limits = {other.execute("SHOW lock_timeout").fetchone() for _ in range(8)}
    assert limits == {("0",)}, "a limit was left in a session that others get too"


def test_a_bridge_takes_as_many_connections_as_it_may(servers: Servers) -> None:
    url = servers.database_url()
    store = Store(url, connections=2)
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"

    def work(_: int) -> int:
        with store.transaction() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(0.05)")
            return int(connection.exec_driver_sql(count).scalar_one())

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(16))) == 2
    store.close()


@pytest.mark.parametrize(("key", "extra"), [("database_url", "postgresql"), ("wakeups_url", "redis")])
def test_a_missing_driver_is_named_with_what_installs_it(key: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.config.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"{key}.*clawback\[{extra}\]"):
        parse({key: f"{extra}://127.0.0.1/x"})


def test_random_steps_on_postgresql(servers: Servers) -> None:
    class OnPostgresql(Steps):
        database_url = staticmethod(servers.database_url)

    case = OnPostgresql.TestCase
    case.settings = settings(max_examples=4, stateful_step_count=30)
    case("runTest").debug()
