"""The client reads a run to its end, whatever Dify's version, and says what went wrong where it did."""

import socket
import ssl
import sys
import threading
from types import FrameType

import httpx
import pytest

from bridge.dify import AppInfo, DifyClient, InputField, Timeouts, errors, events
from bridge.dify.events import Event
from tests.bridge.dify.byte_server import (
    PING,
    ByteServer,
    Reply,
    event_stream,
    finished,
    message_end,
    piece,
    plain,
    problem,
    sse,
    started,
)
from tests.bridge.dify.conftest import KEY
from tools.sse import MAX_EVENT_BYTES
from tools.wire import Usage

NOW = [PING, started(), piece("Gr"), PING, piece("üße"), message_end(), finished()]
OLD = [started(), piece("Gr"), piece("üße"), finished(), message_end()]


def run(client: DifyClient) -> list[Event]:
    with client.chat(query="Hello", user="session-1") as run_events:
        return list(run_events)


def resumed(first: bytes, when: threading.Event, rest: bytes) -> Reply:
    """Return a stream that stops after `first` until it is told to go on."""

    def reply(connection: socket.socket) -> None:
        event_stream(first, end="hold", until=when)(connection)
        connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))

    return reply


def kinds(seen: list[Event]) -> list[str]:
    return [type(event).__name__ for event in seen if not isinstance(event, events.Ping)]


def answer(seen: list[Event]) -> str:
    return "".join(event.answer for event in seen if isinstance(event, events.Message))


@pytest.mark.parametrize(
    ("order", "ends"),
    [(NOW, ["MessageEnd", "WorkflowFinished"]), (OLD, ["WorkflowFinished", "MessageEnd"])],
    ids=["1.16", "1.4.2"],
)
def test_both_orders_of_the_last_two_events_are_read_to_the_end(
    server: ByteServer, client: DifyClient, order: list[bytes], ends: list[str]
) -> None:
    server.replies = [event_stream(*order)]
    seen = run(client)
    assert kinds(seen) == ["WorkflowStarted", "Message", "Message", *ends]
    assert answer(seen) == "Grüße"
    assert next(event.usage for event in seen if isinstance(event, events.MessageEnd)) == Usage(
        prompt_tokens=120, completion_tokens=30
    )


def test_events_cut_at_every_byte_are_the_same_events(server: ByteServer, client: DifyClient) -> None:
    stream = b"".join(NOW)
    server.replies = [
        event_stream(*(stream[i : i + 1] for i in range(len(stream)))),
        event_stream(stream),
    ]
    assert run(client) == run(client)


def test_the_request_says_what_dify_needs_and_no_more(server: ByteServer, client: DifyClient) -> None:
    server.replies = [event_stream(*NOW), event_stream(*NOW)]
    run(client)
    file = {"type": "image", "transfer_method": "remote_url", "url": "https://example.org/a.png"}
    with client.chat(
        query="Hello", user="u", inputs={"a": 1}, conversation_id="c", files=[file], trace_id="t-1"
    ) as run_events:
        assert len(list(run_events)) == len(NOW)
    least, most = server.requests
    assert (least.method, least.target) == ("POST", "/v1/chat-messages")
    assert least.headers["authorization"] == f"Bearer {KEY}"
    assert least.headers["content-type"] == "application/json"
    assert "x-trace-id" not in least.headers
    assert least.json() == {
        "query": "Hello",
        "inputs": {},
        "user": "session-1",
        "response_mode": "streaming",
        "conversation_id": "",
        "auto_generate_name": False,
    }
    assert most.headers["x-trace-id"] == "t-1"
    assert most.json()["files"] == [file]
    assert (most.json()["conversation_id"], most.json()["inputs"]) == ("c", {"a": 1})


def test_half_a_surrogate_pair_does_not_stop_a_query(server: ByteServer, client: DifyClient) -> None:
    server.replies = [event_stream(*NOW)]
    with client.chat(query="broken \ud83d emoji 😀", user="u") as run_events:
        assert list(run_events)
    assert server.requests[0].json()["query"] == "broken ? emoji 😀"


