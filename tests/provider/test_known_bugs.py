"""What people report of OpenAI-compatible providers for Dify, each as a test named after the symptom.

Sources: issues of langgenius/dify and langgenius/dify-official-plugins, by number, and the source of the official
plugin's version 0.0.63.
"""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from provider.credentials import Credentials
from provider.engine.engine import UPSTREAM_ATTEMPTS
from provider.engine.events import CallUpstream, Completed, Delta, Finish, Pause, Say, UpstreamFailed
from provider.engine.response import estimate_prompt, estimate_text
from provider.errors import RateLimited, Refused, Unauthorized, Unavailable
from provider.upstream.client import Upstream
from provider.upstream.completion import CompletionReader
from provider.upstream.failures import from_response
from tests.provider.byte_server import answering, response
from tests.provider.conftest import Dify
from tests.provider.play import CUT, Play, call_delta, says, tool
from tools.think_tags import TAGS

LOOKUP = tool("lookup")


def sse(*chunks: dict[str, Any] | str, end: str = "\n\n") -> bytes:
    lines = (f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}{end}" for chunk in chunks)
    return "".join(lines).encode()


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def entry(index: int | None, arguments: str, call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    given = {"index": index, "id": call_id, "function": function}
    return {key: value for key, value in given.items() if value is not None}


def through(*pieces: bytes, **form: str) -> list[Any]:
    with answering(pieces) as url:
        return list(Upstream(Credentials.read({"upstream_base_url": url} | form)).complete({"model": "m"}, 10))


def called(*entries: dict[str, Any], **message: Any) -> list[tuple[str, str]]:
    """The calls that Dify gets of a response with these entries of tool_calls, each in a chunk of its own."""
    chunks = [delta(**message, tool_calls=[each]) for each in entries]
    play = Play(callbacks=False, tools=[LOOKUP])
    play.start(*through(response(sse(*chunks, delta("tool_calls"), "[DONE]"))))
    return [(call.name, call.arguments) for call in play.last(Finish).calls]


CALL = entry(0, '{"q": 1}', "a", "lookup")


@pytest.mark.parts
@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": ""}, {"role": "assistant"}])
def test_tool_calls_fail_with_a_key_error_when_content_is_absent(message: dict[str, Any]) -> None:
    """dify-official-plugins 2911."""
    assert called(CALL, **message) == [("lookup", '{"q": 1}')]


@pytest.mark.parts
@pytest.mark.parametrize("body", [{"choices": None}, {"choices": []}, {"object": "list"}, {"error": {"message": "no"}}])
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_key_error_choices(body: dict[str, Any], kind: str) -> None:
    """dify-official-plugins 882, dify 19414: an answer without choices says what is wrong, or nothing at all."""
    raw = json.dumps(body).encode()
    events = through(response(sse(body, delta("stop", content="x")) if kind.startswith("text") else raw, kind))
    assert isinstance(events[-1], Completed | UpstreamFailed)
    assert "KeyError" not in str(events)


@pytest.mark.parts
def test_stream_function_calling_makes_tool_calls_fail() -> None:
    """dify 19677 and 9775: arguments in pieces, the name only in the first."""
    pieces = [entry(0, "", "a", "lookup"), *(entry(0, char) for char in '{"q": "ä"}')]
    assert called(*pieces) == [("lookup", '{"q": "ä"}')]


def test_the_model_answers_with_tools_and_dify_does_not_go_on(dify: Dify) -> None:
    """dify 27987 and 21978: the last chunk has the calls and the finish reason by which an Agent node goes on."""
    own = {"name": "lookup", "description": "", "parameters": {"type": "object", "properties": {}}}
    told = dify.invoke('!call lookup {"q": "x"}', tools=[own])
    assert told.last["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in told.last["message"]["tool_calls"]] == ["lookup"]


@pytest.mark.parametrize("support", ["auto", "on", "not_streamed", "in_text", "off"])
def test_tools_are_silently_not_sent(dify: Dify, log: Any, support: str) -> None:
    """dify 10967: whatever the form says, a model that is given tools hears of them."""
    dify.credentials |= {"tool_support": support}
    own = {"name": "lookup", "description": "", "parameters": {"type": "object", "properties": {}}}
    dify.invoke("!say x", tools=[own])
    assert "lookup" in json.dumps(log()[-1]["request"])


def test_function_call_chosen_instead_of_tool_call_and_nothing_works(dify: Dify) -> None:
    """MiroThinker 93: there is no such choice; the schema promises what Agent nodes look for."""
    [answer] = dify.ask("get_ai_model_schemas", model="main")
    assert {"multi-tool-call", "stream-tool-call"} <= set(answer["model_schema"]["features"])


def test_custom_headers_are_wanted(dify: Dify, log: Any) -> None:
    """dify-official-plugins 3012 and 3865: in the form, kept secret, and per node, where they may hold variables."""
    dify.credentials["extra_headers"] = "X-Team: blue; X-Both: form"
    dify.invoke("!say x", model_parameters={"extra_headers": "X-Conversation: 42\nX-Both: node"})
    sent = log()[-1]["headers"]
    assert (sent["x-team"], sent["x-conversation"], sent["x-both"]) == ("blue", "42", "node")


def test_killed_by_timeout() -> None:
    """dify 16120: the end comes from the plugin, before the daemon's, and says which settings to raise."""
    play = Play(callbacks=False).start(Delta(text="On and on"))
    play.feed(Delta(text=" and on"), after=598)
    assert "PLUGIN_MAX_EXECUTION_TIMEOUT" in str(play.failure())


@pytest.mark.parts
def test_dify_says_done_while_the_upstream_still_streams() -> None:
    """dify 14784: a finish reason is not the end of the stream; what comes after it is heard, usage above all."""
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 8}}
    events = through(response(sse(delta("stop", content="a"), delta(content="b"), usage, "[DONE]")))
    assert [event.text for event in events[:-1]] == ["a", "b"]
    assert events[-1].usage.prompt_tokens == 7


