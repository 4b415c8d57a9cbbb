"""A client that never brings its results holds nothing for long, and may come back all the same."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from bridge.cli import main as clawback
from demo.client import session_headers
from demo.stack import Stack
from tests.e2e.conftest import call, stream, upstream_log, workflow_runs
from tests.e2e.executors import wait_for
from tests.e2e.test_clients import Asking, made
from tests.e2e.test_survives import ask, begin, results, text

tell = partial(print, flush=True)
GRACE, ABANDONED = 0.5, 6.0
LIMITS = {"grace_seconds": GRACE, "abandoned_seconds": ABANDONED, "sweep_seconds": 0.3, "request_seconds": 4}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("abandoned"), apps=["minimal"], bridge_settings=LIMITS) as running:
        yield running


def status(stack: Stack) -> Any:
    return operator(stack, "status")


def operator(stack: Stack, path: str) -> Any:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    return httpx.get(f"{stack.bridge_url}/operator/v1/{path}", headers=headers).raise_for_status().json()


def run_of(stack: Stack, call_id: str) -> Any:
    tickets = operator(stack, "tickets?state=all")["tickets"]
    return next(ticket["run_id"] for ticket in tickets if ticket["calls"][0]["id"] == call_id)


def state(stack: Stack, run_id: str) -> str:
    return str(next(run["state"] for run in operator(stack, "runs")["runs"] if run["id"] == run_id))


def shown(stack: Stack, *options: str) -> str:
    config = ["--config", str(stack.folder / "clawback.toml")]
    return CliRunner(env={"COLUMNS": "200"}).invoke(clawback, ["tickets", *options, *config]).stdout


def front(stack: Stack, query: str = "") -> str:
    with httpx.Client(base_url=stack.bridge_url, follow_redirects=True) as person:
        person.post("/login", data={"token": stack.operator_token, "name": ""}, headers={"Origin": stack.bridge_url})
        return person.get(f"/?{query}").text


def test_a_run_whose_client_has_gone_is_let_go_of_and_taken_up_again_when_it_comes_back(stack: Stack) -> None:
    transcript = begin(stack, f"Gone home.\n{call('exec', command='x')}\n!then\n!say back again", "gone")
    (made,) = transcript[-1]["tool_calls"]
    run_id = run_of(stack, made["id"])
    wait_for(lambda: state(stack, run_id) == "suspended" or None)
    assert made["id"] in shown(stack), "it was forgotten before its time"
    assert run_id in front(stack)
    wait_for(lambda: status(stack)["dify_streams"][0]["used"] == 0 or None)
    wait_for(lambda: all(run["status"] != "running" for run in workflow_runs(stack, run_id)) or None)

    wait_for(lambda: made["id"] not in shown(stack) or None)
    assert run_id not in front(stack)
    assert run_id in front(stack, "state=abandoned")
    assert made["id"] in shown(stack, "--all")
    assert status(stack)["tickets"]["open"] == 0

    follow_up = [*transcript, *results(transcript, "the result")]
    with stream(stack, ask(follow_up), **session_headers("gone")) as response:
        assert text(response) == "back again"
    assert len(upstream_log(stack, "Gone home.")) == 2, "a finished round was asked for again"


def test_a_client_that_keeps_its_connection_has_not_gone(stack: Stack) -> None:
    body = ask([{"role": "user", "content": f"Still here.\n{call('exec', command='x')}\n!then\n!say done"}])
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    with httpx.Client(base_url=stack.base_url, headers=headers, timeout=30) as client:
        said = client.post("/chat/completions", json=body).json()["choices"][0]["message"]
        run_id = run_of(stack, said["tool_calls"][0]["id"])
        time.sleep(3 + GRACE)
        assert state(stack, run_id) == "running"
        result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "ok"}
        body["messages"] += [said, result]
        assert client.post("/chat/completions", json=body).json()["choices"][0]["message"]["content"] == "done"
    assert len(workflow_runs(stack, run_id)) == 1


def test_a_client_that_stays_and_says_nothing_is_let_go_of_in_the_end(stack: Stack) -> None:
    body = ask([{"role": "user", "content": f"Silent.\n{call('exec', command='x')}\n!then\n!say never"}])
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    with httpx.Client(base_url=stack.base_url, headers=headers, timeout=30) as client:
        said = client.post("/chat/completions", json=body).json()["choices"][0]["message"]
        run_id = run_of(stack, said["tool_calls"][0]["id"])
        wait_for(lambda: state(stack, run_id) == "suspended" or None)


def test_what_a_client_has_abandoned_does_not_count_against_its_limit(stack: Stack) -> None:
    client = Asking(stack, made(stack, "forgetful", "--open-tickets", "1"))
    words = [{"role": "user", "content": f"Forget {number}.\n{call('exec', command='x')}"} for number in range(2)]
    assert client.chat(words[0]).status_code == 200
    client.http.headers.update(session_headers("forgetful"))
    assert client.chat(words[1]).status_code == 429
    wait_for(lambda: True if client.chat(words[1]).status_code == 200 else None)


def test_many_runs_that_nobody_answers_leave_nothing_open(stack: Stack) -> None:
    leave(stack, 40)


def leave(stack: Stack, count: int) -> None:
    """Begin so many runs that nobody answers, and see that what they held is free again."""
    before = held(stack)

    def begin_one(number: int) -> None:
        assert begin(stack, f"Leave {number}.\n{call('exec', command='x')}", f"left-{number}")[-1]["tool_calls"]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin_one, range(count)))
    wait_for(lambda: status(stack)["dify_streams"][0]["used"] == 0 or None)
    wait_for(lambda: status(stack)["tickets"]["open"] == 0 or None)
    wait_for(lambda: held(stack) <= before + 4 or None)
    assert status(stack)["runs"]["suspended"] >= count


def held(stack: Stack) -> int:
    """Count the sockets of the bridge and the threads of the plugin's process, once what is idle has been closed."""
    plugin = httpx.get(f"{stack.box_url}/box/state").json()["plugin"]["pid"]
    return sum(map(_sockets, _family(stack.bridge.pid))) + len(list(Path(f"/proc/{plugin}/task").iterdir()))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _sockets(pid: int) -> int:
    return sum(str(each.readlink()).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.test_abandoned", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many to leave (default %(default)s)")
    parser.add_argument("--seed", help="there is no chance in it: taken and not used")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), apps=["minimal"], bridge_settings=LIMITS) as running,
    ):
        leave(running, options.runs)
        tell(f"{options.runs} runs that nobody answered left nothing open")
    return 0


if __name__ == "__main__":
    sys.exit(main())
