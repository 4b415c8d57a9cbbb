"""Whoever drives a workflow may be gone while a ticket is open: the run goes on when its results come."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from demo.client import session_headers
from demo.stack import Stack
from tests.e2e.conftest import call, stream, upstream_log
from tests.e2e.test_survives import ask, begin, results, text


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


def test_a_plugin_that_was_killed_is_not_waited_for(stack: Stack) -> None:
    transcript = begin(stack, f"No plugin.\n{call('exec', command='x')}\n!then\n!say here again", "no-plugin")
    state = httpx.get(f"{stack.box_url}/box/state").json()
    os.kill(state["plugin"]["pid"], signal.SIGKILL)
    assert answered(stack, transcript, "no-plugin") == "here again"
    rounds = [entry for entry in upstream_log(stack, "No plugin.") if entry["answer"]["tool_calls"]]
    assert len(rounds) == 1, "a finished round was asked for again"


def test_a_dify_that_was_killed_and_started_again_does_not_end_the_run(stack: Stack) -> None:
    transcript = begin(stack, f"No Dify.\n{call('exec', command='x')}\n!then\n!say and so am I", "no-dify")
    stack.box.kill()
    stack.box.start()
    assert answered(stack, transcript, "no-dify") == "and so am I"
    assert len(upstream_log(stack, "No Dify.")) == 2
