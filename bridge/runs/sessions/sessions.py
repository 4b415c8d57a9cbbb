"""Whose conversation a request belongs to, and whether two requests are the same.

A request is led to a conversation by what its client cannot share by accident:

    what the request holds                                what it does
    ----------------------------------------------------  -----------------------------------------------------------
    a name of one conversation (KNOWN_CLIENTS)            counts alone, compactions and edits included. Other names
                                                          never share anything
    a tool_call_id that the bridge gave out               leads to its run, where the names agree
    a name that several conversations may share           counts only together with the conversation's latest
    (prompt_cache_key, user), or none                     exchange: a call id of its last turn, or the last words of
                                                          the user with the answer that was delivered to them
    anything else (a retry counter, a beginning in        nothing
    common, an affinity header of a client not known)

A conversation whose run is under way is gone on with only by a request with one of that run's call ids, by the same
request again where its first connection broke, or once the run's own client has gone. Where in doubt, a new
conversation begins: the transcript holds what was said. `conversations` applies this to what the store knows.

Tool messages, system prompts, images, white space and reasoning are left out of an exchange, since clients drop, trim
and rewrite them; a turn's texts before and after its tool calls count as one, since some clients keep them so.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Literal, NamedTuple, cast

from bridge.runs.requests import RunRequest
from bridge.runs.services import in_pieces
from bridge.runs.sessions import claude_code, openclaw
from bridge.runs.sessions.openclaw import (
    clean_user_text,
    is_continue_instruction,
    is_filler,
    is_internal_context,
    is_openclaw,
    last_user_index,
    remembering,
    runtime_line,
)
from bridge.runs.sessions.turn import Turn, split_turn
from bridge.runs.transcripts import digests_of, grown, instructions_of, once
from tools.fingerprint import text_digest
from tools.results import Message, text_of

__all__ = [
    "KNOWN_CLIENTS",
    "Past",
    "Session",
    "Source",
    "Turn",
    "auxiliary",
    "digest",
    "exchange_after",
    "frame_of",
    "identify",
    "past_of",
    "request_key",
    "split_turn",
    "turn_key",
]

Source = Literal["openclaw", "claude_code", "codex", "opencode", "prompt_cache_key", "user", "affinity", "transcript"]
Headers = Mapping[str, str]

AUXILIARY_HEADER = "X-Clawback-Auxiliary"
_AFFINITY = ("x-session-affinity", "session-id")
_OF_USER = "user:"
_COMPACTIONS = re.compile(r":\d+\Z")
_REASONING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Session:
    """What a client calls its conversation; `key` is None where only the transcript tells.

    `alone` says that this is the name of one conversation. `former` is the name under which versions before 0.2 knew
    the conversation of a name that may be shared. `owner` is whose it is: a client with a token of its own, or commands
    of this machine; empty for the token of the configuration. No name that a client gives can hold it.
    """

    key: str | None
    source: Source
    alone: bool = False
    former: str | None = None
    owner: str = ""

    def row_key(self, model: str) -> str:
        """Return the key of the session's row, where the name counts alone."""
        return text_digest(digest([self.owner, model, self.key]) if self.owner else f"{model}\n{self.key}")

    def former_row_key(self, model: str) -> str | None:
        """Return the key that versions before 0.2 gave the row of a name that may be shared."""
        return text_digest(f"{model}\n{self.former}") if self.former else None

    @property
    def scope(self) -> str:
        """What conversations must have in common before anything else is asked; equal for all that have no name."""
        if self.key is None:
            return digest(self._owned) if self.owner else ""
        return digest([*self._owned, "scope", "alone" if self.alone else self.source, self.key])

    @property
    def _owned(self) -> list[str]:
        return ["owner", self.owner] if self.owner else []


def _openclaw(headers: Headers, messages: Sequence[Message]) -> str | None:
    """`<session>:<compactions>` in `x-session-affinity`, and the same in `session_id` and `x-client-request-id`.

    Else its line about the runtime: any user of any client may write one, but not under OpenClaw's own system prompt.
    """
    affinity, session, request = (headers.get(name) for name in (*_AFFINITY, "x-client-request-id"))
    given = affinity or session
    if given and (given in {request, session if affinity else None} or is_openclaw(messages)):
        return _without_compactions(given)
    return runtime_line(messages).get("sessionId") if is_openclaw(messages) else None


