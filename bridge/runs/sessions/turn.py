"""What the end of a transcript asks for: a new turn, or that a turn goes on with its results."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.runs.sessions.openclaw import (
    clean_user_text,
    is_continue_instruction,
    is_filler,
    is_internal_context,
    last_user_index,
)
from tools.results import Message, text_of


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn that a transcript ends in.

    `messages[index]` is the user's message, `query` its cleaned text. In a follow-up, `results` are tool_call_id and
    content of the tool messages after the last assistant message, in their order, and `after_results` what the user
    said since that message. `index` is None where nobody said anything.
    """

    index: int | None
    query: str
    results: list[tuple[str, object]] = field(default_factory=list)
    after_results: list[Message] = field(default_factory=list)
    is_follow_up: bool = False


def split_turn(messages: Sequence[Message]) -> Turn:
    """Find the turn that the transcript ends in.

    The last message is of no help: OpenClaw puts one that nobody wrote behind the user's words and behind results.
    """
    index = last_user_index(messages)
    query = "" if index is None else clean_user_text(text_of(messages[index].get("content")))
    asked = _last_assistant(messages)
    if asked is None:
        return Turn(index, query)
    tail = messages[asked + 1 :]
    results = [(str(m.get("tool_call_id") or ""), m.get("content")) for m in tail if m.get("role") == "tool"]
    called = _called_ids(messages[asked])
    return Turn(
        index=index,
        query=query,
        results=results,
        after_results=[dict(message) for message in tail if _is_said(message)] if results else [],
        is_follow_up=any(call_id in called for call_id, _ in results),
    )


def _is_said(message: Message) -> bool:
    if message.get("role") != "user":
        return False
    return not is_internal_context(message) and not is_continue_instruction(message)


def _last_assistant(messages: Sequence[Message]) -> int | None:
    spoken = (i for i, m in enumerate(messages) if m.get("role") == "assistant" and not is_filler(m))
    return max(spoken, default=None)


def _called_ids(message: Message) -> set[str]:
    calls = message.get("tool_calls")
    return {str(call.get("id")) for call in calls if isinstance(call, dict)} if isinstance(calls, list) else set()
