"""What OpenClaw writes around its user's words, and which of its requests are not its user's at all.

OpenClaw stamps user messages with the time, ends the first one with a line about its runtime, appends messages that
nobody wrote, and rewrites the user's message when it tries again. Source of all texts: requests and code of OpenClaw
2026.9.6. Nothing here changes what a model sees: it is for recognising turns, and for the query that goes to Dify.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Any, Literal

from bridge.runs.sessions.claude_code import is_reminder, without_reminders
from bridge.runs.transcripts import grown, instructions_of, once
from tools.results import Message, text_of

Auxiliary = Literal["memory_flush", "compaction_summary", "skill_review", "heartbeat", "model_run", "internal"]

_BEGIN = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"
"""Looked for before the pattern is: in a text of megabytes that takes a hundredth of the time."""
_CONTEXT = re.compile(
    r"^[ \t]*<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>[ \t]*$.*?(?:^[ \t]*<<<END_OPENCLAW_INTERNAL_CONTEXT>>>[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_TIME = re.compile(r"\A\[(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?(?: [^\]\n]{1,40})?\] ?")
_RUNTIME = re.compile(r"^Runtime: ((?:name|agent|session)=[^\n|]*(?: \| [^\n|]*)+)$", re.MULTILINE)
_QUEUED = "[Queued user message from a previous active turn; preserved as context only."
_MAX_WRAPS = 16
_INSTRUCTIONS = (
    "Continue the current task from the existing transcript, preserving completed work.",
    "The previous attempt did not produce a user-visible answer.",
    "The previous assistant turn recorded reasoning but did not produce a user-visible answer.",
    "The previous assistant turn completed its tool calls but did not produce a user-visible answer.",
    "The previous attempt compacted the conversation context before producing a final user-visible answer.",
)
_SUMMARY = "The conversation history before this point was compacted into the following summary:"
_AFTER_RESULTS = "I have processed the tool results."


def remembering(read: Callable[..., str]) -> Callable[..., str]:
    """Remember what was read of short texts: clients send all that was said again with each request."""
    remembered = lru_cache(maxsize=4096)(read)

    @wraps(read)
    def reading(*texts: str) -> str:
        return (remembered if len(texts[-1]) < _SHORT else read)(*texts)

    return reading


_SHORT = 1024


@remembering
def clean_user_text(text: str) -> str:
    """Return what the user wrote, without what OpenClaw wrote around it."""
    text = _without_envelope(text)
    for _ in range(_MAX_WRAPS):
        if not text.startswith(_QUEUED):
            break
        _, _, wrapped = text.partition("\n")
        text = _without_envelope(_without_instruction(wrapped.strip()))
    return text


def _without_envelope(text: str) -> str:
    text = without_reminders(_CONTEXT.sub("", text) if _BEGIN in text else text).strip()
    before, _, last_line = text.rpartition("\n")
    if _RUNTIME.fullmatch(last_line):
        text = before
    text = text.strip()
    time = _TIME.match(text)
    return text[time.end() :].strip() if time else text


def _without_instruction(text: str) -> str:
    starts = [text.rfind(f"\n\n{instruction}") for instruction in _INSTRUCTIONS]
    start = max(starts)
    return text[:start].strip() if start > 0 else text


def is_internal_context(message: Message) -> bool:
    """Say whether nobody wrote this user message: all of it is OpenClaw's internal context."""
    text = _text_of_user(message)
    return text is not None and _BEGIN in text and _CONTEXT.search(text) is not None and not _without_envelope(text)


def is_continue_instruction(message: Message) -> bool:
    """Say whether OpenClaw itself wrote this user message, to try the turn again."""
    text = _text_of_user(message)
    return text is not None and clean_user_text(text).startswith(_INSTRUCTIONS)


def is_summary(message: Message) -> bool:
    """Say whether this user message stands for the history that a compaction took away."""
    text = _text_of_user(message)
    return text is not None and clean_user_text(text).startswith(_SUMMARY)


def is_filler(message: Message) -> bool:
    """Say whether OpenClaw put this assistant message between tool results and a user message, for picky servers."""
    return message.get("role") == "assistant" and text_of(message.get("content")).strip() == _AFTER_RESULTS


def _text_of_user(message: Message) -> str | None:
    return text_of(message.get("content")) if message.get("role") == "user" else None