def _claude_code(headers: Headers, _: Sequence[Message]) -> str | None:
    """A sub-agent has its session's id, and one of its own."""
    session, agent = headers.get(claude_code.SESSION), headers.get(claude_code.AGENT)
    return f"{session}\n{agent}" if session and agent else session


def _codex(headers: Headers, _: Sequence[Message]) -> str | None:
    """`thread-id`: child threads share `session-id` and `prompt_cache_key` with their parent."""
    thread = headers.get("thread-id")
    known = thread and (headers.get("x-client-request-id") == thread or "x-codex-window-id" in headers)
    return thread if known or headers.get("user-agent", "").startswith("codex") else None


def _opencode(headers: Headers, _: Sequence[Message]) -> str | None:
    session = headers.get("x-session-id")
    known = headers.get("x-session-affinity") == session or headers.get("user-agent", "").startswith("opencode/")
    return session if known else None


KNOWN_CLIENTS: tuple[tuple[Source, Callable[[Headers, Sequence[Message]], str | None]], ...] = (
    ("claude_code", _claude_code),
    ("codex", _codex),
    ("opencode", _opencode),
    ("openclaw", _openclaw),
)
"""Who names each of its conversations, and how. Header names are lower case, with `-` for `_`.

An affinity header of anybody else is no name: nanobot's is one of a process. Source: captured requests of OpenClaw
2026.9.6, Claude Code 2.1.197, Codex 0.169.0, opencode 1.18.33 and nanobot 0.3.5.
"""


def identify(headers: Mapping[str, str], body_messages: Sequence[Message], body: Mapping[str, Any]) -> Session:
    """Return what the request calls its conversation."""
    given = _plain(headers)
    for source, named in KNOWN_CLIENTS:
        if key := named(given, body_messages):
            return Session(key, source, alone=True)
    affinity = next((given[name] for name in _AFFINITY if name in given), None)
    former = _without_compactions(affinity) if affinity else None
    cache_key, user = body.get("prompt_cache_key"), body.get("user")
    if isinstance(cache_key, str) and cache_key.strip():
        key = cache_key.strip()
        return Session(key, "prompt_cache_key", former=former or _without_compactions(key))
    if isinstance(user, str) and user.strip():
        return Session(user.strip(), "user", former=former or f"{_OF_USER}{user.strip()}")
    return Session(None, "affinity" if affinity else "transcript", former=former)


def auxiliary(headers: Mapping[str, str], body: Mapping[str, Any]) -> str | None:
    """Return what kind of call this is that is not a user's turn, and must not touch the session's conversation.

    OpenClaw's own are known by their words (see `openclaw`), those of other agents by what they lack.
    Any client may say so itself, with a header `X-Clawback-Auxiliary` that holds a word for the kind; `clawback doctor`
    does.
    """
    named = {name.lower(): value for name, value in headers.items()}.get(AUXILIARY_HEADER.lower(), "").strip()
    own = claude_code.auxiliary(headers, body) or _side_call(headers, body) or openclaw.auxiliary(headers, body)
    return named[:32] or own


def _side_call(headers: Mapping[str, str], body: Mapping[str, Any]) -> str | None:
    """Codex sums up a thread, and opencode names and sums up a session, under its name and without tools.

    A turn may have no tools, either: Codex says of what kind a request is, and opencode is known by its words.
    """
    given = _plain(headers)
    if body.get("tools"):
        return None
    if _codex(given, ()):
        kind = _KIND_OF_CODEX.search(given.get("x-codex-turn-metadata", ""))
        return None if kind and kind[1] == "turn" else "side_call"
    return "side_call" if _opencode(given, ()) and _is_opencode_s_own(body.get("messages")) else None


_KIND_OF_CODEX = re.compile(r'"request_kind"\s*:\s*"(\w+)"')
_NAMES_OF_OPENCODE = re.compile(r"\s*Generate a title for this conversation:")
_SUMS_OF_OPENCODE = re.compile(r"\s*<conversation>")


