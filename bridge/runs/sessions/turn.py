"""What a transcript asks for: a new turn, or that a turn goes on with the results of its calls."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from bridge.runs.sessions.claude_code import is_reminder
from bridge.runs.sessions.openclaw import (
    clean_user_text,
    is_continue_instruction,
    is_filler,
    is_internal_context,
    last_user_index,
)
from bridge.runs.transcripts import grown, once
from tools.results import Message, text_of


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn that a transcript ends in: `messages[index]` is the user's message, `query` its cleaned text.

    `index` is None where nobody said anything.
    """

    index: int | None
    query: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What a transcript says of one round of calls, wherever that stands in it: clients write it in many ways.

    `results` are tool_call_id and content, in their order, and `said` what the user said since the calls, or Claude
    Code in the user's name. `words` is how many of these messages are the user's own. `new_words` says that one of
    them stands behind the last call, `answered` that the model has spoken since, and `passed` that the user has spoken
    again after that.
    """

    results: list[tuple[str, object]]
    said: list[Message]
    words: int = 0
    new_words: bool = False
    answered: bool = False
    passed: bool = False


def split_turn(messages: Sequence[Message]) -> Turn:
    """Find the turn that the transcript ends in.

    The last message is of no help: OpenClaw puts one that nobody wrote behind the user's words and behind results.
    """
    index = last_user_index(messages)
    return Turn(index, "" if index is None else clean_user_text(text_of(messages[index].get("content"))))


def answers_of(messages: Sequence[Message], round_: Set[str]) -> Answers:
    """Return what the transcript says of a round. A call that was cut away stands where its result does."""
    numbered = list(enumerate(messages[(first := first_of(messages, round_)) :], first))
    calls = [position for position, message in numbered if _asks_for(message, round_)]
    results = [position for position, message in numbered if _answers(message, round_)]
    if not results:
        return Answers([], [])
    begin, asked, end = min(calls or results), max(calls or results), max(calls + results)
    spoken = [position for position in range(end + 1, len(messages)) if _is_spoken(messages[position])]
    said = [position for position in range(begin + 1, len(messages)) if _is_said(messages[position])]
    words = [position for position in said if is_worded(messages[position])]
    return Answers(
        results=[(str(messages[position]["tool_call_id"]), messages[position].get("content")) for position in results],
        said=[dict(messages[position]) for position in said],
        words=len(words),
        new_words=any(position > asked for position in words),
        answered=bool(spoken),
        passed=bool(spoken) and any(position > spoken[0] for position in words),
    )


@grown(list[str]())
def result_ids(before: list[str], messages: Sequence[Message], count: int) -> list[str]:
    """Return the ids of the calls that the transcript holds results of, in their order."""
    ids = (message.get("tool_call_id") for message in messages[count:] if message.get("role") == "tool")
    return list(dict.fromkeys([*before, *(str(call_id) for call_id in ids if call_id)]))


def first_of(messages: Sequence[Message], round_: Set[str]) -> int:
    """Return where the first message stands that calls one of these, or holds its result; the end where none does."""
    places = _first_places(messages)
    return min((places[call_id] for call_id in round_ if call_id in places), default=len(messages))


@grown(dict[str, int]())
def _first_places(before: dict[str, int], messages: Sequence[Message], count: int) -> dict[str, int]:
    places = dict(before)
    for place, message in enumerate(messages[count:], count):
        for call_id in (*_asked(message), message.get("tool_call_id")):
            places.setdefault(str(call_id), place)
    return places


def _is_said(message: Message) -> bool:
    if message.get("role") != "user":
        return False
    return not is_internal_context(message) and not is_continue_instruction(message)


def is_worded(message: Message) -> bool:
    """Say whether there are words of the user's own in what was said in the user's name."""
    return not is_reminder(text_of(message.get("content")))


def _is_spoken(message: Message) -> bool:
    return message.get("role") == "assistant" and not is_filler(message)


def _answers(message: Message, round_: Set[str]) -> bool:
    return message.get("role") == "tool" and str(message.get("tool_call_id")) in round_


def _asks_for(message: Message, round_: Set[str]) -> bool:
    return message.get("role") == "assistant" and not round_.isdisjoint(_asked(message))


@once
def _asked(message: Message) -> tuple[str, ...]:
    """Return the ids of a message's calls."""
    calls = message.get("tool_calls")
    return tuple(str(call.get("id")) for call in calls if isinstance(call, dict)) if isinstance(calls, list) else ()
