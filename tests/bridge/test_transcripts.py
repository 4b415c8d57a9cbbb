"""What is made of a transcript is the same whatever was here before it, and nothing is kept that cannot come again."""

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.api.openai.call_ids import gathered
from bridge.api.openai.legacy import speak_of_functions
from bridge.runs import transcripts
from bridge.runs.answers.view import prompt_tokens
from bridge.runs.requests import RunRequest
from bridge.runs.sessions.sessions import (
    Session,
    digest,
    exchange_after,
    frame_of,
    past_of,
    request_key,
    split_turn,
    spoken,
    turn_key,
)
from bridge.runs.sessions.turn import answers_of, result_ids
from bridge.runs.tickets.omitting import said_with, unknown
from bridge.runs.transcripts import Said, Transcript, again, grown, piece, transcript_of
from bridge.store.exchanges import piece_of
from bridge.store.rows import CallRow, TicketRow
from tools.results import Message

ROUND = {"c1", "c2"}
SHARED, ALONE = Session("s", "user"), Session("s", "openclaw", alone=True)


def call(*ids: str, arguments: str = "{}") -> Message:
    calls = [{"id": i, "type": "function", "function": {"name": "t", "arguments": arguments}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


SAID: list[Message] = [
    {"role": "system", "content": "You help."},
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "one"},
    {"role": "user", "content": "two " * 40},
    {"role": "user", "content": [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {}}]},
    {"role": "user", "content": "<system-reminder>x</system-reminder>"},
    {"role": "assistant", "content": "three"},
    {"role": "assistant", "content": "<think>hm</think>four é"},
    {"role": "assistant", "content": "I have processed the tool results."},
    call("c1"),
    call("c1", "c2", "c3", arguments=""),
    {"role": "tool", "tool_call_id": "c1", "content": "done"},
    {"role": "tool", "tool_call_id": "c2", "content": ""},
    {"role": "tool", "tool_call_id": "c3", "content": "not ours"},
    {"role": "function", "name": "t", "content": "of before"},
]


def asked(messages: Sequence[Message]) -> RunRequest:
    return RunRequest(messages=list(messages), turn=None, query="q")


CALLS = [CallRow(call_id, "t", "t", "{}", None, None) for call_id in sorted(ROUND)]
TICKET = TicketRow("t", "r", "i", 0, "open", "I look.", "", 0, None, None, 0.0, 0.0, CALLS)


def past(messages: Sequence[Message], of: Callable[[Sequence[Message]], Any]) -> Any:
    found = of(messages)
    return found.whole, found.latest, found.exchanges, found.length, found.calls


MADE: dict[str, Callable[[Sequence[Message]], Any]] = {
    "who said what": spoken,
    "the turn": split_turn,
    "the turn's key": lambda said: turn_key(SHARED, "m", said),
    "the turn's key where a name counts alone": lambda said: turn_key(ALONE, "m", said[:-1]),
    "the request's key": lambda said: request_key(SHARED, "m", asked(said)),
    "the past": lambda said: past(said, past_of),
    "what a transcript will say": lambda said: past([*said, {"role": "assistant", "content": "end"}], exchange_after),
    "what stands around it": lambda said: frame_of({}, said),
    "the results": result_ids,
    "the answers": lambda said: answers_of(said, ROUND),
    "a round put together": lambda said: gathered(said, TICKET),
    "functions": speak_of_functions,
    "its tokens": prompt_tokens,
    "its pieces": lambda said: asked(said).pieces(),
    "what the plugin has": lambda said: said_with(said, piece_of("x" * 9000)),
}

KINDS = st.sampled_from(["add", "add", "cut", "edit", "fork", "drop"])
CHANGE = st.tuples(KINDS, st.integers(0, 99), st.integers(0, 99))


