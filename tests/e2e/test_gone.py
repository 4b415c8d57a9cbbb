"""Whoever drives a workflow may be gone while a ticket is open: the run goes on when its results come."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.client import session_headers
from demo.stack import Stack
from tests.e2e import flows
from tests.e2e.conftest import MakeStack, call, stream, upstream_log, workflow_runs
from tests.e2e.executors import wait_for
from tests.e2e.test_survives import ask, begin, chunks, results, states, text

QUERY = "{{#sys.query#}}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One place at Dify: a workflow that is of no more use must not keep it."""
    limits = {"silent_seconds": 1, "sweep_seconds": 0.3, "dify_streams": 1}
    options = ["--plugin-restart-seconds", "0.5"]
    with Stack(
        tmp_path_factory.mktemp("gone"), apps=["minimal"], bridge_settings=limits, box_options=options
    ) as running:
        yield running


def answered(stack: Stack, transcript: list[dict[str, Any]], session: str) -> str:
    follow_up = [*transcript, *results(transcript, "the result")]
    with stream(stack, ask(follow_up), **session_headers(session)) as response:
        return text(response)


def kill_plugin(stack: Stack) -> None:
    os.kill(httpx.get(f"{stack.box_url}/box/state").json()["plugin"]["pid"], signal.SIGKILL)


def test_a_plugin_that_was_killed_is_not_waited_for(stack: Stack) -> None:
    transcript = begin(stack, f"No plugin.\n{call('exec', command='x')}\n!then\n!say here again", "no-plugin")
    kill_plugin(stack)
    assert answered(stack, transcript, "no-plugin") == "here again"
    rounds = [entry for entry in upstream_log(stack, "No plugin.") if entry["answer"]["tool_calls"]]
    assert len(rounds) == 1, "a finished round was asked for again"


def test_a_plugin_that_was_killed_while_it_asked_its_model_is_not_waited_for(stack: Stack) -> None:
    words = f"Thinking.\n{call('exec', command='x')}\n!then\n!sleep 3\n!say thought again"
    transcript = begin(stack, words, "thinking")
    follow_up = [*transcript, *results(transcript, "the result")]
    with stream(stack, ask(follow_up), **session_headers("thinking")) as response:
        wait_for(lambda: len(upstream_log(stack, "Thinking.")) == 2 or None)
        kill_plugin(stack)
        assert text(response) == "thought again"
        runs = workflow_runs(stack, response.headers["x-clawback-run"])
    assert len(runs) == 2
    rounds = [entry for entry in upstream_log(stack, "Thinking.") if entry["answer"]["tool_calls"]]
    assert len(rounds) == 1, "a finished round was asked for again"


def test_a_model_that_thinks_for_longer_than_a_plugin_may_be_silent_is_waited_for(stack: Stack) -> None:
    words = "Slowly.\n!sleep 9\n!say thought through"
    with stream(stack, ask([{"role": "user", "content": words}]), **session_headers("slowly")) as response:
        assert text(response) == "thought through"
        runs = workflow_runs(stack, response.headers["x-clawback-run"])
    assert len(runs) == 1
    assert len(upstream_log(stack, "Slowly.")) == 1


def test_a_dify_that_was_killed_and_started_again_does_not_end_the_run(stack: Stack) -> None:
    transcript = begin(stack, f"No Dify.\n{call('exec', command='x')}\n!then\n!say and so am I", "no-dify")
    stack.box.kill()
    stack.box.start()
    assert answered(stack, transcript, "no-dify") == "and so am I"
    assert len(upstream_log(stack, "No Dify.")) == 2


