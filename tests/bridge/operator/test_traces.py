"""Traces tell where a run's time went, under the client's own span, to a collector that speaks OTLP over HTTP."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, http_attributes

from demo.stack import Stack
from tests.bridge.operator.conftest import Clawback
from tests.e2e.conftest import call, stream
from tests.e2e.test_survives import ask, results, text, tool_calls
from tests.levels import starts

CONVENTIONS = {
    *(value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")),
    *(value for name, value in vars(http_attributes).items() if name.startswith("HTTP_")),
} - {"gen_ai.completion", "gen_ai.prompt", "gen_ai.system"}
"""What OpenTelemetry calls attributes, without what it has given up."""

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        self.server.take(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
@starts("parts")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
@starts("e2e")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("traced"), apps=["minimal"]) as running:
        config = running.folder / "clawback.toml"
        config.write_text(f'{config.read_text()}\n[traces]\nendpoint = "http://127.0.0.1:{collector.server_port}"\n')
        running.bridge.stop()
        running.bridge.start()
        yield running


def attributes(span: Span) -> dict[str, object]:
    def value(given: AnyValue) -> object:
        return getattr(given, str(given.WhichOneof("value")))

    return {each.key: value(each.value) for each in span.attributes}


def test_a_run_is_traced_under_the_client_s_span(stack: Stack, collector: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Session-Affinity": "traced", "X-Request-Id": "the-first"}
    user = {"role": "user", "content": "\n".join(["Begin.", call("exec", command="echo hidden"), "!then", "!say seen"])}
    with stream(stack, ask([user]), **headers) as response:
        transcript = [user, {"role": "assistant", "content": None, "tool_calls": tool_calls(response)}]
        run_id = response.headers["X-Clawback-Run"]
    with stream(stack, ask([*transcript, *results(transcript, "the output")]), **headers) as response:
        assert text(response) == "seen"
    register_and_run_a_call(stack)
    # What has not been sent yet is sent when the bridge ends.
    stack.bridge.stop()
    stack.bridge.start()

    assert collector.services == {"clawback"}
    own = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    by_name: dict[str, list[Span]] = {}
    for span in sorted(own, key=lambda span: span.start_time_unix_nano):
        by_name.setdefault(span.name, []).append(span)
    assert {name: len(spans) for name, spans in by_name.items()} == {
        "POST /v1/chat/completions": 2,
        "run": 1,
        "dify stream": 1,
        "ticket": 1,
        "execute_tool exec": 1,
        "chat minimal": 2,
    }
    first, second = by_name["POST /v1/chat/completions"]
    (run,), (dify,), (ticket,) = by_name["run"], by_name["dify stream"], by_name["ticket"]
    assert (first.parent_span_id.hex(), second.parent_span_id.hex()) == (PARENT, PARENT)
    assert run.parent_span_id == first.span_id
    assert {dify.parent_span_id, ticket.parent_span_id} == {run.span_id}
    assert run.end_time_unix_nano > first.end_time_unix_nano
    assert attributes(run)["clawback.run"] == run_id
    assert attributes(run)["clawback.state"] == "finished"
    assert attributes(ticket)["clawback.state"] == "resolved"
    assert attributes(first)["clawback.request_id"] == "the-first"
    assert attributes(first)["http.response.status_code"] == 200
    (tool,), chats = by_name["execute_tool exec"], by_name["chat minimal"]
    assert tool.parent_span_id == ticket.span_id
    assert {chat.parent_span_id for chat in chats} == {run.span_id}
    assert attributes(tool)["gen_ai.tool.name"] == "exec"
    assert attributes(tool)["gen_ai.tool.call.id"] == transcript[-1]["tool_calls"][0]["id"]
    told = attributes(run)
    assert (told["gen_ai.operation.name"], told["gen_ai.agent.name"], told["gen_ai.provider.name"]) == (
        *("invoke_agent", "minimal"),
        "dify",
    )
    assert told["gen_ai.conversation.id"]
    for kind in ("input", "output"):
        tokens = [attributes(chat)[f"gen_ai.usage.{kind}_tokens"] for chat in chats]
        assert all(isinstance(count, int) and count > 0 for count in tokens)
        assert told[f"gen_ai.usage.{kind}_tokens"] == sum(count for count in tokens if isinstance(count, int))
    named = {name for span in own for name in attributes(span) if not name.startswith("clawback.")}
    assert named <= CONVENTIONS
    operations = {attributes(span).get("gen_ai.operation.name") for span in own} - {None}
    assert operations <= {each.value for each in gen_ai_attributes.GenAiOperationNameValues}
    everything = b"".join(span.SerializeToString() for span in collector.spans)
    for content in (b"hidden", b"seen", b"the output", b"Begin", stack.client_token.encode()):
        assert content not in everything

    (held,) = [span for span in collector.spans if span.name == "call"]
    assert (attributes(held)["clawback.tool"], attributes(held)["clawback.executor"]) == ("look", "laptop")
    assert attributes(held)["clawback.step"] == "resolve"


def register_and_run_a_call(stack: Stack) -> None:
    """Let an executor run a call that a chat with the Dify app itself makes."""
    bridge = httpx.Client(
        base_url=f"{stack.bridge_url}/executor/v1",
        headers={"Authorization": f"Bearer {stack.executor_token}"},
        timeout=60,
    )
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}, "read_only": True}
    me = bridge.post("/executors", json={"name": "laptop", "tools": [tool]}).json()["executor_id"]
    chatting = threading.Thread(target=chat_with_the_app, args=(stack,))
    chatting.start()
    ends = time.monotonic() + 30
    while not (calls := bridge.post(f"/executors/{me}/claim", json={"max": 1, "wait": 5}).json()["calls"]):
        assert time.monotonic() < ends
    result = {"lease_id": calls[0]["lease_id"], "tool_call_id": calls[0]["tool_call_id"], "output": "done"}
    bridge.post(f"/executors/{me}/results", json={"results": [result]}).raise_for_status()
    chatting.join(30)
    bridge.delete(f"/executors/{me}")
    bridge.close()


def chat_with_the_app(stack: Stack) -> None:
    httpx.post(
        f"{stack.dify_url}/chat-messages",
        json={"query": f"{call('look')}\n!then\n!say ok", "inputs": {}, "user": "me", "response_mode": "streaming"},
        headers={"Authorization": f"Bearer {stack.app_key('minimal')}"},
        timeout=60,
    )


def test_without_the_extra_it_is_said(stack: Stack, tmp_path: Path, clawback: Clawback) -> None:
    hidden = "import sys; sys.modules['opentelemetry'] = None; from bridge.cli import main; main()"
    config = str(stack.folder / "clawback.toml")
    done = subprocess.run(
        [sys.executable, "-c", hidden, "serve", "--config", config], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "pip install 'clawback[traces]'" in done.stderr
    assert "Traceback" not in done.stderr
