"""Two bridge processes on one PostgreSQL and one Redis: a client may send each request of a turn to either of them."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.client import session_headers
from demo.local_tools import DEFINITIONS
from demo.service import Service, children
from demo.stack import ROOT, Stack, free_port
from tests.e2e.conftest import call, export_with, upstream_log
from tests.e2e.executors import wait_for
from tests.e2e.flows import in_a_row, llm
from tests.e2e.test_clients import begun_at_once, made
from tests.e2e.test_gone import kill_plugin
from tests.e2e.test_review import DEFAULT
from tests.e2e.test_survives import results, text, tool_calls
from tests.servers import Servers

pytestmark = pytest.mark.servers


@dataclass
class Pair:
    """The stack, whose plugin talks to bridge a, and bridge b."""

    stack: Stack
    second: Service
    urls: dict[str, str]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.fixture(scope="module")
def pair(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    keys = {"database_url": servers.database_url(), "wakeups_url": servers.redis_url}
    with two_bridges(tmp_path_factory.mktemp("two-bridges"), keys) as pair:
        yield pair


NODE = 'Node {0}. {{{{#sys.query#}}}}\n!call exec {{"command": "echo {0}"}}\n!then\n!say {0} is done'


@contextmanager
def two_bridges(folder: Path, keys: dict[str, Any], limits: dict[str, Any] | None = None) -> Iterator[Pair]:
    exports = {
        "holds": export_with(folder, "minimal"),
        "lets-go": export_with(folder, "minimal", callback_wait_seconds=0),
        "goes-on": in_a_row(folder, "goes-on", llm("11", NODE.format("A"), **DEFAULT), llm("12", NODE.format("B"))),
    }
    policy = folder / "policy.toml"
    policy.write_text('[[rules]]\ndirection = "endpoint"\ntool = "write"\naction = "ask"\n')
    keys = keys | {"policy": str(policy)}
    options = ["--plugin-restart-seconds", "0.5"]
    with Stack(
        folder, apps=[], exports=exports, bridge_keys=keys, bridge_settings=limits, box_options=options
    ) as stack:
        second = start_second(folder, stack)
        try:
            yield Pair(stack, second, {"a": stack.bridge_url, "b": second.ready["base_url"].removesuffix("/v1")})
        finally:
            second.stop()


def start_second(folder: Path, stack: Stack, environ: dict[str, str] | None = None) -> Service:
    config = (folder / "clawback.toml").read_text()
    config = re.sub(r"^port = .*$", f"port = {free_port()}", config, flags=re.MULTILINE)
    config = re.sub(r"^data_dir = .*$", f'data_dir = "{folder / "second"}"', config, flags=re.MULTILINE)
    path = folder / "second.toml"
    path.touch(mode=0o600)
    path.write_text(config)
    command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(path)]
    return Service("second", command, folder / "second.log", environ)


def ask(pair: Pair, where: str, app: str, messages: list[dict[str, Any]], session: str) -> Any:
    return httpx.stream(
        "POST",
        f"{pair.urls[where]}/v1/chat/completions",
        json={"model": app, "messages": messages, "tools": DEFINITIONS, "stream": True},
        headers={"Authorization": f"Bearer {pair.stack.client_token}", **session_headers(session)},
        timeout=60,
    )


@pytest.mark.parametrize("app", ["holds", "lets-go"])
@pytest.mark.parametrize("way", ["ab", "ba", "abab", "aaba"])
def test_each_request_of_a_turn_may_go_to_another_bridge(app: str, way: str, pair: Pair) -> None:
    name = f"Way {way} {app}."
    assert take_turn(pair, way, app, name) == "the end"
    asked = upstream_log(pair.stack, name)
    assert len(asked) == len(way), "a finished round was asked for again"
    given = [message["content"] for message in asked[-1]["request"]["messages"] if message["role"] == "tool"]
    assert given == [f"from {where}" for where in way[:-1]]


def take_turn(pair: Pair, way: str, app: str, name: str) -> str:
    """Take a turn whose requests go to these bridges; return the answer."""
    rounds = [line for number in range(len(way) - 1) for line in (call("exec", command=f"echo {number}"), "!then")]
    messages: list[dict[str, Any]] = [{"role": "user", "content": "\n".join([name, *rounds, "!say the end"])}]
    for where in way[:-1]:
        with ask(pair, where, app, messages, name) as response:
            assert response.status_code == 200, response.read()
            messages.append({"role": "assistant", "content": None, "tool_calls": tool_calls(response)})
        messages += results(messages, f"from {where}")
    with ask(pair, way[-1], app, messages, name) as response:
        told = response.read().decode()
        assert response.status_code == 200, told
        assert '"error":' not in told, told
        return text(response)


@pytest.mark.parametrize("name", ["First", "Second", "Third"])
def test_what_follows_a_node_that_another_bridge_ended_takes_no_part(name: str, pair: Pair) -> None:
    """The first node fails when the other bridge takes its results, and its workflow goes on with a default value."""
    messages, ran = [{"role": "user", "content": f"{name} goes on."}], Counter[str]()
    for where in "aba":
        with ask(pair, where, "goes-on", messages, name) as response:
            calls = tool_calls(response)
        ran.update(made["function"]["arguments"] for made in calls)
        messages += [{"role": "assistant", "content": None, "tool_calls": calls}] if calls else []
        messages += results(messages, f"from {where}") if calls else []
    assert sorted(ran.values()) == [1, 1], ran
    assert len(upstream_log(pair.stack, f"{name} goes on.")) == 4


@pytest.mark.parametrize("app", ["holds", "lets-go"])
def test_the_same_first_request_at_both_bridges_begins_one_run(app: str, pair: Pair) -> None:
    name = f"Both at once {app}."
    messages = [{"role": "user", "content": f"{name}\n{call('exec', command='x')}\n!then\n!say the end"}]
    with ThreadPoolExecutor(2) as pool:
        given = list(pool.map(lambda where: patient_calls_of(pair, where, app, messages, name), "ab"))
    assert given[0] == given[1], "the client would run the call under both ids"


@pytest.mark.parametrize("app", ["holds", "lets-go"])
def test_two_turns_of_a_session_at_both_bridges_at_once_are_both_answered(app: str, pair: Pair) -> None:
    """One of them has the session's conversation in Dify, the other one of its own."""
    name = f"Side by side {app}."

    def turn(where: str) -> str:
        words = f"{name} {where}\n{call('exec', command=where)}\n!then\n!say told {where}"
        messages: list[dict[str, Any]] = [{"role": "user", "content": words}]
        messages.append(
            {"role": "assistant", "content": None, "tool_calls": patient_calls_of(pair, where, app, messages, name)}
        )
        messages += results(messages, f"done at {where}")
        with ask(pair, where, app, messages, name) as response:
            assert response.status_code == 200, response.read()
            return text(response)

    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(turn, "ab")) == ["told a", "told b"]
        name += "."


