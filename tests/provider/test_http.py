"""Both sides over HTTP, as they are and as they should not be."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import BaseModel

from provider.bridge import client as bridge_client
from provider.bridge import draft_sender
from provider.bridge.beats import Beats
from provider.bridge.client import BridgeClient
from provider.credentials import Credentials
from provider.engine import invocation
from provider.engine.engine import Engine, Invocation
from provider.engine.events import (
    Attach,
    Attached,
    BridgeFailed,
    Completed,
    Delta,
    Finish,
    Heartbeat,
    OpenTicket,
    Output,
    Record,
    Recorded,
    Say,
    TellDrafts,
    UpstreamFailed,
)
from provider.engine.invocation import deadline, hold_until, time_limit
from provider.errors import ContextTooLong, Refused, Unavailable, Unreachable
from provider.modes.structured import Structured
from provider.settings import NodeSettings
from provider.upstream.client import Upstream
from tests.provider.bridge_server import TOKEN, Bridge, wait_until
from tests.provider.byte_server import answering, response
from tests.provider.conftest import KEY, run_of
from tools.calls import ToolCall
from tools.wire import AttachRequest, DraftDelta, DraftRequest, RecordRequest, TicketRequest

pytestmark = pytest.mark.parts

HELLO = b'data: {"choices":[{"delta":{"content":"Hello"}}]}\r\n\r\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\r\n\r\ndata: [DONE]\r\n\r\n'
WITHOUT_DONE = HELLO + END.partition(b"data: [DONE]")[0]
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def complete(url: str) -> list[Any]:
    credentials = Credentials.read({"upstream_base_url": url, "upstream_api_key": KEY})
    return list(Upstream(credentials).complete({"model": "m"}, 10))


@pytest.mark.parametrize(
    "pieces",
    [
        [response(HELLO + END)],
        [response(HELLO[:10]), HELLO[10:30], HELLO[30:] + END[:5], END[5:]],
        [response(b": hello\n\n" + HELLO.replace(b"\r\n", b"\n") + END.replace(b"\r\n", b"\n"))],
        [response(WITHOUT_DONE)],
        # No [DONE], and no last chunk.
        [CHUNKED, b"%x\r\n%b\r\n" % (len(WITHOUT_DONE), WITHOUT_DONE)],
        [response(HELLO + END, "text/plain")],
        [response(b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}', "application/json")],
        [response(b'{"choices":[{"message":{"content":"Hello"}}]}', "application/json; charset=utf-8")],
    ],
)
def test_streams_and_whole_answers(pieces: list[bytes]) -> None:
    with answering(pieces) as url:
        assert complete(url) == [Delta(text="Hello"), Completed("stop")]


class KeptOpen(BaseHTTPRequestHandler):
    """Streams in chunks and keeps the connection open; what stands behind `[DONE]` is the path's."""

    protocol_version = "HTTP/1.1"
    server: "Counting"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        behind = self.path.split("/")[1]
        told = b"".join(b"%x\r\n%s\r\n" % (len(data), data) for data in (HELLO, END))
        # At once: on a busy machine the end would come later than it is waited for.
        self.wfile.write(told + {"odd": b"oops", "more": b"8\r\ndata: x\n\r\n", "late": b""}.get(behind, b"0\r\n\r\n"))
        if behind == "late":
            self.server.over.wait(30)


class Counting(ThreadingHTTPServer):
    daemon_threads = True
    connections = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), KeptOpen)
        self.over = threading.Event()

    def handle_error(self, *_: Any) -> None:
        pass


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "connections"), [("kept", 1), ("late", 3), ("odd", 3), ("more", 3)])
def test_a_connection_serves_again_where_the_end_has_come(counting: Counting, path: str, connections: int) -> None:
    for _ in range(3):
        url = f"http://127.0.0.1:{counting.server_address[1]}/{path}"
        assert complete(url) == [Delta(text="Hello"), Completed("stop")]
    assert counting.connections == connections