def test_events_arrive_while_the_run_is_still_going_on(server: ByteServer, client: DifyClient) -> None:
    rest = threading.Event()
    server.replies = [resumed(started() + piece("first"), rest, finished())]
    with client.chat(query="Hello", user="u") as run_events:
        assert kinds([next(run_events), next(run_events)]) == ["WorkflowStarted", "Message"]
        rest.set()
        assert kinds(list(run_events)) == ["WorkflowFinished"]


def test_a_stream_that_stays_open_after_the_end_is_let_go_of(server: ByteServer, client: DifyClient) -> None:
    never = threading.Event()
    server.replies = [event_stream(*NOW, end="hold", until=never), event_stream(*NOW)]
    try:
        assert kinds(run(client))[-1] == "WorkflowFinished"
        assert kinds(run(client))[-1] == "WorkflowFinished"
    finally:
        never.set()


def test_a_connection_ends_with_its_run(server: ByteServer, patient: DifyClient) -> None:
    server.replies = [event_stream(*NOW), event_stream(*OLD), event_stream(*NOW)]
    assert [answer(run(patient)) for _ in range(3)] == ["Grüße"] * 3
    assert server.connections == 3


def test_the_grace_of_one_run_never_cuts_another(server: ByteServer, client: DifyClient) -> None:
    grace_is_over = threading.Event()
    server.replies = [event_stream(*NOW), resumed(started(), grace_is_over, finished())]
    run(client)
    with client.chat(query="Hello", user="u") as run_events:
        next(run_events)
        threading.Event().wait(0.5)
        grace_is_over.set()
        assert kinds(list(run_events)) == ["WorkflowFinished"]


@pytest.mark.parametrize(
    "last",
    [
        finished("failed", "boom"),
        finished("stopped"),
        sse("error", status=400, code="invalid_param", message="boom"),
        sse("workflow_paused", data={"paused_nodes": ["form_1"], "status": "paused"}),
    ],
    ids=["failed", "stopped", "error", "paused"],
)
def test_every_way_to_end_ends_the_events(server: ByteServer, client: DifyClient, last: bytes) -> None:
    never = threading.Event()
    server.replies = [event_stream(started(), last, end="hold", until=never)]
    try:
        assert len(run(client)) == 2
    finally:
        never.set()


def finished_without_workflow() -> bytes:
    """What Dify 1.16 says after all that was answered or failed without a workflow."""
    data = {"id": "run-1", "status": "failed", "error": "Workflow stream ended without a terminal event"}
    begun = sse("workflow_started", conversation_id="", message_id="", workflow_run_id="run-1", data={"id": "run-1"})
    return begun + sse("workflow_finished", conversation_id="", message_id="", workflow_run_id="run-1", data=data)


def test_an_agent_app_finishes_with_its_message(server: ByteServer, client: DifyClient) -> None:
    never = threading.Event()
    agent = [sse("agent_thought", thought="hm"), sse("agent_message", answer="Hi"), message_end()]
    server.replies = [event_stream(*agent, end="hold", until=never)]
    try:
        seen = run(client)
    finally:
        never.set()
    assert kinds(seen) == ["WorkflowStarted", "AgentThought", "AgentMessage", "MessageEnd", "WorkflowFinished"]
    assert answer(seen) == "Hi"
    last = seen[-1]
    assert isinstance(last, events.WorkflowFinished)
    assert (last.succeeded, last.workflow_run_id, last.total_tokens) == (True, "", 150)
    assert last.conversation_id == seen[0].conversation_id


def test_an_annotation_reply_is_an_answer_although_dify_calls_it_a_failed_workflow(
    server: ByteServer, client: DifyClient
) -> None:
    server.replies = [event_stream(piece("As noted."), message_end(), finished_without_workflow())]
    seen = run(client)
    assert kinds(seen) == ["WorkflowStarted", "Message", "MessageEnd", "WorkflowFinished"]
    assert isinstance(seen[-1], events.WorkflowFinished)
    assert seen[-1].succeeded