def patient_calls_of(
    pair: Pair, where: str, app: str, messages: list[dict[str, Any]], session: str
) -> list[dict[str, Any]]:
    """Return the calls of a request that is sent again while another bridge goes on with its run."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with ask(pair, where, app, messages, session) as response:
            if response.status_code == 200 and (made := tool_calls(response)):
                return made
        time.sleep(0.5)
    raise AssertionError


def test_turns_at_once_behind_pgbouncer_and_without_redis_all_succeed(servers: Servers, tmp_path: Path) -> None:
    direct = servers.database_url()
    keys = {"database_url": servers.pooled(direct), "database_connections": 5, "wakeups_url": direct}
    with two_bridges(tmp_path, keys) as pair, ThreadPoolExecutor(6) as pool:
        ways = [way for way in ("aaa", "bbb", "aba", "bab") for _ in range(4)]
        done = [pool.submit(take_turn, pair, way, "holds", f"Pooled {n}.") for n, way in enumerate(ways)]
        assert [turn.result(100) for turn in done] == ["the end"] * len(ways)
        log = "".join(path.read_text() for path in tmp_path.glob("*.log"))
        assert not re.search("prepared statement|store cannot be used|Traceback", log), log


def test_the_last_bridge_has_the_answer_of_the_first(pair: Pair) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": f"Both.\n{call('exec', command='x')}\n!then\n!say one answer"}
    ]
    with ask(pair, "a", "holds", messages, "both") as response:
        messages.append({"role": "assistant", "content": None, "tool_calls": tool_calls(response)})
    messages += results(messages, "ok")
    for where in "aba":
        with ask(pair, where, "holds", messages, "both") as response:
            assert text(response) == "one answer"
    assert len(upstream_log(pair.stack, "Both.")) == 2


def test_a_plugin_that_is_killed_while_it_asked_its_model_is_missed_at_the_other_bridge(
    servers: Servers, tmp_path: Path
) -> None:
    """And one that is alive is not: its bridge tells the one that drives the run."""
    keys = {"database_url": servers.database_url(), "wakeups_url": servers.redis_url}
    with two_bridges(tmp_path, keys, {"silent_seconds": 1, "sweep_seconds": 0.3}) as pair:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "Apart.\n!sleep 9\n!say thought through"}]
        with ask(pair, "b", "holds", messages, "slow") as response:
            assert text(response) == "thought through"
        assert len(upstream_log(pair.stack, "Apart.")) == 1
        messages[0]["content"] = "Killed.\n!sleep 2\n!say thought again"
        with ask(pair, "b", "holds", messages, "killed") as response:
            wait_for(lambda: upstream_log(pair.stack, "Killed."))
            kill_plugin(pair.stack)
            assert text(response) == "thought again"
        assert len(upstream_log(pair.stack, "Killed.")) == 2


@pytest.mark.parametrize(("client", "person"), ["ab", "ba"])
def test_a_call_that_was_approved_at_one_bridge_is_delivered_by_the_other(client: str, person: str, pair: Pair) -> None:
    name = f"Asked at {client}."
    messages = [{"role": "user", "content": f"{name}\n{call('write', path='x', content='y')}\n!then\n!say written"}]
    headers = {"Authorization": f"Bearer {pair.stack.operator_token}"}
    operator = f"{pair.urls[person]}/operator/v1"

    def waiting() -> str | None:
        calls = httpx.get(f"{operator}/approvals", headers=headers).json()["calls"]
        return str(calls[0]["id"]) if calls else None

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(calls_of, pair, client, messages, name)
        approved = httpx.post(f"{operator}/calls/{wait_for(waiting)}/approve", json={"by": "ann"}, headers=headers)
        assert approved.status_code == 200, approved.text
        (made,) = asked.result(60)
    assert made["function"]["name"] == "write"


def calls_of(pair: Pair, where: str, messages: list[dict[str, Any]], session: str) -> list[dict[str, Any]]:
    with ask(pair, where, "holds", messages, session) as response:
        return tool_calls(response)


TURNS = 50
BEFORE = "d67920b2"
"""A commit of the same minor version, whose tables lack what came since."""


@pytest.fixture(scope="module")
def version_before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment in which Python runs the bridge of BEFORE."""
    folder = tmp_path_factory.mktemp("before")
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", BEFORE, "bridge", "tools"], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history does not reach back to {BEFORE}")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    environ = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    show = [sys.executable, "-c", "import bridge.store; print(bridge.store.__file__)"]
    found = subprocess.run(show, env={**os.environ, **environ}, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(folder))
    return environ


