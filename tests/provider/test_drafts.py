"""Calls are told while the model writes them, and what was told is kept or the run fails."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.bridge.draft_sender import together
from provider.engine.events import Completed, Delta, Heartbeat, OpenTicket, Say, TellDrafts, Woke
from tests.provider.play import CUT, Play, asks, attached, call_delta, says
from tools.wire import DraftDelta, DraftRequest, Usage


def told(play: Play) -> dict[str, str]:
    """What the bridge was told of each call, in all."""
    texts: dict[str, str] = {}
    for drafts in play.all(TellDrafts):
        for delta in drafts.request.calls:
            assert delta.offset == len(texts.get(delta.id, ""))
            texts[delta.id] = texts.get(delta.id, "") + delta.arguments
    return texts


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), min_size=1), st.integers(1, 9))
def test_a_call_is_told_as_it_comes_and_the_ticket_holds_it_under_the_same_id(
    arguments: dict[str, str], size: int
) -> None:
    text = json.dumps(arguments)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    play = Play().start(attached(), call_delta(0, "write", pieces[0], "x"))
    play.feed(*(call_delta(0, "", piece) for piece in pieces[1:]), Completed("tool_calls"))
    (call,) = play.calls
    assert told(play) == {call.id: text}
    assert len(play.all(TellDrafts)) >= sum(len(value) // size - 2 for value in arguments.values())


def test_a_call_of_no_tool_and_an_unsound_one_are_not_told() -> None:
    play = Play().start(attached(), *asks(("fly", "{}"), ("exec", "nonsense")))
    assert told(play) == {}


def test_a_call_is_told_only_when_the_one_before_it_is_whole() -> None:
    begun = (call_delta(0, "read", '{"path": "', "x"), call_delta(1, "exec", '{"command": "', "y"))
    play = Play().start(attached(), *begun)
    assert list(told(play).values()) == ['{"path": "']
    play.feed(call_delta(0, "", 'a"}'))
    assert list(told(play).values()) == ['{"path": "a"}', '{"command": "']


def test_nothing_is_told_where_there_is_no_run() -> None:
    assert not Play(callbacks=False).start(*asks(("read", "{}"))).all(TellDrafts)


def test_a_call_that_was_cut_off_goes_on_under_its_id_where_it_begins_alike() -> None:
    play = Play().start(attached(), call_delta(0, "read", '{"path": "a', "x"), CUT, Woke())
    play.feed(*asks(("read", '{"path": "all"}')))
    (call,) = play.calls
    assert told(play) == {call.id: '{"path": "a'}
    assert call.arguments == '{"path": "all"}'


def test_a_call_that_turned_out_unsound_goes_on_in_the_next_try() -> None:
    play = Play().start(attached(), *asks(("write", '{"content": "say "hi" x"}')))
    play.feed(*asks(("read", "{}"), ("write", '{"content": "say \\"hi\\""}')))
    assert [call.name for call in play.calls] == ["read", "write"]
    (begun,) = told(play)
    assert play.calls[1].id == begun


def test_a_call_that_never_comes_again_fails_the_run() -> None:
    for after in (asks(("exec", "{}")), asks(("read", '{"other": 1}')), says("Never mind.")):
        play = Play().start(attached(), call_delta(0, "read", '{"path": "a', "x"), CUT, Woke())
        play.feed(*after)
        assert "did not finish as it began" in str(play.failure())


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"path": "a.txt",}', {"path": "a.txt"}),
        ("{'path': 'a.txt'}", {"path": "a.txt"}),
        ('{"path": "a\n.txt"}', {"path": "a\n.txt"}),
        ('{"path":"a.txt"', {"path": "a.txt"}),
        ('{"path":"a.txt"}</tool_call>', {"path": "a.txt"}),
        (json.dumps('{"path": "a.txt"}'), {"path": "a.txt"}),
        ('{"path":"\\u0041",  "tags": ["x",]}', {"path": "A", "tags": ["x"]}),
    ],
)
def test_arguments_are_mended_alike_whether_somebody_watches_or_not(
    written: str, meant: dict[str, object], size: int
) -> None:
    pieces = [written[start : start + size] for start in range(0, len(written), size)]
    for watched in (False, True):
        play = Play().start(attached(watched=watched), call_delta(0, "read", pieces[0], "x"))
        play.feed(*(call_delta(0, "", piece) for piece in pieces[1:]), Completed("tool_calls"))
        (call,) = play.calls
        assert json.loads(call.arguments) == meant
        assert all(call.arguments.startswith(text) for text in told(play).values())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("watched", [False, True])
def test_what_is_no_number_reaches_nobody(number: str, watched: bool) -> None:
    play = Play().start(attached(watched=watched), *asks(("read", f'{{"path": {number}}}')))
    assert not told(play)
    assert "is not JSON" in play.body["messages"][-1]["content"]


@pytest.mark.parametrize("written", ['{"n": 12', '{"path": "a', '{"path": "a.txt", "b"', '{"a": 1} {"a": 2}'])
def test_what_has_no_one_meaning_is_not_mended(written: str) -> None:
    assert not Play().start(attached(watched=False), *asks(("read", written))).all(OpenTicket)


def test_requests_that_wait_travel_together() -> None:
    def drafts(round_: int, *deltas: tuple[str, int, str]) -> TellDrafts:
        calls = [DraftDelta(id=one, name="write", offset=offset, arguments=text) for one, offset, text in deltas]
        return TellDrafts("inv", DraftRequest(run_id="r", round=round_, calls=calls))

    sent = together([drafts(0, ("z", 0, "{")), drafts(1, ("a", 0, "{"), ("b", 4, "x")), drafts(1, ("a", 1, '"k"'))])
    assert sent.request.round == 1
    assert [(call.id, call.offset, call.arguments) for call in sent.request.calls] == [("a", 0, '{"k"'), ("b", 4, "x")]


def test_a_thought_is_over_before_the_bridge_is_told_that_the_text_before_a_call_has_gone_out() -> None:
    """What came behind that would begin the next response: a closing tag, and the thought behind it as text."""
    play = Play().start(attached(), Delta(reasoning="Hm."), call_delta(0, "read", '{"path": "a"}', "x"))
    told = [act.text if isinstance(act, Say) else "" for act in play.acts if isinstance(act, Say | Heartbeat)]
    assert "".join(told[: told.index("")]) == "<think>\nHm.\n</think>\n\n"
    play.feed(Completed("tool_calls", Usage()))
    assert play.said == play.last(OpenTicket).request.shown == "<think>\nHm.\n</think>\n\n"