def test_one_invocation_s_cookies_go_with_no_other_s_requests() -> None:
    asked: list[bytes] = []
    answer = response(HELLO + END).replace(b"\r\n", b"\r\nSet-Cookie: session=of-one; Path=/\r\n", 1)
    with answering([answer], [answer], asked=asked) as url:
        for _ in range(2):
            assert complete(url) == [Delta(text="Hello"), Completed("stop")]
    assert len(asked) == 2
    assert not any(b"of-one" in request for request in asked)


@pytest.mark.parametrize(
    ("pieces", "error", "transient", "named"),
    [
        ([response(HELLO, length=5000)], Unreachable, True, "broke off"),
        ([response(HELLO)], Unreachable, True, "broke off"),
        ([b""], Unreachable, True, "broke off"),
        ([b"SSH-2.0-OpenSSH\r\n"], Unreachable, True, "broke off"),
        ([response(b"<html>", "text/html")], Refused, False, "upstream_base_url"),
        ([response(b'{"object":"list"}', "application/json")], Refused, False, "upstream_base_url"),
        ([response(b"", status="307 Temporary Redirect")], Refused, False, "upstream_base_url"),
        ([response(b"oops", "text/plain", "502 Bad Gateway")], Unavailable, True, "oops"),
        ([response(HELLO + b'data: {"error":{"message":"boom"}}\n\n')], Unavailable, True, "boom"),
        (
            [response(b'{"error":{"message":"maximum context length"}}', "application/json", "400 Bad Request")],
            ContextTooLong,
            False,
            "context_length_exceeded",
        ),
    ],
)
def test_what_an_upstream_should_not_do(
    pieces: list[bytes], error: type[Exception], transient: bool, named: str
) -> None:
    with answering(pieces) as url:
        failed = complete(url)[-1]
    assert isinstance(failed, UpstreamFailed)
    assert type(failed.error) is error
    assert failed.transient is transient
    assert named in str(failed.error)


def test_the_upstream_s_retry_after_is_read() -> None:
    limited = response(b"{}", "application/json", "429 Too Many Requests\r\nRetry-After: 7")
    with answering([limited]) as url:
        [failed] = complete(url)
    assert failed.retry_after == 7


@pytest.mark.parametrize("key", ["", KEY])
def test_without_a_key_no_key_is_sent(key: str, upstream: dict[str, Any], log: Callable[[], Any]) -> None:
    credentials = Credentials.read({"upstream_base_url": upstream["base_url"], "upstream_api_key": key})
    list(Upstream(credentials).complete({"model": "scripted", "messages": []}, 10))
    assert ("authorization" in log()[-1]["headers"]) is bool(key)


def test_what_a_refusal_taught_is_told_with_each_try() -> None:
    refused = response(b'{"error":{"message":"Unknown field: stream_options"}}', "application/json", "400 Bad Request")
    with answering([refused], [response(HELLO + END)]) as url:
        credentials = Credentials.read({"upstream_base_url": url})
        request = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
        *_, completed = Upstream(credentials).complete(request, 10)
    assert isinstance(completed, Completed)
    first, second = completed.asked
    assert (first.status, first.lesson, second.lesson, second.error) == (400, "stream_options", None, None)
    assert first.error
    assert ["stream_options" in each.body for each in (first, second)] == [True, False]


# The bridge


def client(url: str, token: str = TOKEN) -> BridgeClient:
    return BridgeClient(Credentials.read({"bridge_url": url, "bridge_token": token}))


CALL = ToolCall(id="call1", name="read", arguments="{}")
ATTACH = Attach(AttachRequest(invocation_id="inv12345", fingerprint="f", model="main", user="user1"))


def test_the_bridge_is_asked_with_its_token(bridge: Bridge) -> None:
    assert client(bridge.url).ping() is None
    assert isinstance(client(bridge.url).attach(ATTACH), Attached)
    assert isinstance(client(bridge.url, "wrong").ping(), Refused)