@dataclass
class Roller:
    """A client behind a proxy that sends each request to a bridge that takes it."""

    pair: Pair

    def turn(self, number: int) -> str:
        """Do a turn with a call, and return its answer."""
        name = f"Rolling {number:02}."
        script = "\n".join([name, call("exec", command=f"echo {number}"), "!then", f"!say done {number}"])
        messages: list[dict[str, Any]] = [{"role": "user", "content": script}]
        for _ in range(2):
            said = self._ask(messages, name, first="ab"[number % 2])
            if not said.get("tool_calls"):
                break
            messages += [
                said,
                *({"role": "tool", "tool_call_id": c["id"], "content": "ok"} for c in said["tool_calls"]),
            ]
        assert isinstance(said["content"], str), f"{name} was told {said}, after {messages}"
        return str(said["content"])

    def _ask(self, messages: list[dict[str, Any]], session: str, first: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.pair.stack.client_token}", **session_headers(session)}
        body = {"model": "holds", "messages": messages, "tools": DEFINITIONS}
        until = time.monotonic() + 120
        for where in itertools.cycle(first + "ab"):
            assert time.monotonic() < until
            try:
                answer = httpx.post(
                    f"{self.pair.urls[where]}/v1/chat/completions", json=body, headers=headers, timeout=90
                )
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code == 200:
                return dict(answer.json()["choices"][0]["message"])
            # What an SDK asks again: the proxy's next choice may be another bridge.
            assert answer.status_code in {409, 410, 429, 502, 503}, answer.text
            time.sleep(0.5)
        raise AssertionError