def _is_opencode_s_own(messages: object) -> bool:
    """Whether opencode asks for a title, with its first words, or for a summary, with its last. Source: 1.18.33."""
    said = messages if isinstance(messages, list) else []
    texts = [text_of(m.get("content")) for m in said if isinstance(m, dict) and m.get("role") == "user"]
    return bool(texts) and bool(_NAMES_OF_OPENCODE.match(texts[0]) or _SUMS_OF_OPENCODE.match(texts[-1]))


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by their names with `-`: servers and proxies rewrite or drop `_`."""
    return {name.lower().replace("_", "-"): value.strip() for name, value in headers.items() if value.strip()}


def _without_compactions(value: str) -> str:
    return _COMPACTIONS.sub("", value) or value


# What was said


class Spoken(NamedTuple):
    """Who said what, without a break, a text per message."""

    role: str
    texts: list[str]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)


@dataclass(frozen=True, slots=True)
class Past:
    """What a transcript says of its conversation before the user's last words.

    `turns` are those that count, of the `messages`, and `calls` the tool_call_ids of the last one. A pair is the user's
    words with the answer to them; of several messages the last one counts: a summary, say, may stand before it since.
    """

    messages: Sequence[Message] = ()
    turns: Sequence[Spoken] = ()
    calls: tuple[str, ...] = ()

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Digests of the pairs, oldest first."""
        return tuple(_exchange(asked, told) for asked, told in pairwise(self.turns) if asked.role == "user")

    @property
    def latest(self) -> str | None:
        """The digest of the last pair."""
        return next((_exchange(asked, told) for asked, told in self._last), None)

    @property
    def whole(self) -> str:
        """A digest of all that was said."""
        return _digest_of_turns(self.messages, len(self.turns), '["conversation", ') if self.turns else ""

    @property
    def length(self) -> int:
        """How many characters the last pair has."""
        return sum(len(asked.texts[-1]) + len(told.text) for asked, told in self._last)

    @property
    def _last(self) -> list[tuple[Spoken, Spoken]]:
        return [pair for pair in pairwise(self.turns[-3:]) if pair[0].role == "user"][-1:]


def _exchange(asked: Spoken, told: Spoken) -> str:
    return digest(["exchange", asked.texts[-1], told.text])


def past_of(messages: Sequence[Message]) -> Past:
    """Return what a request's transcript says of what came before its last words."""
    turns = spoken(messages)
    last = -2 if turns and turns[-1].role == "assistant" else -1
    return Past(messages, turns[:last], _last_calls(messages))


def exchange_after(messages: Sequence[Message]) -> Past:
    """Return what a transcript that ends in an answer will say of itself, once the user says more."""
    return Past(messages, spoken(messages))


def _last_calls(messages: Sequence[Message]) -> tuple[str, ...]:
    """Return the ids of the calls between the user's last words and those before, of which there may be several."""
    end = last_user_index(messages)
    if end is None:
        return ()
    while end and messages[end - 1].get("role") == "user":
        end -= 1
    begin = last_user_index(messages[:end])
    turn = messages[0 if begin is None else begin + 1 : end]
    return tuple(str(call.get("id")) for message in turn for call in message.get("tool_calls") or ())


# The same request


def turn_key(session: Session, model: str, messages: Sequence[Message]) -> str:
    """Return a digest that is equal for a turn and for its retries, however rewritten.

    It holds what was said up to the user's last words, what came with these (the same question about another picture
    is another turn), and which results came since. What the assistant said since is left out: a retry may hold the
    beginning of an answer that broke off. Where the session's name counts alone, this is one turn; else others who say
    the same to the same system prompt have the same key.
    """
    turn = last_user_index(messages)
    end = len(messages) if turn is None else turn + 1
    results = [str(m.get("tool_call_id")) for m in messages[end:] if m.get("role") == "tool"]
    above = [] if session.alone else [each for each in instructions_of(messages) if each.get("role") == "system"]
    named = ["turn", session.scope, model, [text_of(message.get("content")) for message in above]]
    media = [] if turn is None else _media(messages[turn])
    begun = messages[:end]
    head, tail = json.dumps(named)[:-1], json.dumps([media, results])[1:]
    return _digest_of_turns(begun, len(spoken(begun)), f"{head}, ", f", {tail}")