def test_a_failure_is_told_once_and_in_its_own_words(server: ByteServer, client: DifyClient) -> None:
    error = sse("error", status=400, code="provider_not_initialize", message="no credentials")
    after = sse("error", status=400, code="invalid_param", message="Run failed: boom")
    server.replies = [
        event_stream(PING, error, finished_without_workflow()),
        event_stream(started(), finished("failed", "boom"), after),
    ]
    assert kinds(run(client)) == ["ErrorEvent"]
    assert kinds(run(client)) == ["WorkflowStarted", "WorkflowFinished"]


@pytest.mark.parametrize("end", ["properly", "cut"])
def test_a_stream_that_ends_before_its_run_is_broken(server: ByteServer, client: DifyClient, end: str) -> None:
    server.replies = [event_stream(started(), piece("half an"), message_end(), end=end)]
    seen: list[Event] = []
    with client.chat(query="Hello", user="u") as run_events, pytest.raises(errors.StreamBroke) as caught:
        seen.extend(run_events)
    assert kinds(seen) == ["WorkflowStarted", "Message", "MessageEnd"]
    assert caught.value.waiting_helps


def test_a_stream_that_is_cut_in_its_last_event_is_broken_and_one_cut_after_it_is_not(
    server: ByteServer, client: DifyClient
) -> None:
    server.replies = [
        event_stream(started(), finished()[:-40], end="cut"),
        event_stream(started(), finished().rstrip(b"\n"), end="cut"),
        event_stream(started(), finished().rstrip(b"\n")),
    ]
    with pytest.raises(errors.StreamBroke):
        run(client)
    with pytest.raises(errors.StreamBroke):
        run(client)
    assert kinds(run(client)) == ["WorkflowStarted", "WorkflowFinished"]


def test_silence_is_a_broken_stream(server: ByteServer) -> None:
    hasty = DifyClient(server.base_url, KEY, timeouts=Timeouts(idle=0.5))
    never = threading.Event()
    server.replies = [event_stream(started(), end="hold", until=never)]
    with pytest.raises(errors.StreamBroke, match="silent"):
        run(hasty)
    never.set()
    hasty.close()


def test_what_is_no_event_stream_is_not_dify(server: ByteServer, client: DifyClient) -> None:
    server.replies = [plain("200 OK", b"<html>", "text/html"), event_stream(b"data: {oops\n\n")]
    with pytest.raises(errors.NotDify, match="text/html"):
        run(client)
    with pytest.raises(errors.StreamBroke, match="not JSON"):
        run(client)


def test_a_giant_node_event_does_not_break_a_run(server: ByteServer, client: DifyClient) -> None:
    giant = sse("node_finished", data={"node_id": "n", "outputs": {"text": "x" * MAX_EVENT_BYTES}})
    server.replies = [event_stream(started(), giant, piece("Hi"), message_end(), finished())]
    assert kinds(run(client)) == ["WorkflowStarted", "Message", "MessageEnd", "WorkflowFinished"]


def test_leaving_early_closes_the_connection_at_once(server: ByteServer, patient: DifyClient) -> None:
    gone = threading.Event()

    def watching(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        connection.sendall(head + started())
        if connection.recv(1) == b"":
            gone.set()

    server.replies = [watching]
    with patient.chat(query="Hello", user="u") as run_events:
        next(run_events)
    assert gone.wait(10)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem("401 UNAUTHORIZED", "unauthorized", "Access token is invalid"), errors.BadKey),
        (problem("400 BAD REQUEST", "app_unavailable", "App unavailable"), errors.AppUnavailable),
        (problem("404 NOT FOUND", "not_found", "Conversation Not Exists."), errors.ConversationGone),
        (problem("400 BAD REQUEST", "invalid_param", "a is required in input form"), errors.InvalidInput),
        (plain("404 Not Found", b"<html>", "text/html"), errors.NotDify),
        (plain("500 Internal Server Error", b'{"code": "unknown", "message": "x"}'), errors.ServerError),
        (plain("502 Bad Gateway", b"<html>", "text/html"), errors.ServerError),
    ],
)
def test_a_refused_run_says_why(
    server: ByteServer, client: DifyClient, reply: Reply, kind: type[errors.DifyError]
) -> None:
    server.replies = [reply]
    with pytest.raises(kind):
        run(client)


