"""More clients with open tickets than Dify has places: all of them finish."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from demo.client import session_headers
from demo.stack import Stack
from tests.e2e.conftest import call, stream, upstream_log
from tests.e2e.test_survives import ask, begin, results, text

CLIENTS = 9


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("crowded"), apps=["minimal"], bridge_settings={"dify_streams": 2}) as running:
        yield running


def test_nobody_waits_for_those_who_wait(stack: Stack) -> None:
    everyone_has_calls = threading.Barrier(CLIENTS)

    def converse(number: int) -> str:
        prompt = f"Crowd {number}.\n{call('exec', command='x')}\n!then\n!say answer {number}"
        transcript = begin(stack, prompt, f"crowd-{number}")
        everyone_has_calls.wait(60)
        follow_up = [*transcript, *results(transcript, f"result {number}")]
        with stream(stack, ask(follow_up), **session_headers(f"crowd-{number}")) as response:
            return text(response)

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(converse, range(CLIENTS)))
    assert answers == [f"answer {number}" for number in range(CLIENTS)]
    for number in range(CLIENTS):
        assert len(upstream_log(stack, f"Crowd {number}.")) == 2, "a finished round was asked for again"