def test_few_requests_to_a_bridge_are_under_way_at_once(monkeypatch: pytest.MonkeyPatch, bridge: Bridge) -> None:
    attach, under_way, most = bridge.post_attach, [], []

    def slowly(body: bytes) -> BaseModel:
        under_way.append(body)
        most.append(len(under_way))
        bridge.changed.wait(0.05)  # lets others in
        under_way.pop()
        return attach(body)

    monkeypatch.setattr(bridge, "post_attach", slowly)
    with ThreadPoolExecutor(60) as pool:
        outcomes = list(pool.map(lambda _: client(bridge.url).attach(ATTACH), range(60)))
    assert [type(outcome) for outcome in outcomes] == [Attached] * 60
    assert 1 < max(most) <= 16


def test_those_that_wait_for_their_tickets_keep_nobody_from_asking(bridge: Bridge) -> None:
    request = TicketRequest(run_id="run1", invocation_id="inv12345", round=0, calls=[CALL])
    with ThreadPoolExecutor(40) as pool:
        opened = [OpenTicket(f"inv12345r{number}", request, 10.0) for number in range(40)]
        outcomes = [pool.submit(client(bridge.url).open_ticket, ticket) for ticket in opened]
        for ticket in list(bridge.wait_for("tickets", 40, 9).values()):
            bridge.settle(ticket, outputs=["A"])
    assert all(outcome.result().status.state == "resolved" for outcome in outcomes)


@pytest.mark.parametrize(
    ("answer", "error", "transient"),
    [
        (response(b"<html>", "text/html"), Refused, False),
        (response(b"<html>", "text/html", "404 Not Found"), Refused, False),
        (response(b'{"error":{"message":"no such run"}}', "application/json", "404 Not Found"), Refused, False),
        (response(b"{}", "application/json", "503 Unavailable"), Unavailable, True),
        (response(b"[]", "application/json", "500 Oops"), Unavailable, True),
        (b"", Unreachable, True),
    ],
)
def test_what_a_bridge_should_not_do(answer: bytes, error: type[Exception], transient: bool) -> None:
    with answering([answer]) as url:
        failed = client(url.removesuffix("/v1")).attach(ATTACH)
    assert isinstance(failed, BridgeFailed)
    assert type(failed.error) is error
    assert failed.transient is transient


def test_another_protocol_is_told() -> None:
    pong = response(b'{"service":"clawback","version":"9","protocol":9}', "application/json")
    with answering([pong]) as url:
        assert "same version" in str(client(url.removesuffix("/v1")).ping())


def test_a_record_is_tried_twice_and_then_let_be(bridge: Bridge) -> None:
    record = Record("inv12345", RecordRequest(run_id="run1"))
    bridge.failing = [500]
    assert client(bridge.url).record(record) == Recorded()
    assert len(bridge.records) == 1
    bridge.failing = [500, 500]
    assert client(bridge.url).record(record) == Recorded()
    assert len(bridge.records) == 1


def test_a_call_that_is_whole_at_once_goes_with_its_ticket_alone(
    monkeypatch: pytest.MonkeyPatch, bridge: Bridge
) -> None:
    monkeypatch.setattr(draft_sender, "_PAUSE", 0.2)
    sender = draft_sender.DraftSender(client(bridge.url))
    for is_whole in (True, False):
        delta = DraftDelta(id="call1", name="write", offset=0, arguments="{")
        sender.tell(TellDrafts("inv12345", DraftRequest(run_id="run1", round=0, calls=[delta])))
        if is_whole:
            sender.forget()
        for thread in threading.enumerate():
            if thread.name == "clawback-drafts":
                thread.join()
        assert bridge.paths == ([] if is_whole else ["POST /plugin/v1/invocations/inv12345/drafts"])


