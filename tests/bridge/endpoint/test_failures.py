"""Every failure behind the bridge, provoked at a real Dify in a box or by a server that answers as Dify does.

What a client gets is OpenAI's shape, by what the client does with it, and it stands in docs/reference/errors.md.
"""

import json
import re
import runpy
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask.testing import FlaskClient

from bridge.app import create_app
from bridge.config import parse
from bridge.dify import DifyClient, Timeouts
from demo.stack import ROOT
from tests.bridge.dify.byte_server import ByteServer, Reply, event_stream, finished, plain, problem, started
from tests.demo.box import exports
from tests.demo.box.running import EXAMPLES, RunningBox
from tests.demo.box.running import started as box_started
from tests.levels import starts
from tools.tokens import hash_token

TOKEN = {"Authorization": "Bearer t"}
TOOL = {"type": "function", "function": {"name": "read"}}
REQUESTS = 20
"""More than any failure asks for."""

# Answers that the box does not give, in Dify's words.
DIFY_ANSWERS: dict[str, Reply] = {
    "not published": problem("400 BAD REQUEST", "invalid_param", "Workflow not published"),
    "app switched off": problem("403 FORBIDDEN", "forbidden", "The app's API service has been disabled."),
    "inputs refused": problem("422 UNPROCESSABLE", "unprocessable_entity", "inputs must be an object"),
    "quota of Dify": problem("400 BAD REQUEST", "provider_quota_exceeded", "Your quota has been exhausted."),
    "no room": problem("429 TOO MANY", "too_many_requests", "Too many requests.", Retry_After="7"),
    "rate limit of Dify": problem("429 TOO MANY", "rate_limit_error", "Rate Limit Error"),
    "Dify failed": problem("500 ERROR", "internal_server_error", "Internal Server Error"),
    "no such conversation": problem("404 NOT FOUND", "not_found", "Conversation Not Exists."),
    "not Dify": plain("404 NOT FOUND", b"<html>nginx</html>", "text/html"),
    "stream cut": event_stream(started(), end="cut"),
    "killed": event_stream(
        started(), finished("failed", "req_id: 591b8b19f9 PluginDaemonInternalServerError: killed by timeout")
    ),
    "no sandbox": event_stream(
        started(),
        finished(
            "failed",
            "Failed to execute code, which is likely a network issue, please check if the sandbox service "
            "is running. ( Error: [Errno -2] Name or service not known )",
        ),
    ),
    "worker ended": event_stream(
        started(), finished("stopped", "Workflow stopped because the worker is shutting down.")
    ),
    "variable": event_stream(started(), finished("failed", "city in input form must be less than 5 characters")),
    "input form": event_stream(started(), finished("failed", "'city' in input form must be a list")),
    "plugin gone": event_stream(started(), finished("failed", "plugin clawback/clawback is not installed")),
}


@dataclass(frozen=True)
class Expected:
    """`words` is a part of what the client is told."""

    status: int
    code: str | None
    words: str
    kind: str = "invalid_request_error"
    waits: bool = False


def wait(code: str, words: str) -> Expected:
    return Expected(503, code, words, "server_error", waits=True)


