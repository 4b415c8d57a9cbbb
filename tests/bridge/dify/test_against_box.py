"""The client against Dify in a box, with a real plugin process behind it."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from bridge.dify import DifyClient, InputField, errors, events
from bridge.dify.events import Event
from tests.demo.box import exports
from tests.demo.box.running import EXAMPLES, RunningBox, started
from tests.levels import starts


@pytest.fixture(scope="module")
@starts("parts")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    folder = tmp_path_factory.mktemp("box")
    apps = {
        "key-minimal": EXAMPLES / "minimal.yml",
        "key-inputs": exports.write(folder / "inputs.yml", exports.with_inputs),
        "key-unknown": exports.write(folder / "unknown.yml", exports.without_credentials),
        "key-workflow": exports.write(folder / "workflow.yml", exports.as_workflow),
    }
    times = ("--ping-seconds", "0.2", "--workflow-seconds", "3")
    with started(folder, *times, apps=apps) as running:
        yield running


@pytest.fixture(scope="module")
@starts("parts")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    ways = (
        "--legacy-order",
        "--no-end-users",
        "--hold-request-slot",
        "--max-active-requests",
        "1",
        "--plugin-seconds",
        "3",
    )
    with started(tmp_path_factory.mktemp("older"), *ways) as running:
        yield running


def client_of(box: RunningBox, key: str | None = None) -> closing[DifyClient]:
    return closing(DifyClient(box.ready["dify_url"], key or box.key()))


def ask(client: DifyClient, query: str, conversation_id: str | None = None) -> list[Event]:
    with client.chat(query=query, user="session-1", conversation_id=conversation_id) as run:
        return [event for event in run if not isinstance(event, events.Ping)]


def answer(seen: list[Event]) -> str:
    return "".join(event.answer for event in seen if isinstance(event, events.Message))


def end(seen: list[Event]) -> events.WorkflowFinished:
    return next(event for event in seen if isinstance(event, events.WorkflowFinished))


def told(seen: list[Event]) -> dict[str, str]:
    text = answer(seen)
    found: dict[str, str] = json.loads(text[text.index("{") :])
    return found


def test_a_run_is_read_from_its_start_to_its_end(box: RunningBox) -> None:
    with client_of(box) as client:
        seen = ask(client, "!say Grüße \n!say 世界")
    assert answer(seen) == "Grüße 世界"
    assert isinstance(seen[0], events.WorkflowStarted)
    assert seen[0].task_id
    assert seen[0].conversation_id
    assert {event.node_id for event in seen if isinstance(event, events.Message)} == {"1770000000002"}
    assert [event.node_type for event in seen if isinstance(event, events.NodeFinished)] == ["start", "llm", "answer"]
    usage = next(event.usage for event in seen if isinstance(event, events.MessageEnd))
    assert usage is not None
    assert usage.total_tokens == end(seen).total_tokens > 0
    assert end(seen).succeeded


def test_an_older_difys_run_ends_the_other_way_round(older: RunningBox) -> None:
    with client_of(older) as client:
        seen = ask(client, "hello")
        assert [type(event) for event in seen[-2:]] == [events.WorkflowFinished, events.MessageEnd]
        seen = ask(client, "!raise InvokeBadRequestError broken")
        assert end(seen).status == "failed"
        assert not any(isinstance(event, events.ErrorEvent) for event in seen)


def test_a_conversation_goes_on_until_it_is_deleted(box: RunningBox) -> None:
    with client_of(box) as client:
        first = ask(client, "one")[0].conversation_id
        assert ask(client, "two", conversation_id=first)[0].conversation_id == first
        assert client.delete_conversation(first, "somebody else") is False
        assert client.delete_conversation(first, "session-1") is True
        assert client.delete_conversation(first, "session-1") is False
        with pytest.raises(errors.ConversationGone):
            ask(client, "three", conversation_id=first)


def test_the_plugins_user_is_found_by_its_uuid(box: RunningBox, older: RunningBox) -> None:
    with client_of(box) as client:
        assert client.end_user(told(ask(client, "!tell"))["user"]) == "session-1"
        assert client.end_user(str(uuid.uuid4())) is None
        assert client.end_user("no uuid") is None
    with client_of(older) as client:
        assert client.end_user(told(ask(client, "!tell"))["user"]) is None


def test_a_run_is_stopped(box: RunningBox) -> None:
    seen: list[Event] = []
    with client_of(box) as client, client.chat(query="!beat 0.2 100", user="session-1") as run:
        for event in run:
            seen.append(event)
            if isinstance(event, events.WorkflowStarted):
                assert client.is_running(event.workflow_run_id)
                client.stop(event.task_id, "session-1")
        assert end(seen).status == "stopped"
        (begun,) = (event for event in seen if isinstance(event, events.WorkflowStarted))
        assert not client.is_running(begun.workflow_run_id)
        assert not client.is_running(str(uuid.uuid4())), "Dify does not know it"


def heard_again(client: DifyClient, run_id: str) -> list[Event]:
    """The events from now on; a stream breaks when Dify notices that the first connection is gone."""
    for _ in range(2):
        with suppress(errors.StreamBroke), client.run_events(run_id, "session-1") as again:
            return list(again or ())
    raise AssertionError("the run's events broke off twice")


def test_a_run_whose_connection_was_lost_is_attached_to_again(box: RunningBox) -> None:
    with client_of(box) as client:
        with client.chat(query="!say one\n!sleep 1\n!say two", user="session-1") as run:
            begun = next(event for event in run if isinstance(event, events.WorkflowStarted))
        assert end(heard_again(client, begun.workflow_run_id)).outputs["answer"] == "onetwo"
        with client.run_events(begun.workflow_run_id, "session-1") as again:
            assert again is not None
            assert [type(event) for event in again] == [events.WorkflowFinished]
        with client.run_events(begun.workflow_run_id, "somebody else") as again:
            assert again is None
        with client.run_events(str(uuid.uuid4()), "session-1") as again:
            assert again is None


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("!raise InvokeRateLimitError HTTP 429: slow down", errors.RateLimited),
        ("!raise InvokeBadRequestError the upstream refused the request: HTTP 400", errors.RequestRefused),
        ("!raise InvokeBadRequestError This model's maximum context length is 8192 tokens", errors.ContextTooLong),
        ("!raise InvokeAuthorizationError wrong key", errors.CredentialsRefused),
        ("!raise InvokeConnectionError connection refused", errors.UpstreamUnavailable),
        ("!raise InvokeError something else", errors.RunFailed),
        ("!raise InvokeError HTTP 429", errors.RateLimited),
    ],
)
def test_a_failed_runs_error_is_understood(box: RunningBox, query: str, kind: type[errors.RunFailed]) -> None:
    with client_of(box) as client:
        finished = end(ask(client, query))
    assert finished.status == "failed"
    error = errors.run_failed(finished.error)
    assert type(error) is kind, finished.error
    assert "Traceback" not in str(error)


def test_a_model_call_that_lasts_too_long_is_told_from_a_run_that_does(box: RunningBox, older: RunningBox) -> None:
    with client_of(older) as client:
        call = end(ask(client, "!beat 0.1 100"))
    assert call.status == "failed"
    assert type(errors.run_failed(call.error)) is errors.KilledByTimeout
    with client_of(box) as client:
        whole = end(ask(client, "!sleep 4"))
    assert whole.status == "stopped"
    assert type(errors.run_failed(whole.error)) is errors.RanTooLong


def test_an_app_that_cannot_run_says_why(box: RunningBox) -> None:
    with client_of(box, "key-unknown") as client:
        [error] = ask(client, "hello")
        assert isinstance(error, events.ErrorEvent)
        assert type(errors.failed(error.status, error.code, error.message)) is errors.ModelMissing
    with client_of(box, "key-workflow") as client, pytest.raises(errors.AppUnavailable):
        ask(client, "hello")
    with client_of(box, "key-inputs") as client:
        begun, finished = ask(client, "hello")
        assert begun.conversation_id == ""
        assert isinstance(finished, events.WorkflowFinished)
        refused = errors.run_failed(finished.error)
        assert type(refused) is errors.InputRefused
        assert "city" in str(refused)
    with client_of(box, "app-of-nobody") as client, pytest.raises(errors.BadKey):
        ask(client, "hello")


def test_an_app_says_what_it_is_and_what_it_takes(box: RunningBox) -> None:
    with client_of(box, "key-inputs") as client:
        assert client.info().name == "inputs"
        assert client.info().mode == "advanced-chat"
        assert client.parameters().inputs == (
            InputField(name="city", kind="text-input", required=True),
            InputField(name="size", kind="select", required=False),
        )


def test_a_dify_without_room_says_so(older: RunningBox) -> None:
    with client_of(older) as client, client.chat(query="!say one\n!sleep 2", user="session-1") as run:
        next(event for event in run if isinstance(event, events.WorkflowStarted))
        with pytest.raises(errors.TooManyRequests):
            ask(client, "two")
        assert end(list(run)).succeeded


@pytest.mark.parts
def test_nobody_is_locked_out_of_a_dify_that_takes_one_connection_at_a_time(tmp_path: Path) -> None:
    with started(tmp_path, "--connections", "1") as small, client_of(small) as client:
        assert answer(ask(client, "hello")) == "hello"
        assert small.request("GET", "info").status_code == 200


def test_a_wrong_address_is_not_dify(box: RunningBox) -> None:
    client = DifyClient(box.ready["dify_url"].removesuffix("/v1"), box.key())
    with closing(client), pytest.raises(errors.NotDify, match="/v1"):
        client.info()