def test_all_invocations_that_work_say_so_and_one_thread_sees_to_it(bridge: Bridge) -> None:
    bridge.answers["user1"] = run_of("Hi", "read").model_copy(update={"beat_seconds": 0.05})
    clients = [client(bridge.url) for _ in range(20)]
    for number, each in enumerate(clients):
        each.attach(Attach(ATTACH.request.model_copy(update={"invocation_id": f"inv1234{number}"})))

    def beats() -> set[str]:
        return {path for path in bridge.paths if path.endswith("/beat")}

    wait_until(lambda: len(beats()) == len(clients))
    assert [thread.name for thread in threading.enumerate()].count("clawback-beats") == 1
    for each in clients:
        each.over = True
    wait_until(lambda: not bridge_client._beats()._waiting)


def test_a_beat_that_fails_silences_no_other() -> None:
    beats, beaten = Beats(), []

    def beat() -> float | None:
        beaten.append(beat)
        return 0.01 if len(beaten) < 3 else None

    beats.begin(lambda: 1 / 0, 0.01)
    beats.begin(beat, 0.02)
    wait_until(lambda: len(beaten) == 3 and not beats._waiting)


# Running the engine against both


def running(upstream: dict[str, Any], bridge: Bridge, text: str) -> Iterator[Output]:
    credentials = Credentials.read(
        {
            "upstream_base_url": upstream["base_url"],
            "upstream_api_key": KEY,
            "bridge_url": bridge.url,
            "bridge_token": TOKEN,
        }
    )
    now = invocation.RealClock().now()
    engine = Engine(
        Invocation(
            invocation_id="inv12345",
            model="main",
            messages=[{"role": "user", "content": text}],
            settings=NodeSettings(),
            request={"model": "scripted", "stream": True},
            hold_until=now + 60,
            deadline=now + 90,
            callbacks=True,
            user="user1",
        ),
        Structured(),
    )
    bridge.answers["user1"] = run_of(text, "read")
    return invocation.run(engine, Upstream(credentials), BridgeClient(credentials))


def test_closing_the_invocation_cancels_its_ticket(upstream: dict[str, Any], bridge: Bridge) -> None:
    outputs = running(upstream, bridge, "!say I look.\n!call read {}\n!delta 100")
    assert next(outputs) == Say("I look.")
    # One empty chunk stands behind the text when the call begins, one when its ticket is open.
    assert [next(outputs), next(outputs)] == [Heartbeat(), Heartbeat()]
    outputs.close()  # type: ignore[attr-defined]
    assert bridge.wait_ticket().cancelled == "Dify closed the invocation"


def test_closing_it_in_the_middle_of_the_text_leaves_the_upstream(
    upstream: dict[str, Any], bridge: Bridge, log: Callable[[], Any]
) -> None:
    outputs = running(upstream, bridge, "!say " + json.dumps(["word"] * 50) + "\n!sleep 30\n!say more\n!delta 9")
    assert isinstance(next(outputs), Say)
    outputs.close()  # type: ignore[attr-defined]
    wait_until(lambda: log()[-1]["state"] == "client_gone")
    assert not bridge.tickets
    assert not bridge.records


def test_a_whole_turn(upstream: dict[str, Any], bridge: Bridge) -> None:
    outputs = list(running(upstream, bridge, "!say Done."))
    assert isinstance(outputs[-1], Finish)
    assert len(bridge.records) == 1


# How long Dify lets it live


@pytest.mark.parametrize(
    ("environment", "limit"),
    [
        ({}, 600),
        ({"PLUGIN_MAX_EXECUTION_TIMEOUT": "1800"}, 1800),
        ({"PLUGIN_MAX_EXECUTION_TIMEOUT": ""}, 600),
        ({"PLUGIN_MAX_EXECUTION_TIMEOUT": "soon"}, 600),
        ({"PLUGIN_MAX_EXECUTION_TIMEOUT": "-1"}, 600),
    ],
)
def test_the_time_limit_is_the_daemon_s(environment: dict[str, str], limit: float) -> None:
    assert time_limit(environment) == limit


@pytest.mark.parametrize(("limit", "hold", "end"), [(600, 570, 597), (1800, 1770, 1797), (10, 8, 9)])
def test_time_is_left_to_say_why(limit: float, hold: float, end: float) -> None:
    assert (hold_until(0, limit), deadline(0, limit)) == (hold, end)