@pytest.mark.parametrize(("streaming", "asked"), [("off", [False]), ("auto", [True, None])])
def test_no_way_to_stop_streaming_for_a_server_that_refuses_it(
    dify: Dify, log: Any, streaming: str, asked: list[bool | None]
) -> None:
    """dify 8615: by the form, and without it once the server has refused."""
    dify.credentials |= {"upstream_model": "scripted-like-without-streams", "streaming": streaming}
    assert dify.invoke("!say Hello").text == "Hello"
    assert [entry["request"].get("stream") for entry in log()] == asked


def test_the_provider_is_told_nothing_of_the_app(dify: Dify, log: Any) -> None:
    """dify 8764: the user by default, anything else by headers and fields with variables."""
    dify.invoke("!say x", model_parameters={"extra_body": '{"metadata": {"app": "a1"}}'})
    assert log()[-1]["request"]["metadata"] == {"app": "a1"}
    assert log()[-1]["request"]["user"] == "user1"


# Seen in the official plugin's source


def test_tool_choice_is_always_auto(dify: Dify, log: Any) -> None:
    own = {"name": "lookup", "description": "", "parameters": {"type": "object", "properties": {}}}
    told = dify.invoke("hello", tools=[own], model_parameters={"tool_choice": "lookup"})
    assert log()[-1]["request"]["tool_choice"] == {"type": "function", "function": {"name": "lookup"}}
    assert [call["name"] for call in told.calls] == ["lookup"]


@pytest.mark.parts
def test_interleaved_parallel_calls_are_mixed_up() -> None:
    pieces = [
        entry(0, "", "a", "lookup"),
        entry(1, "", "b", "lookup"),
        entry(0, '{"q":'),
        entry(1, '{"q":'),
        entry(1, "2}"),
        entry(0, "1}"),
    ]
    assert called(*pieces) == [("lookup", '{"q":1}'), ("lookup", '{"q":2}')]


def test_tool_calls_come_only_at_the_end_and_text_waits_for_them() -> None:
    """Dify takes calls whole, so they come once, at the end; the text before them does not wait."""
    play = Play(callbacks=False, tools=[LOOKUP]).start(Delta(text="I look."))
    assert play.said == "I look."
    play.feed(call_delta(0, "lookup", "{}", "a"), Completed("tool_calls"))
    assert [type(action) for action in play.acts if isinstance(action, Say | Finish)] == [Say, Finish]


