"""A ticket's calls go to a client of text in the form that OpenClaw executes, and nothing else does."""

from bridge.api.openai.chat_response import as_text
from bridge.runs.answers.view import AnswerView
from bridge.runs.live import LiveRun
from bridge.runs.segments import Begun, Calls, Draft, End, Event, Text
from tools.calls import ToolCall
from tools.openclaw_text.guard import WORD_JOINER, TextGuard
from tools.wire import Usage

CALLS = Calls((ToolCall(id="call1", name="exec", arguments='{"command": "id"}'), ToolCall(id="call2", name="read")))
WRITTEN = '[exec]\n{"command": "id"}\n[END_TOOL_REQUEST]\n[read]\n{}\n[END_TOOL_REQUEST]'


def told(*events: Event | None) -> list[Event | None]:
    return list(as_text(event for event in events))


def test_calls_are_the_whole_answer_and_are_not_guarded() -> None:
    end = End("tool_calls", Usage())
    assert told(Begun(), Text("I look."), CALLS, end) == [Begun(), Text(WRITTEN), End("stop", Usage())]
    guard = TextGuard()
    assert WORD_JOINER in guard.feed(WRITTEN) + guard.close()


def test_the_same_text_from_a_chatflow_is_guarded() -> None:
    run = LiveRun("r", [], lambda *_: None, AnswerView, lambda _: Usage())
    run.begin(1)
    run.text(WRITTEN)
    run.finish()
    shown = "".join(event.text for event in told(*run.current.read(0, 0)) if isinstance(event, Text))
    assert shown.replace(WORD_JOINER, "") == WRITTEN
    assert shown.count(WORD_JOINER) == 2


def test_an_answer_stays_an_answer() -> None:
    answer = [Text("It "), Text("is A."), End("length", Usage())]
    assert told(*answer) == answer


def test_half_a_call_is_not_told_and_keepalives_are() -> None:
    assert told(Draft("call1", "exec", '{"comm'), None, CALLS, End("tool_calls", Usage())) == [
        None,
        Text(WRITTEN),
        End("stop", Usage()),
    ]