def runtime_line(messages: Iterable[Message]) -> dict[str, str]:
    """Return the fields of the line about OpenClaw's runtime: agent, session, sessionId, host, ...

    It is the last line of the first user message, in older versions the last one of its kind in the system prompt:
    what others wrote stands before it. Empty where there is none.
    """
    first: dict[str, str] = {}
    for message in messages:
        role = "user" if message.get("role") == "user" else "system"
        if message.get("role") in {"system", "developer", "user"} and role not in first:
            first[role] = _CONTEXT.sub("", text_of(message.get("content"))).strip()
        if "user" in first:
            break
    lines = [match[1] for match in _RUNTIME.finditer(first.get("system", ""))]
    if found := _RUNTIME.fullmatch(first.get("user", "").rpartition("\n")[2]):
        lines.append(found[1])
    pairs = (field.partition("=") for field in (lines[-1].split(" | ") if lines else ()))
    return {name.strip(): value.strip() for name, _, value in pairs}


_FLUSH = "Pre-compaction memory flush."
_HEARTBEATS = ("[OpenClaw heartbeat poll]", "Follow the heartbeat monitor scratch context when provided.")
_SUMMARIZER = "You are a context summarization assistant."
_MODEL_RUN = "Current model identity: "
_INTERNAL_SESSION = "internal-session-effects"


def auxiliary(headers: Mapping[str, str], body: Mapping[str, Any]) -> Auxiliary | None:
    """Return which of OpenClaw's own calls this is, None for a user's turn.

    `internal` is a call of a kind that is not known here, in a session that OpenClaw keeps from its user. Words count
    only where they begin the turn's message, under OpenClaw's own system prompt, and are not a person's.
    """
    messages = body.get("messages") or []
    system = _system_text(messages)
    if not body.get("tools"):
        if system.startswith(_SUMMARIZER):
            return "compaction_summary"
        if system.startswith(_MODEL_RUN):
            return "model_run"
    if not _is_of_openclaw(system):
        return None
    return _by_words(messages) or _by_session(headers, messages)


def _by_words(messages: Sequence[Message]) -> Auxiliary | None:
    asked = last_user_text(messages)
    if asked.startswith(_FLUSH) and not _is_stamped(messages):
        return "memory_flush"
    return "heartbeat" if asked.startswith(_HEARTBEATS) else None


def _is_stamped(messages: Sequence[Message]) -> bool:
    """Say whether the last message in the user's name bears a time: OpenClaw stamps what people write."""
    index = last_user_index(messages)
    text = "" if index is None else text_of(messages[index].get("content")).strip()
    unstamped = _TIME.sub("", text)
    if unstamped.startswith(_QUEUED):
        text = unstamped.partition("\n")[2]
    return _TIME.match(text) is not None


def _by_session(headers: Mapping[str, str], messages: Sequence[Message]) -> Auxiliary | None:
    names = [runtime_line(messages).get("session", ""), *(value for _, value in headers.items())]
    internal = [name for name in names if f":{_INTERNAL_SESSION}:" in name or name.startswith(_INTERNAL_SESSION)]
    if not internal:
        return None
    return "skill_review" if any("skill-workshop-review" in name for name in internal) else "internal"


def _system_text(messages: Sequence[Message]) -> str:
    instructions = instructions_of(messages)
    return text_of(instructions[0].get("content")).lstrip() if instructions else ""


def is_from_openclaw(messages: Sequence[Message]) -> bool:
    """Say whether OpenClaw wrote around these messages: its system prompt, its runtime line, or its context."""
    return is_openclaw(messages) or bool(runtime_line(messages)) or _holds_context(messages)


@grown(False)
def _holds_context(before: bool, messages: Sequence[Message], count: int) -> bool:
    return before or any(map(is_internal_context, messages[count:]))


def is_openclaw(messages: Sequence[Message]) -> bool:
    """Say whether OpenClaw's own system prompt stands above the transcript. No user of a client writes that."""
    return _is_of_openclaw(_system_text(messages))


def _is_of_openclaw(system: str) -> bool:
    return system.startswith("<!-- openclaw:attempt:") or "running inside OpenClaw" in system[:1000]


def last_user_text(messages: Sequence[Message]) -> str:
    """Return the user's last words, cleaned; empty where there are none."""
    index = last_user_index(messages)
    return "" if index is None else clean_user_text(text_of(messages[index].get("content")))


def last_user_index(messages: Sequence[Message]) -> int | None:
    """Return where the user's last words stand.

    What OpenClaw wrote in the user's name are no user's words; where there are no others, its instruction to go on
    counts, then its summary, then its context.
    """
    others: dict[str, int] = {}
    for index in reversed(range(len(messages))):
        message = messages[index]
        if message.get("role") != "user":
            continue
        written = _written_by_openclaw(message)
        if written is None:
            return index
        others.setdefault(written, index)
    return next((others[kind] for kind in ("instruction", "summary", "context") if kind in others), None)


@once
def _written_by_openclaw(message: Message) -> Literal["context", "instruction", "summary"] | None:
    if is_internal_context(message) or is_reminder(text_of(message.get("content"))):
        return "context"
    if is_continue_instruction(message):
        return "instruction"
    return "summary" if is_summary(message) else None
