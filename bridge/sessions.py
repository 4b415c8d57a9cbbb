"""Whose conversation a request belongs to, and whether two requests are the same turn.

A client that names its session is believed. For all others the transcript is the name: a conversation is known by
the digest of everything that was said in it, user and assistant in turns, and a request continues the conversation
whose digest is that of its transcript up to the user's last words. A digest therefore leads to the right
conversation or to none: a user who edits an earlier message, or begins with the same words as someone else and got
another answer, starts a new one. Tool messages, system prompts, images, white space and reasoning are left out, since
clients drop, trim and rewrite them; a turn's texts before and after its tool calls count as one, since some clients
keep them so. Two conversations that are word for word the same so far share a digest, and it makes no difference
which of them is continued, as long as each is continued once: whoever uses a digest should forget it.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bridge import openclaw
from bridge.breath import in_pieces
from bridge.openclaw import (
    clean_user_text,
    is_continue_instruction,
    is_filler,
    is_internal_context,
    last_user_index,
    runtime_line,
)
from bridge.turn import Turn, split_turn
from tools.results import Message, text_of

__all__ = [
    "Session",
    "Source",
    "Turn",
    "auxiliary",
    "continues",
    "identify",
    "split_turn",
    "transcript_key_after",
    "transcript_keys",
    "turn_key",
]

Source = Literal["header", "runtime_line", "prompt_cache_key", "user", "transcript"]

AUXILIARY_HEADER = "X-Clawback-Auxiliary"
_AFFINITY = ("x-session-affinity", "session-id")
_OF_USER = "user:"
_COMPACTIONS = re.compile(r":\d+\Z")
_REASONING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Session:
    """The name that a client gives its session, and where it stands; `key` is None where only the transcript tells."""

    key: str | None
    source: Source

    @property
    def may_be_several(self) -> bool:
        """Whether several conversations may have this name: a user's, or a key that a client uses for all of them."""
        return self.source in {"prompt_cache_key", "user"}


def identify(headers: Mapping[str, str], body_messages: Sequence[Message], body: Mapping[str, Any]) -> Session:
    """Return the session that the request names.

    OpenClaw sends `<session>:<compactions>` in `x-session-affinity` and `session_id`, when its provider entry says so.
    It sends the same as `x-client-request-id`, which is not read: to other clients that is a request's name. Header
    names may have `_` or `-`, since servers and proxies rewrite or drop the former.
    """
    given = {name.lower().replace("_", "-"): value.strip() for name, value in headers.items()}
    for name in _AFFINITY:
        if given.get(name):
            return Session(_without_compactions(given[name]), "header")
    session_id = runtime_line(body_messages).get("sessionId")
    if session_id:
        return Session(session_id, "runtime_line")
    cache_key, user = body.get("prompt_cache_key"), body.get("user")
    if isinstance(cache_key, str) and cache_key.strip():
        return Session(_without_compactions(cache_key.strip()), "prompt_cache_key")
    if isinstance(user, str) and user.strip():
        return Session(f"{_OF_USER}{user.strip()}", "user")
    return Session(None, "transcript")


def auxiliary(headers: Mapping[str, str], body: Mapping[str, Any]) -> str | None:
    """Return what kind of call this is that is not a user's turn, and must not touch the session's conversation.

    OpenClaw's own are known by their words (see bridge.openclaw). Any client may say so itself, with a header
    `X-Clawback-Auxiliary` that holds a word for the kind; `clawback doctor` does.
    """
    named = {name.lower(): value for name, value in headers.items()}.get(AUXILIARY_HEADER.lower(), "").strip()
    return named[:32] or openclaw.auxiliary(headers, body)


def _without_compactions(value: str) -> str:
    return _COMPACTIONS.sub("", value) or value


def transcript_keys(messages: Sequence[Message]) -> list[str]:
    """Return the digests under which the conversation that `messages` continues may be known, best first.

    Empty where it continues none: nothing was answered before the user's last words.
    """
    said = _said(messages)
    if said and said[-1][0] == "assistant":
        said.pop()
    before = said[:-1]
    return [_digest(["conversation", before])] if before else []


def transcript_key_after(messages: Sequence[Message], answer: str) -> str:
    """Return the digest of the conversation once `messages` was answered.

    `answer` is all text of the turn that `messages` does not hold: for the messages of its first request, all texts
    before, between and after its tool calls.
    """
    return _digest(["conversation", _said([*messages, {"role": "assistant", "content": answer}])])


def continues(messages: Sequence[Message], earlier: Sequence[Message]) -> bool:
    """Say whether all that was said in `earlier`, up to the user's last words, was said in `messages` as well."""
    turn = last_user_index(earlier)
    before = _said(earlier[: 0 if turn is None else turn + 1])
    now = _said(messages)[: len(before)]
    if len(now) < len(before) or not before:
        return not before
    (role, text), (said_role, said_text) = before[-1], now[-1]
    # Neighbours with the same role are one: what follows the earlier words may have been added to them.
    return now[:-1] == before[:-1] and role == said_role and said_text.startswith(text)


def turn_key(session: str | None, model: str, messages: Sequence[Message]) -> str:
    """Return a digest that is equal for a request and for its retries, however rewritten, and for no other turn.

    It holds what was said up to the user's last words, what came with these (the same question about another picture
    is another turn), and which results came since. What the assistant said since is left out: a retry may hold the
    beginning of an answer that broke off.
    """
    turn = last_user_index(messages)
    end = len(messages) if turn is None else turn + 1
    results = [str(m.get("tool_call_id")) for m in messages[end:] if m.get("role") == "tool"]
    # Without a session, the same first words of two clients are told apart by their system prompts at least. So are
    # those of one `user`, who may have several conversations.
    several = session is None or session.startswith(_OF_USER)
    system = [text_of(m.get("content")) for m in messages if m.get("role") == "system"] if several else []
    media = [] if turn is None else _media(messages[turn])
    return _digest(["turn", session, model, system, _said(messages[:end]), media, results])


def _media(message: Message) -> list[Any]:
    content = message.get("content")
    return [part for part in content if part.get("type") != "text"] if isinstance(content, list) else []


def _said(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Return who said what, in turns: neighbours with the same role are one."""
    said: list[tuple[str, list[str]]] = []
    for message in in_pieces(messages):
        role, text = str(message.get("role")), _words(message)
        if not text:
            continue
        if said and said[-1][0] == role:
            said[-1][1].append(text)
        else:
            said.append((role, [text]))
    return [(role, "".join(texts)) for role, texts in said]


def _words(message: Message) -> str:
    """Return a user's or an assistant's text without what clients change on the way, empty for all others."""
    text = text_of(message.get("content"))
    if message.get("role") == "assistant":
        return "" if is_filler(message) else _packed(_REASONING.sub("", text))
    if message.get("role") != "user" or is_internal_context(message) or is_continue_instruction(message):
        return ""
    return _packed(clean_user_text(text))


def _packed(text: str) -> str:
    return "".join(text.split())


def _digest(material: list[Any]) -> str:
    return hashlib.sha256(json.dumps(material).encode()).hexdigest()