CHANGE_KEY = "Create a key in Dify"
FAILURES: dict[str, tuple[str, str, Expected]] = {
    # what: the model, the prompt, and what comes of it
    "Dify unreachable": ("nowhere", "hi", wait("unreachable", "Check that Dify is running")),
    "app key revoked": ("revoked", "hi", Expected(422, "bad_key", CHANGE_KEY)),
    "app not published": ("not published", "hi", Expected(422, "app_unavailable", "publish it")),
    "app switched off": ("app switched off", "hi", Expected(422, "app_unavailable", "switch its API on")),
    "input variable missing": ("inputs", "hi", Expected(400, "missing_input", "city")),
    "input variable refused": ("variable", "hi", Expected(400, "invalid_input", "less than 5 characters")),
    "input form refused": ("input form", "hi", Expected(422, "input_refused", "Start node's variables")),
    "inputs refused": ("inputs refused", "hi", Expected(422, "invalid_input", "Start node's variables")),
    "quota of Dify": ("quota of Dify", "hi", Expected(422, "quota_used_up", "Top up the quota")),
    "quota of the upstream": (
        "minimal",
        "!raise InvokeBadRequestError insufficient_quota: You exceeded your current quota",
        Expected(422, "quota_used_up", "Top up the quota"),
    ),
    "no room at Dify": (
        "no room",
        "hi",
        Expected(429, "rate_limit_exceeded", "Too many requests", "rate_limit_error", waits=True),
    ),
    "rate limit of Dify": (
        "rate limit of Dify",
        "hi",
        Expected(429, "rate_limit_exceeded", "Wait", "rate_limit_error", waits=True),
    ),
    "rate limit of the upstream": (
        "minimal",
        "!raise InvokeRateLimitError HTTP 429: slow down",
        Expected(429, "rate_limit_exceeded", "slow down", "rate_limit_error", waits=True),
    ),
    "plugin not installed": ("plugin gone", "hi", Expected(422, "model_missing", "Install the plugin")),
    "provider not set up": ("unknown", "hi", Expected(422, "model_missing", "set its credentials")),
    "upstream refused": (
        "minimal",
        "!raise InvokeBadRequestError HTTP 400: temperature is odd",
        Expected(422, "request_refused", "temperature is odd"),
    ),
    "upstream's key refused": (
        "minimal",
        "!raise InvokeAuthorizationError wrong key",
        Expected(422, "credentials_refused", "Correct the credentials"),
    ),
    "upstream out of reach": (
        "minimal",
        "!raise InvokeConnectionError connection refused",
        wait("upstream_unavailable", "connection refused"),
    ),
    "node too late": (
        "minimal",
        "!raise InvokeBadRequestError The bridge answered 410: the run of this node is cancelled",
        wait("node_too_late", "Send the request again"),
    ),
    "prompt too long": (
        "minimal",
        "!raise InvokeBadRequestError This model's maximum context length is 8192 tokens",
        Expected(400, "context_length_exceeded", "maximum context length"),
    ),
    "node failed": ("minimal", "!raise InvokeError the model is moody", Expected(422, "run_failed", "moody")),
    "run too long": ("minimal", "!sleep 4", Expected(422, "ran_too_long", "WORKFLOW_MAX_EXECUTION_TIME")),
    "model call too long": ("killed", "hi", Expected(422, "killed_by_timeout", "callback_wait_seconds")),
    "Dify failed": ("Dify failed", "hi", wait("server_error", "log of Dify's api")),
    "Dify says nothing": ("silent", "hi", wait("no_answer", "closed the connection")),
    "no sandbox": ("no sandbox", "hi", Expected(422, "sandbox_unavailable", "compose up -d sandbox")),
    "no worker": ("no worker", "hi", wait("run_not_begun", "compose up -d worker")),
    "worker ended": ("worker ended", "hi", wait("worker_stopped", "once Dify's worker is back")),
    "stream cut": ("stream cut", "hi", wait("stream_broke", "api or worker was restarted")),
    "no such conversation": ("no such conversation", "hi", Expected(422, "conversation_gone", "new conversation")),
    "not Dify": ("not Dify", "hi", Expected(422, "not_dify", "usually ends in /v1")),
}


@pytest.fixture(scope="module")
@starts("parts")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    folder = tmp_path_factory.mktemp("box")
    apps = {
        "key-minimal": EXAMPLES / "minimal.yml",
        "key-inputs": exports.write(folder / "inputs.yml", exports.with_inputs),
        "key-unknown": exports.write(folder / "unknown.yml", exports.without_credentials),
    }
    with box_started(folder, "--workflow-seconds", "3", apps=apps) as running:
        yield running