@pytest.mark.parts
@pytest.mark.parametrize("noise", [": ping", "data: OPENROUTER PROCESSING", "event: x", "nonsense", "data: {broken"])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
def test_a_line_that_is_not_json_ends_the_answer(noise: str, end: str) -> None:
    first, last = sse(delta(content="a"), end=end), sse(delta("stop", content="b"), "[DONE]", end=end)
    events = through(response(first + noise.encode() + end.encode() + last))
    assert [event.text for event in events[:-1]] == ["a", "b"]
    assert isinstance(events[-1], Completed)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Unauthorized),
        (403, Unauthorized),
        (429, RateLimited),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_every_error_is_one_generic_error(status: int, error: type[Exception]) -> None:
    assert type(from_response(status, b'{"error":{"message":"no"}}', {}).error) is error


def test_there_is_no_retry() -> None:
    play = Play(callbacks=False).start(CUT)
    assert play.last(Pause)
    assert UPSTREAM_ATTEMPTS > 1


@pytest.mark.parametrize(("retries", "asked"), [("0", 1), ("2", 3)])
def test_how_often_it_is_tried_again_cannot_be_chosen(dify: Dify, log: Any, retries: str, asked: int) -> None:
    dify.credentials["retries"] = retries
    told = dify.invoke("!error 503 times 9 after 0\n!say x")
    assert told.error
    assert len(log()) == asked


@pytest.mark.parts
@pytest.mark.parametrize(
    ("begun", "patience"),
    [(b"", {"first_token_seconds": "0.3"}), (sse(delta(content="a")), {"idle_seconds": "0.3"})],
)
def test_one_timeout_for_everything(begun: bytes, patience: dict[str, str]) -> None:
    """How long the first word may take is one limit, how long a silence another; each ends its own kind of wait."""
    heard = threading.Event()

    def silent() -> Iterator[bytes]:
        yield response(begun)
        heard.wait(60)

    with answering(silent()) as url:
        form = Credentials.read({"upstream_base_url": url, "connect_seconds": "2"} | patience)
        events = list(Upstream(form).complete({"model": "m"}, 50))
        heard.set()
    assert next(iter(patience)) in str(events[-1])
    assert events[-1].transient


def test_tokens_are_counted_with_gpt_2_and_only_in_the_first_message() -> None:
    short, long = ({"role": "user", "content": "word " * count} for count in (10, 1000))
    assert estimate_prompt([short, long]) > estimate_prompt([short]) + 1000
    assert estimate_text("你好世界") == 4
    play = Play(callbacks=False, messages=[short, long]).start(Delta(text="x"), Completed("stop", None))
    assert play.last(Finish).usage.prompt_tokens > 1000


@pytest.mark.parametrize(("opening", "closing"), TAGS.items())
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_a_think_tag_split_over_chunks_passes_through(opening: str, closing: str, size: int) -> None:
    answer = f"{opening}\nHm, <b>\n\nor {closing[:-1]}?\n{closing}\n\nThe answer is {opening}."
    reader = CompletionReader()
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    events = [event for piece in pieces for event in reader.feed(json.dumps(delta(content=piece)))]
    deltas = [event for event in [*events, *reader.rest()] if isinstance(event, Delta)]
    assert "".join(event.reasoning for event in deltas) == f"Hm, <b>\n\nor {closing[:-1]}?"
    assert "".join(event.text for event in deltas) == f"The answer is {opening}."


def test_the_default_of_stream_function_calling_is_two_things() -> None:
    """Every field that is left out means what the untouched form shows: `test_forms` compares them all."""
    assert Credentials.read({"tool_support": ""}) == Credentials.read({}) == Credentials.read({"tool_support": "auto"})


def test_a_plain_answer_still_works() -> None:
    """What all of the above must not have broken."""
    play = Play(callbacks=False).start(*says("Hello."))
    assert (play.said, play.last(Finish).finish_reason) == ("Hello.", "stop")
    assert len(play.all(CallUpstream)) == 1