def request_key(session: Session, model: str, request: RunRequest) -> str:
    """Return a digest of a whole request; whether it streams does not matter."""
    rest = request.model_dump(mode="json", exclude_none=True, exclude={"messages"})
    begun = _Listing.begun(f'{json.dumps([session.scope, model])[:-1]}, {{"messages": ')
    listing = _digests_listed(request.messages, begun.name, begun=begun) or begun
    return listing.ended(f", {json.dumps(rest)[1:]}]")


def frame_of(headers: Mapping[str, str], messages: Sequence[Message]) -> str:
    """Return a digest of what tells two conversations in the same words apart, where there is a choice."""
    given = {name.lower(): value for name, value in headers.items()}
    system = [text_of(message.get("content")) for message in instructions_of(messages)]
    return digest([system, [given.get(name) for name in _AFFINITY]])


def _media(message: Message) -> list[Any]:
    content = message.get("content")
    return [part for part in content if part.get("type") != "text"] if isinstance(content, list) else []


@grown(list[Spoken]())
def spoken(before: list[Spoken], messages: Sequence[Message], count: int) -> list[Spoken]:
    """Return who said what, in turns: neighbours with the same role are one."""
    worded = ((str(message.get("role")), text) for message in in_pieces(messages[count:]) if (text := _words(message)))
    new = [Spoken(role, [text for _, text in texts]) for role, texts in groupby(worded, key=itemgetter(0))]
    if before and new and before[-1].role == new[0].role:
        new[0].texts[:0] = before[-1].texts
        return [*before[:-1], *new]
    return [*before, *new]


_OPEN = 3
"""So many of the last turns may be left out of a digest of what was said."""


def _digest_of_turns(messages: Sequence[Message], turns: int, begun: str, end: str = "]") -> str:
    """Return the digest of JSON; between this beginning and end it has a list of who said what in the first turns."""
    first = _Listing.begun(begun)
    listing = _turns_listed(messages, first.name, begun=first) or first
    return listing.further(_told(spoken(messages)[listing.count : turns])).ended(end)


@grown(cast("_Listing | None", None))
def _turns_listed(
    before: "_Listing | None", messages: Sequence[Message], _: int, __: str, *, begun: "_Listing"
) -> "_Listing":
    listing = before or begun
    return listing.further(_told(spoken(messages)[listing.count : -_OPEN]))


def _told(turns: Sequence[Spoken]) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in turns]


@grown(cast("_Listing | None", None))
def _digests_listed(
    before: "_Listing | None", messages: Sequence[Message], count: int, _: str, *, begun: "_Listing"
) -> "_Listing":
    return (before or begun).further(digests_of(messages)[count:])


@once
def _words(message: Message) -> str:
    """Return a user's or an assistant's text without what clients change on the way, empty for all others."""
    role = str(message.get("role"))
    return _words_of(role, text_of(message.get("content"))) if role in {"assistant", "user"} else ""


@remembering
def _words_of(role: str, text: str) -> str:
    message = {"role": role, "content": text}
    if role == "assistant":
        return "" if is_filler(message) else _packed(_REASONING.sub("", text))
    if is_internal_context(message) or is_continue_instruction(message):
        return ""
    return _packed(clean_user_text(text))


_NO_SPACE = {code: None for code in range(128) if chr(code).isspace()}


def _packed(text: str) -> str:
    # Where it can be done so, it takes a tenth of the time.
    return text.translate(_NO_SPACE) if text.isascii() else "".join(text.split())


def digest(material: Any) -> str:
    """Return 64 hex characters that stand for a JSON value."""
    return hashlib.sha256(json.dumps(material).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Listing:
    """A digest in the making: of JSON as far as so many items of a list that stands in it."""

    hashed: "hashlib._Hash"
    count: int = 0

    @classmethod
    def begun(cls, text: str) -> "_Listing":
        return cls(hashlib.sha256(f"{text}[".encode()))

    @property
    def name(self) -> str:
        """What tells it from others."""
        return self.hashed.hexdigest()

    def further(self, items: Sequence[object]) -> "_Listing":
        listed = json.dumps(items)[1:-1]
        hashed = self.hashed.copy()
        hashed.update((f", {listed}" if self.count and listed else listed).encode())
        return _Listing(hashed, self.count + len(items))

    def ended(self, end: str) -> str:
        hashed = self.hashed.copy()
        hashed.update(f"]{end}".encode())
        return hashed.hexdigest()