@pytest.fixture(scope="module")
def client(box: RunningBox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A bridge with an app for each way to fail."""
    servers = {name: ByteServer(replies=[reply] * REQUESTS) for name, reply in DIFY_ANSWERS.items()}
    with socket.create_server(("127.0.0.1", 0), backlog=1) as unused:
        nowhere = unused.getsockname()[1]
    silent = ByteServer(replies=[lambda connection: connection.close()] * REQUESTS)
    over = threading.Event()
    waiting = event_stream(b"event: ping\n\n", end="hold", until=over)
    servers["no worker"] = ByteServer(replies=[waiting] * REQUESTS)
    urls = {name: server.base_url for name, server in servers.items()}
    urls |= {"nowhere": f"http://127.0.0.1:{nowhere}/v1", "silent": silent.base_url}
    apps = [{"model": name, "base_url": url, "api_key": "app-x"} for name, url in urls.items()]
    for name in ("minimal", "inputs", "unknown"):
        apps.append({"model": name, "base_url": box.ready["dify_url"], "api_key": f"key-{name}"})
    apps.append({"model": "revoked", "base_url": box.ready["dify_url"], "api_key": "key-of-yesterday"})
    app = create_app(
        parse(
            {
                "data_dir": str(tmp_path_factory.mktemp("failures")),
                "tokens": dict.fromkeys(("client", "plugin", "executor", "operator"), hash_token("t")),
                "apps": apps,
                "limits": {"first_event_seconds": 20, "request_bytes": 4096},
            }
        )
    )
    for each in apps:
        clients = app.extensions["clawback"].services.apps._clients
        clients[each["model"]] = DifyClient(each["base_url"], each["api_key"], timeouts=Timeouts(idle=8))
    yield app.test_client()
    over.set()
    app.extensions["clawback"].sweeper.stop()
    for server in (*servers.values(), silent):
        server.close()


@pytest.fixture(scope="module")
def documented() -> set[tuple[int, str, str]]:
    page = runpy.run_path(str(ROOT / "docs" / "reference" / "errors_page.py"))["errors_page"]("")
    return {(int(s), kind, code) for s, kind, code in re.findall(r"^\| (\d+) \| `(\w+)` \| `(\w+)` \|", page, re.M)}


def ask(client: FlaskClient, model: str, prompt: str, **fields: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "user": prompt, **fields}
    return client.post("/v1/chat/completions", json=body, headers=TOKEN)


def check(answer: Any, expected: Expected, documented: set[tuple[int, str, str]]) -> None:
    error = answer.get_json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (expected.status, expected.kind, expected.code), error
    assert expected.words in error["message"]
    assert ("Retry-After" in answer.headers) == expected.waits
    assert answer.headers["X-Request-Id"]
    if expected.code:
        assert (expected.status, expected.kind, expected.code) in documented


@pytest.mark.parametrize("what", FAILURES)
def test_each_failure_says_what_to_change(client: FlaskClient, what: str, documented: set[Any]) -> None:
    model, prompt, expected = FAILURES[what]
    check(ask(client, model, prompt), expected, documented)


def test_no_failure_of_dify_is_missing_here() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "reference" / "errors_page.py"))
    # What is said of a form is told to whoever answers it: tests/e2e/test_forms.py.
    codes = {code for _, _, code, _, _ in page["_from_dify"]() if not code.startswith("form_")}
    assert codes <= {expected.code for _, _, expected in FAILURES.values()}


def test_a_stream_that_fails_before_it_begins_has_the_same_status(client: FlaskClient, documented: set[Any]) -> None:
    model, prompt, expected = FAILURES["app key revoked"]
    check(ask(client, model, prompt, stream=True), expected, documented)


def test_a_stream_that_fails_later_ends_with_the_same_error(client: FlaskClient) -> None:
    text = ask(client, "minimal", "!say Well,\n!raise InvokeError the model is moody", stream=True).get_data(
        as_text=True
    )
    *_, last, done = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert done == "[DONE]"
    assert json.loads(last)["error"]["code"] == "run_failed"


def test_responses_fail_alike(client: FlaskClient, documented: set[Any]) -> None:
    model, prompt, expected = FAILURES["app key revoked"]
    body = {"model": model, "input": prompt}
    check(client.post("/v1/responses", json=body, headers=TOKEN), expected, documented)
    body = {"model": "minimal", "input": "!say Well,\n!raise InvokeError moody", "stream": True}
    text = client.post("/v1/responses", json=body, headers=TOKEN).get_data(as_text=True)
    *_, last, done = text.strip().split("\n\n")
    name, data = last.split("\n")
    assert (name, done) == ("event: response.failed", "data: [DONE]")
    assert "run_failed: " in json.loads(data.removeprefix("data: "))["response"]["error"]["message"]


def test_a_plugin_that_did_not_attach_is_told_with_the_answer(client: FlaskClient, documented: set[Any]) -> None:
    """The box's own plugin never asks the bridge for tools."""
    told = ask(client, "minimal", "!say Hello.", tools=[TOOL]).get_json()
    assert told["choices"][0]["message"]["content"] == "Hello."
    assert "external_tool_callback_enabled" in told["clawback"]["note"]
    silent = Expected(422, "empty_answer", "external_tool_callback_enabled")
    check(ask(client, "minimal", "!sleep 0", tools=[TOOL]), silent, documented)


@pytest.mark.parametrize(
    ("body", "expected", "param"),
    [
        (b"{", Expected(400, "invalid_json", "not valid JSON"), None),
        (b"[]", Expected(400, "invalid_json", "must be a JSON object"), None),
        (b'{"model": 7}', Expected(400, None, "valid string"), "model"),
        (b'{"model": "minimal", "messages": []}', Expected(400, None, "at least one message"), "messages"),
        (
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}',
            Expected(404, "model_not_found", "m"),
            "model",
        ),
        (b'{"x": "%s"}' % (b"x" * 5000), Expected(413, "too_large", "limits.request_bytes"), None),
    ],
)
def test_what_the_client_got_wrong(
    client: FlaskClient, body: bytes, expected: Expected, param: str | None, documented: set[Any]
) -> None:
    answer = client.post("/v1/chat/completions", data=body, headers=TOKEN)
    check(answer, expected, documented)
    assert answer.get_json()["error"]["param"] == param


def test_only_a_wrong_key_of_the_bridge_s_own_is_a_401(client: FlaskClient, documented: set[Any]) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dDp0"}):
        answer = client.get("/v1/models", headers=headers)
        check(answer, Expected(401, "invalid_api_key", "token", "authentication_error"), documented)
    # Commands on the bridge's own machine show another token than everyone else: nobody else's will do.
    check(
        client.get("/doctor/v1/visits", headers=TOKEN),
        Expected(403, "forbidden", "machine", "permission_error"),
        documented,
    )