def test_too_many_runs_say_how_long_to_wait(server: ByteServer, client: DifyClient) -> None:
    server.replies = [problem("429 TOO MANY REQUESTS", "too_many_requests", "Too many requests", retry_after="12")]
    with pytest.raises(errors.TooManyRequests) as caught:
        run(client)
    assert caught.value.retry_after == 12


def test_nobody_there_is_told_apart_from_nobody_answering(server: ByteServer, client: DifyClient) -> None:
    server.replies = [lambda connection: connection.shutdown(socket.SHUT_RDWR)]
    with pytest.raises(errors.NoAnswer):
        run(client)
    server.close()
    with pytest.raises(errors.Unreachable, match="base_url"):
        run(client)


def test_an_answer_that_does_not_come_in_time_is_no_answer(server: ByteServer) -> None:
    never = threading.Event()
    server.replies = [lambda _: stay_silent(never), lambda _: stay_silent(never)]
    hasty = DifyClient(server.base_url, KEY, timeouts=Timeouts(idle=0.3, answer=0.3))
    with pytest.raises(errors.NoAnswer, match="in time"):
        run(hasty)
    with pytest.raises(errors.NoAnswer, match="in time"):
        hasty.info()
    never.set()
    hasty.close()


def stay_silent(never: threading.Event) -> None:
    never.wait(60)


def test_the_key_is_shown_nowhere(server: ByteServer, client: DifyClient) -> None:
    server.replies = [problem("401 UNAUTHORIZED", "unauthorized", f"the key {KEY} is unknown")]
    with pytest.raises(errors.BadKey) as caught:
        run(client)
    assert KEY not in f"{caught.value!s}{caught.value!r}{client!r}"
    for unusable in ("", "app-1\nX: y", "app-ü", "app 1"):
        with pytest.raises(errors.BadKey) as caught:
            DifyClient(server.base_url, unusable)
        assert not unusable or unusable not in str(caught.value)


