"""GET /metrics holds the figures that an operator needs, and only for who may read them."""

import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo.client import Client, ClientError
from demo.local_tools import LocalTools
from demo.stack import Stack
from tests.e2e.conftest import call
from tests.levels import starts
from tools.tokens import hash_token

TOKEN = "clawback-metrics-of-prometheus"
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
@starts("e2e")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("measured")
    with Stack(folder, apps=["minimal"]) as running:
        config = folder / "clawback.toml"
        config.write_text(config.read_text().replace("[tokens]", f'[tokens]\nmetrics = "{hash_token(TOKEN)}"'))
        running.bridge.stop()
        running.bridge.start()
        yield running


def figures(stack: Stack) -> Figures:
    answer = httpx.get(f"{stack.bridge_url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(found: Figures, name: str, **labels: str) -> float | None:
    return found.get((f"clawback_{name}", frozenset(labels.items())))


def test_a_run_shows_in_every_figure(stack: Stack) -> None:
    (stack.folder / "note.txt").write_text("a note")
    client = Client(stack.base_url, stack.client_token, "minimal", LocalTools(stack.folder), session="figures")
    client.ask(f"Look.\n{call('read', path='note.txt')}\n!then\n!say It is done.")
    now = figures(stack)
    assert of(now, "runs_begun_total", model="minimal", direction="endpoint") == 1
    assert of(now, "runs_ended_total", model="minimal", direction="endpoint", outcome="finished") == 1
    assert of(now, "run_seconds_count", model="minimal") == 1
    assert of(now, "tickets_opened_total") == 1
    assert of(now, "ticket_wait_seconds_count", outcome="resolved") == 1
    assert (of(now, "ticket_wait_seconds_sum", outcome="resolved") or 0) > 0
    assert of(now, "call_steps_total", step="resolve") == 1
    assert (of(now, "upstream_tokens_total", model="minimal", kind="prompt") or 0) > 0
    assert (of(now, "upstream_tokens_total", model="minimal", kind="completion") or 0) > 0
    assert of(now, "http_requests_total", method="POST", route="/v1/chat/completions", status="200") == 2
    assert of(now, "http_first_byte_seconds_count", route="/v1/chat/completions") == 2
    assert of(now, "dify_streams", dify=stack.dify_url) == 0
    assert of(now, "dify_streams_limit", dify=stack.dify_url) == 8
    assert (of(now, "tickets_open"), of(now, "oldest_ticket_seconds"), of(now, "runs_active")) == (0, 0, 0)
    client.close()


def test_what_waits_and_what_fails_is_counted(stack: Stack) -> None:
    client = Client(stack.base_url, stack.client_token, "minimal", LocalTools(stack.folder), session="waiting")
    asked = {
        "model": "minimal",
        "messages": [{"role": "user", "content": f"Wait.\n{call('read', path='note.txt')}"}],
        "tools": [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}],
    }
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    answer = httpx.post(f"{stack.base_url}/chat/completions", json=asked, headers=headers, timeout=60)
    assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"
    now = figures(stack)
    assert of(now, "tickets_open") == 1
    assert (of(now, "oldest_ticket_seconds") or 0) > 0
    assert of(now, "runs_active") == 1
    assert of(now, "dify_streams", dify=stack.dify_url) == 1

    assert httpx.post(f"{stack.base_url}/chat/completions", json={"model": "x"}, headers=headers).status_code >= 400
    wrong = {"Authorization": "Bearer no"}
    assert httpx.post(f"{stack.base_url}/chat/completions", json=asked, headers=wrong).status_code == 401
    with pytest.raises(ClientError):
        client.ask("Fail.\n!error 400")
    client.close()
    assert httpx.get(f"{stack.bridge_url}/there/is/no/such/page").status_code == 404
    now = figures(stack)
    assert of(now, "errors_total", where="response", code="invalid_api_key") == 1
    assert (
        sum(n for (name, labels), n in now.items() if name.endswith("errors_total") and ("where", "run") in labels) == 1
    )
    assert of(now, "runs_ended_total", model="minimal", direction="endpoint", outcome="failed") == 1
    assert of(now, "http_requests_total", method="GET", route="(none)", status="404") == 1


def test_executors_and_their_load_are_there(stack: Stack) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    httpx.post(
        f"{stack.bridge_url}/executor/v1/executors",
        json={"name": "laptop", "tools": tools, "concurrency": 3},
        headers={"Authorization": f"Bearer {stack.executor_token}"},
    ).raise_for_status()
    now = figures(stack)
    assert of(now, "executors") == 1
    assert of(now, "executor_calls", executor="laptop") == 0
    assert of(now, "executor_calls_limit", executor="laptop") == 3


def test_only_three_tokens_open_it(stack: Stack) -> None:
    def status(path: str, token: str) -> int:
        return httpx.get(f"{stack.bridge_url}{path}", headers={"Authorization": f"Bearer {token}"}).status_code

    assert [status("/metrics", token) for token in (TOKEN, stack.operator_token)] == [200, 200]
    assert [status("/metrics", token) for token in (stack.client_token, stack.plugin_token, "none")] == [401] * 3
    assert httpx.get(f"{stack.bridge_url}/metrics").status_code == 401
    assert [status(path, TOKEN) for path in ("/operator/v1/status", "/v1/models", "/operator/v1/tickets")] == [401] * 3


def test_no_content_is_in_it(stack: Stack) -> None:
    client = Client(stack.base_url, stack.client_token, "minimal", LocalTools(stack.folder), session="content")
    word = f"secret{time.time_ns()}"
    client.ask(f"{word}\n!say {word}")
    client.close()
    assert word not in str(figures(stack))