def test_a_workflow_that_begins_once_its_client_has_gone_takes_no_part_in_the_run_that_follows(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(bridge_settings={"grace_seconds": 0.5, "keepalive_seconds": 0.3})
    httpx.post(f"{stack.box_url}/box/worker/stop").raise_for_status()
    prompt = f"Begun late.\n{call('exec', command='x')}\n!then\n!say once"
    with stream(stack, ask([{"role": "user", "content": prompt}]), **session_headers("begun-late")) as response:
        next(chunks(response))
    with ThreadPoolExecutor(1) as pool, closing(stack.store()) as store:
        wait_for(lambda: states(store) == ["cancelled"] or None)
        asked = pool.submit(begin, stack, prompt, "begun-late")
        wait_for(lambda: len(httpx.get(f"{stack.box_url}/box/state").json()["runs"]) == 2 or None)
        httpx.post(f"{stack.box_url}/box/worker/start").raise_for_status()
        transcript = asked.result()
        assert answered(stack, transcript, "begun-late") == "once", "the call was given once more"
        assert states(store) == ["cancelled", "finished"]
    assert len(upstream_log(stack, "Begun late.")) == 2


@pytest.fixture
def slow_site() -> Iterator[Callable[[float], tuple[str, list[str]]]]:
    """Serve pages that take a while; the list holds who asked."""
    servers = []

    def serve(seconds: float) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Page(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.path)
                time.sleep(seconds)
                self.send_response(200)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"slow")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Page))
        servers[-1].block_on_close = False
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/page", asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def kill_worker(stack: Stack) -> None:
    assert httpx.post(f"{stack.box_url}/box/worker/kill").json()["killed"] == 1


SILENT = {"dify_silent_seconds": 2, "sweep_seconds": 0.3}


def test_a_worker_that_was_killed_in_our_node_is_noticed_and_no_round_is_paid_for_twice(make_stack: MakeStack) -> None:
    stack = make_stack(bridge_settings=SILENT)
    transcript = begin(stack, f"No worker.\n{call('exec', command='x')}\n!then\n!say worked again", "no-worker")
    kill_worker(stack)
    began = time.monotonic()
    assert answered(stack, transcript, "no-worker") == "worked again"
    assert time.monotonic() - began < 15
    assert len(upstream_log(stack, "No worker.")) == 2, "a finished round, or the answer, was asked for again"


def test_a_worker_that_is_told_to_end_costs_no_round(make_stack: MakeStack) -> None:
    """As in a restart or an upgrade of Dify."""
    stack = make_stack(bridge_settings=SILENT)
    transcript = begin(stack, f"Ended.\n{call('exec', command='x')}\n!then\n!say went on", "ended")
    assert httpx.post(f"{stack.box_url}/box/worker/end").json()["ended"] == 1
    assert answered(stack, transcript, "ended") == "went on"
    assert len(upstream_log(stack, "Ended.")) == 2, "a finished round, or the answer, was asked for again"


def test_a_worker_that_was_killed_in_an_http_node_is_told_and_nothing_runs_twice(
    make_stack: MakeStack, tmp_path: Path, slow_site: Callable[[float], tuple[str, list[str]]]
) -> None:
    url, asked = slow_site(30)
    export = flows.in_a_row(tmp_path, "http", flows.llm("first", QUERY), flows.http("page", url))
    stack = make_stack(apps=[], exports={"http": export}, bridge_settings={**SILENT, "dify_workflow_seconds": 6})
    body = {"model": "http", "messages": [{"role": "user", "content": "Killed in a page."}]}
    with stream(stack, body, **session_headers("in-page")) as response:
        lines = response.iter_lines()
        while not asked:
            time.sleep(0.1)
        kill_worker(stack)
        told = "\n".join(lines)
    assert "workflow_lost" in told
    assert "'page' (http-request)" in told
    assert len(asked) == 1


@pytest.mark.parametrize("arrange", [flows.in_a_row, flows.parallel])
def test_a_slow_node_of_another_kind_is_waited_for(
    make_stack: MakeStack,
    tmp_path: Path,
    slow_site: Callable[[float], tuple[str, list[str]]],
    arrange: Callable[..., Path],
) -> None:
    url, asked = slow_site(7)
    export = arrange(tmp_path, "http", flows.llm("first", QUERY), flows.http("page", url))
    stack = make_stack(apps=[], exports={"http": export}, bridge_settings={**SILENT, "dify_workflow_seconds": 3600})
    body = {"model": "http", "messages": [{"role": "user", "content": "A slow page."}]}
    with stream(stack, body, **session_headers("slow-page")) as response:
        assert text(response).endswith(" + slow")
        run_id = response.headers["x-clawback-run"]
    assert len(asked) == 1
    assert len(workflow_runs(stack, run_id)) == 1