@pytest.mark.timeout(300)
def test_a_bridge_of_the_version_before_is_replaced_while_turns_run_and_none_is_asked_twice(
    version_before: dict[str, str], tmp_path: Path
) -> None:
    """Bridge b made the store. Bridge a joins it with what this version adds, and takes b's place for a while."""
    with Servers() as servers:
        keys = {"database_url": servers.database_url(), "wakeups_url": servers.redis_url}
        make = "import sys; from bridge.store.store import Store; from bridge.config import Config; "
        make += "Store(Config(database_url=sys.argv[1]).store_url).close()"
        environ = {**os.environ, **version_before}
        subprocess.run([sys.executable, "-c", make, keys["database_url"]], env=environ, check=True)
        exports = {"holds": export_with(tmp_path, "minimal")}
        with Stack(tmp_path, apps=[], exports=exports, bridge_keys=keys) as stack:
            second = start_second(tmp_path, stack, version_before)
            pair = Pair(stack, second, {"a": stack.bridge_url, "b": second.ready["base_url"].removesuffix("/v1")})
            try:
                with ThreadPoolExecutor(10) as pool:
                    turns = [pool.submit(Roller(pair).turn, number) for number in range(TURNS)]
                    wait_for(lambda: sum(turn.done() for turn in turns) >= 5)
                    second.stop()
                    second.environ = dict(os.environ)
                    second.start()
                    wait_for(lambda: sum(turn.done() for turn in turns) >= 20)
                    stack.bridge.stop()
                    stack.bridge.start()
                    assert [turn.result() for turn in turns] == [f"done {number}" for number in range(TURNS)]
            finally:
                second.stop()
            asked = Counter(
                found[0]
                for entry in upstream_log(stack, "Rolling ")
                if (found := re.findall(r"Rolling \d\d\.", json.dumps(entry["request"])))
            )
            assert set(asked.values()) == {2}, "a finished round was asked for again"


@pytest.mark.parametrize("app", ["holds", "lets-go"])
def test_a_request_that_comes_again_at_the_other_bridge_is_told_what_the_first_one_is(app: str, pair: Pair) -> None:
    """Each request of a turn, while the model works on the first: nothing is begun again, and nobody is cut off."""
    name = f"Again {app}."
    rounds = ["!sleep 1.5", call("exec", command="x"), "!then", "!sleep 1.5", "!say the end"]
    messages: list[dict[str, Any]] = [{"role": "user", "content": "\n".join([name, *rounds])}]
    with ThreadPoolExecutor(2) as pool:
        first, again = sent_again(pair, pool, app, messages, name, rounds=1)
        assert first["tool_calls"] == again["tool_calls"]
        messages += [first, *({"role": "tool", "tool_call_id": c["id"], "content": "ok"} for c in first["tool_calls"])]
        first, again = sent_again(pair, pool, app, messages, name, rounds=2)
        assert first["content"] == again["content"] == "the end"
    assert len(upstream_log(pair.stack, name)) == 2