@given(st.lists(CHANGE, max_size=12))
def test_what_is_made_of_a_transcript_is_the_same_whatever_was_here_before(changes: list[tuple[str, int, int]]) -> None:
    plain: list[list[Message]] = [[]]
    for change, which, where in changes:
        before = plain[where % len(plain)] if change == "fork" else plain[-1]
        place = where % (len(before) + 1)
        new = SAID[which % len(SAID)]
        match change:
            case "cut":
                now = before[:place]
            case "edit":
                now = [*before[:place], new, *before[place + 1 :]]
            case "drop":
                now = before[1:]
            case _:
                now = [*before, new]
        plain.append(now)
    for messages in plain:
        said = [again(dict(message)) for message in messages]
        for name, made in MADE.items():
            assert made(transcript_of(said)) == made(messages), name
        assert said == messages, "nobody changes it"
        has = said_with(messages, piece_of("x" * 9000))
        assert has is not None
        assert unknown(transcript_of(said), has) == unknown(messages, has) == ([], list(range(len(has.messages))))


def test_digests_are_those_of_the_whole_since_stores_keep_them() -> None:
    spoken_on = [{"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")]
    said = [again(dict(message)) for message in [*SAID, *spoken_on]]
    for end in range(1, len(said) + 1):
        messages = said[:end]
        rest = asked(messages).model_dump(mode="json", exclude_none=True, exclude={"messages"})
        pieces = [piece(message)[0] for message in messages]
        assert request_key(SHARED, "m", asked(messages)) == digest([SHARED.scope, "m", {"messages": pieces, **rest}])
        turns = [[turn.role, "".join(turn.texts)] for turn in spoken(messages)]
        assert exchange_after(messages).whole == (digest(["conversation", turns]) if turns else "")
        before = turns[: -2 if turns[-1:] and turns[-1][0] == "assistant" else -1]
        assert past_of(messages).whole == (digest(["conversation", before]) if before else "")


def test_only_what_is_new_of_a_transcript_is_looked_at() -> None:
    looked: list[int] = []

    @grown(0)
    def counted(before: int, messages: Sequence[Message], count: int) -> int:
        looked.append(len(messages) - count)
        return before + len(messages) - count

    said = [again({"role": "user", "content": f"{n}"}) for n in range(40)]
    for end in range(10, 40):
        assert counted(said[:end]) == counted(list(said[:end])) == end
    assert sum(looked) == 39
    assert counted([*said[:20], said[3]]) == 21, "a fork"
    assert sum(looked) <= 39 + 21


@pytest.fixture
def uncollected() -> Iterator[None]:
    """What is not needed any more has to go without being looked for: long bodies come faster than that is done."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_of_a_conversation_few_transcripts_are_kept() -> None:
    made: list[ref[Transcript]] = []
    said = [again({"role": "user", "content": f"of {n}"}) for n in range(200)]
    for end in range(1, 200):
        made.append(ref(transcript_of(said[:end])))
        result_ids(said[:end])
    assert sum(transcript() is not None for transcript in made) <= 5


@pytest.mark.usefixtures("uncollected")
def test_so_many_characters_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "_REMEMBERED", 100_000)
    said: list[ref[Said]] = []
    for number in range(100):
        messages = [again({"role": "user", "content": f"{number} {n} {'x' * 1000}"}) for n in range(10)]
        said += map(ref, messages)
        for end in range(10, 0, -1):
            spoken(messages[:end])
    del messages
    assert sum(message() is not None for message in said) < 200
    once_only = Said({"role": "user", "content": "hi"})
    said = [ref(once_only)]
    result_ids([once_only])
    del once_only
    assert said[0]() is None, "of a short request nothing is kept"


def test_many_conversations_that_begin_alike_keep_little_of_it() -> None:
    begun = [again({"role": role, "content": f"{role} {'x' * 9000}"}) for role in ("system", "user")]
    keys = {turn_key(Session(f"{n}", "user"), "m", begun) for n in range(500)}
    assert len(keys) == 500
    assert len(transcript_of(begun).made) <= 32
    assert len(str(list(transcript_of(begun).made))) < 9000, "the words themselves are no names of anything"


@pytest.mark.parametrize("other", [{"role": "user", "n": True}, {"n": 1, "role": "user"}, {"role": "user", "n": 1.0}])
def test_a_message_is_another_ones_only_where_its_json_is(other: Message) -> None:
    one = again({"role": "user", "n": 1})
    assert again({"role": "user", "n": 1}) is one
    assert again(other) is not one
    assert json.dumps(again(other)) == json.dumps(other)