def test_a_proxy_of_the_environment_stays_out_of_the_machine(
    server: ByteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.replies = [event_stream(*NOW)]
    client = DifyClient(server.base_url, KEY)
    assert run(client)
    client.close()


def test_a_run_is_stopped_under_the_user_that_started_it(server: ByteServer, client: DifyClient) -> None:
    server.replies = [plain("200 OK", b'{"result": "success"}')]
    client.stop("task/1", "session-1")
    stop = server.requests[0]
    assert (stop.method, stop.target, stop.json()) == (
        "POST",
        "/v1/chat-messages/task%2F1/stop",
        {"user": "session-1"},
    )


def test_an_end_user_has_the_name_that_it_was_called_by(server: ByteServer, client: DifyClient) -> None:
    found = b'{"id": "0190-uuid", "type": "service-api", "is_anonymous": true, "session_id": "session-1"}'
    server.replies = [
        plain("200 OK", found),
        problem("404 NOT FOUND", "end_user_not_found", "End user not found."),
        plain("404 Not Found", b"<html>", "text/html"),
        problem("401 UNAUTHORIZED", "unauthorized", "Access token is invalid"),
    ]
    assert client.end_user("0190-uuid") == "session-1"
    assert client.end_user("0190-uuid") is None
    assert client.end_user("0190-uuid") is None
    with pytest.raises(errors.BadKey):
        client.end_user("0190-uuid")
    assert server.requests[0].target == "/v1/end-users/0190-uuid"


def test_an_app_says_what_it_is_and_what_it_takes(server: ByteServer, client: DifyClient) -> None:
    form = b"""{"opening_statement": "", "user_input_form": [
        {"paragraph": {"label": "Run", "variable": "clawback", "required": false, "default": ""}},
        {"select": {"label": "City", "variable": "city", "required": true, "options": ["a"]}}]}"""
    server.replies = [
        plain("200 OK", b'{"name": "Desk", "description": "d", "tags": [], "mode": "advanced-chat"}'),
        plain("200 OK", b'{"name": "Desk", "description": null, "tags": []}'),
        plain("200 OK", form),
        plain("200 OK", b"[]"),
        plain("200 OK", b"<html>", "text/html"),
    ]
    assert client.info().mode == "advanced-chat"
    assert client.info() == AppInfo(name="Desk", description="", mode="")
    assert server.requests[1].target == "/v1/info"
    assert client.parameters().inputs == (
        InputField(name="clawback", kind="paragraph", required=False),
        InputField(name="city", kind="select", required=True),
    )
    for _ in range(2):
        with pytest.raises(errors.NotDify):
            client.info()


def test_a_conversation_is_deleted_once(server: ByteServer, client: DifyClient) -> None:
    server.replies = [
        lambda connection: connection.sendall(b"HTTP/1.1 204 NO CONTENT\r\nContent-Type: application/json\r\n\r\n"),
        plain("200 OK", b'{"result": "success"}'),
        problem("404 NOT FOUND", "not_found", "Conversation Not Exists."),
    ]
    assert [client.delete_conversation("c-1", "session-1") for _ in range(3)] == [True, True, False]
    deletion = server.requests[0]
    assert (deletion.method, deletion.target, deletion.json()) == (
        "DELETE",
        "/v1/conversations/c-1",
        {"user": "session-1"},
    )


def test_a_lost_run_is_attached_to_again(server: ByteServer, client: DifyClient) -> None:
    server.replies = [
        event_stream(PING, sse("node_started", data={"node_id": "llm_1"}), piece("rest"), message_end(), finished()),
        event_stream(finished()),
        problem("404 NOT FOUND", "not_found", "Workflow run not found"),
        plain("404 Not Found", b"<html>", "text/html"),
    ]
    seen: list[list[str] | None] = []
    for _ in range(4):
        with client.run_events("run-1", "session-1") as run_events:
            seen.append(None if run_events is None else kinds(list(run_events)))
    assert seen == [["NodeStarted", "Message", "MessageEnd", "WorkflowFinished"], ["WorkflowFinished"], None, None]
    assert server.requests[0].target == "/v1/workflow/run-1/events?user=session-1"


def test_many_runs_at_once_are_not_mixed_up(server: ByteServer, client: DifyClient) -> None:
    together = threading.Barrier(40, timeout=30)

    def reply(connection: socket.socket) -> None:
        together.wait()
        event_stream(*NOW)(connection)

    server.replies = [reply] * 40
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(answer(run(client)))) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == ["Grüße"] * 40


def test_any_transport_of_httpx_can_stand_in() -> None:
    def handle(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=iter(NOW))

    client = DifyClient("http://dify.example/v1", KEY, transport=httpx.MockTransport(handle))
    assert answer(run(client)) == "Grüße"
    client.close()


def test_a_character_that_dify_passes_on_in_halves_comes_out_whole(server: ByteServer, client: DifyClient) -> None:
    answers = [piece(each) for each in ("Gr<1>", "<2><1>", "üße")]
    stream = b"".join([started(), *answers, message_end(), finished()])
    halves = stream.replace(b"<1>", rb"\ud83d").replace(b"<2>", rb"\ude00")
    server.replies.append(event_stream(halves))
    assert answer(run(client)) == "Gr\U0001f600\ufffdüße"


def test_the_list_of_authorities_is_read_once_for_all_apps() -> None:
    reads = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal reads
        reads += event == "call" and frame.f_code is ssl.create_default_context.__code__

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for app in ("app-one", "app-two", "app-three"):
            DifyClient("https://dify.example/v1", app).close()
    finally:
        sys.setprofile(before)
    assert reads <= 1