def sent_again(
    pair: Pair, pool: ThreadPoolExecutor, app: str, messages: list[dict[str, Any]], session: str, rounds: int
) -> list[dict[str, Any]]:
    """Return what is said at bridge a, and then at b, which is asked once the model works on this round."""
    first = pool.submit(said_at, pair, "a", app, messages, session)
    wait_for(lambda: len(upstream_log(pair.stack, session)) >= rounds or first.done())
    return [each.result(60) for each in (first, pool.submit(said_at, pair, "b", app, messages, session))]


def said_at(pair: Pair, where: str, app: str, messages: list[dict[str, Any]], session: str) -> dict[str, Any]:
    answer = asked_at(pair, where, app, messages, session)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["choices"][0]["message"])


def said_at_last(pair: Pair, where: str, app: str, messages: list[dict[str, Any]], session: str) -> dict[str, Any]:
    """Ask again where so told: a bridge that was stopped amid a transaction keeps others from its rows for a while."""
    until = time.monotonic() + 40
    while (answer := asked_at(pair, where, app, messages, session)).status_code == 503 and time.monotonic() < until:
        time.sleep(float(answer.headers["Retry-After"]))
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["choices"][0]["message"])


def asked_at(pair: Pair, where: str, app: str, messages: list[dict[str, Any]], session: str) -> httpx.Response:
    return httpx.post(
        f"{pair.urls[where]}/v1/chat/completions",
        json={"model": app, "messages": messages, "tools": DEFINITIONS},
        headers={"Authorization": f"Bearer {pair.stack.client_token}", **session_headers(session)},
        timeout=60,
    )


def test_who_asks_again_elsewhere_is_told_the_rest_when_the_first_one_has_gone(pair: Pair) -> None:
    name = "Gone and again."
    messages = [{"role": "user", "content": f"{name}\n!sleep 3\n{call('exec', command='x')}\n!then\n!say the end"}]
    with ThreadPoolExecutor(1) as pool, ask(pair, "a", "holds", messages, name):
        wait_for(lambda: upstream_log(pair.stack, name))
        again = pool.submit(said_at, pair, "b", "holds", messages, name)
        wait_for(lambda: "POST /v1/chat/completions" in (pair.stack.folder / "second.log").read_text())
    assert len(again.result(60)["tool_calls"]) == 1


def test_a_bridge_that_slept_while_another_went_on_with_its_run_tells_nothing_else(pair: Pair) -> None:
    name = "Slept."
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": f"{name}\n!sleep 1\n{call('exec', command='x')}\n!then\n!say the end"}
    ]
    with ThreadPoolExecutor(1) as pool:
        slept = pool.submit(asked_at, pair, "b", "holds", messages, name)
        wait_for(lambda: upstream_log(pair.stack, name))
        with asleep(pair.second.pid, *children(pair.second.pid)):
            said = said_at_last(pair, "a", "holds", messages, name)
        told = slept.result(60)
    assert told.status_code == 410 or told.json()["choices"][0]["message"]["tool_calls"] == said["tool_calls"]
    messages += [said, *({"role": "tool", "tool_call_id": c["id"], "content": "ok"} for c in said["tool_calls"])]
    assert said_at(pair, "b", "holds", messages, name)["content"] == "the end"


@contextmanager
def asleep(*pids: int) -> Iterator[None]:
    """Stop processes meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("limit", ["--open-tickets", "--tokens-per-day"])
def test_of_many_turns_that_begin_at_both_bridges_at_once_a_limit_lets_as_many_as_may(pair: Pair, limit: str) -> None:
    token = made(pair.stack, f"both{limit}", limit, "1")
    urls = [f"{url}/v1" for url in pair.urls.values()]
    assert sorted(begun_at_once(urls, token, f"both{limit}", limit, "holds")) == [200, *[429] * 11]
