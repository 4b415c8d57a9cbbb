"""The statements about what was said in each conversation, each with a sentence above it.

The last exchange leads a client back to its conversation. What requests hold is kept in pieces, once for each session:
clients send all that was said again with each request, so that most of it is there already.
"""

import hashlib
import json
import math
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import batched, pairwise

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from bridge.store import clock
from bridge.store import schema as t
from bridge.store.faults import DAMAGED, unavailable
from bridge.store.rows import ExchangeRow, RunRow
from bridge.store.statements import Statement, Transaction, execute, fetch, fetch_together, inserting


class ExchangeStatements:
    """The part of the store that leads a client without a name of its own back to its conversation."""

    def __init__(self, reading: Transaction) -> None:
        self._reading = reading

    @staticmethod
    def adding(session_key: str, digest: str, whole: str, inputs: str, frame: str) -> Statement:
        """Return the statement that writes what was said last in a session."""
        values = {"session_key": session_key, "digest": digest, "whole": whole, "inputs": inputs, "frame": frame}
        return inserting(t.exchanges, values | {"updated_at": clock.now()})

    def with_digest(self, digest: str) -> list[ExchangeRow]:
        """List the exchanges in these words, of all sessions, oldest first."""
        return self._read(t.exchanges.c.digest == digest)

    def latest(self, session_key: str) -> ExchangeRow | None:
        """Find what was said last in a session."""
        return next(iter(self._read(t.exchanges.c.session_key == session_key)[-1:]), None)

    def up_to(self, exchange: ExchangeRow) -> list[str]:
        """List the digests of what was said in an exchange's session, up to it, oldest first."""
        here = (t.exchanges.c.session_key == exchange.session_key, t.exchanges.c.id <= exchange.id)
        return [row.digest for row in self._read(*here)]

    def _read(self, *conditions: object) -> list[ExchangeRow]:
        columns = [t.exchanges.c[name] for name in ExchangeRow.__slots__]
        with self._reading() as connection:
            rows = connection.execute(select(*columns).where(*conditions).order_by(t.exchanges.c.id))  # type: ignore[arg-type]
            return [ExchangeRow(**row._mapping) for row in rows]


Piece = tuple[str, str]
"""A digest, and the JSON that it stands for."""


def digest_of(text: str) -> str:
    """Return 32 hex characters that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Return a JSON value as it is kept."""


def piece_of(body: str) -> Piece:
    """Return JSON with its digest."""
    return digest_of(body), body


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a request holds that its session may hold already: each message, and the list of tools."""

    messages: Sequence[Piece]
    tools: Piece


class PiecesGone(Exception):
    """Pieces that were known are forgotten; the session's have to be read again."""


Known = dict[str, tuple[int, float]]
"""The pieces of a session by their digests, in the order of their numbers: the number, and when a run last was known to
hold it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The pieces of a list, and their numbers. `since` is when the one was used that was not for longest."""

    digests: Sequence[str] = ()
    numbers: Sequence[int] = ()
    since: float = math.inf


@dataclass(frozen=True, slots=True)
class Learned:
    """What will be known of a session's pieces once they are written, and which its last list of a kind is then."""

    known: Known
    kind: str
    listed: Listed


FRESH_SECONDS = 43_200.0
"""So old may be what the store says of when a piece was last used."""
SESSIONS = 100
"""Of so many sessions the process knows which pieces they have."""
_AT_ONCE = 50


class PieceStatements:
    """The part of the store that keeps what requests hold."""

    def __init__(self, reading: Transaction) -> None:
        self._reading = reading
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._listed: defaultdict[str, dict[str, Listed]] = defaultdict(dict)

    def keep(self, connection: Connection, run: RunRow, pieces: Pieces) -> tuple[RunRow, Learned]:
        """Write the pieces that are new; return the run with the numbers of all, and what to `learn` then."""
        numbers, learned = self._number(connection, run.session_key, "messages", pieces.messages, pieces.tools)
        kept = json.dumps({"messages": list(_ranges(numbers[:-1])), "tools": numbers[-1]}, separators=(",", ":"))
        return replace(run, request=f'{run.request[:-1]},"kept":{kept}}}'), learned

    def keep_list(self, connection: Connection, session_key: str, pieces: Sequence[Piece]) -> tuple[str, Learned]:
        """Write those of a list that are new; return what stands for the list, and what to `learn` then."""
        numbers, learned = self._number(connection, session_key, "input", pieces)
        return json.dumps({"session": session_key, "kept": list(_ranges(numbers))}, separators=(",", ":")), learned

    def whole_list(self, kept: str) -> str:
        """Return the list that `keep_list` keeps. One of before 0.2 is whole already."""
        if not kept.startswith("{"):
            return kept
        found = json.loads(kept)
        with self._reading() as connection:
            bodies = dict(_read(connection, found["session"], found["kept"]))
        try:
            return f"[{','.join(bodies[number] for first, last in found['kept'] for number in range(first, last + 1))}]"
        except KeyError:
            raise unavailable(DAMAGED, "a piece of a response's input is gone") from None

    def _number(
        self, connection: Connection, session_key: str, kind: str, listed: Sequence[Piece], *others: Piece
    ) -> tuple[list[int], Learned]:
        """Write the pieces of a session that are new; return the numbers of all, and what to `learn` then."""
        known, now = self._of_session(connection, session_key), clock.now()
        digests = [digest for digest, _ in listed]
        before = self._beginning(session_key, kind, digests, now)
        pieces = [*listed[len(before.digests) :], *others]
        top = next(reversed(known.values()))[0] if known else 0
        learned: Known = {}
        new: list[dict[str, object]] = []
        numbers = list(before.numbers)
        stale: list[int] = []
        since = before.since
        for digest, body in pieces:
            number, used_at = learned.get(digest) or known.get(digest) or (0, now)
            if not number:
                top = number = top + 1
                row = {"session_key": session_key, "number": number, "digest": digest, "body": body}
                new.append(row | {"updated_at": now})
                learned[digest] = (number, now)
            elif used_at < now - FRESH_SECONDS:
                stale.append(number)
                learned[digest] = (number, used_at := now)
            numbers.append(number)
            since = min(since, used_at)
        for rows in batched(new, _AT_ONCE):
            execute(connection, inserting(t.pieces, *rows))
        for first, last in _ranges(sorted(stale)):
            at = {"session": session_key, "first": first, "last": last, "now": now}
            if connection.execute(_USED, at).rowcount <= last - first:
                raise PiecesGone
        return numbers, Learned(learned, kind, Listed(digests, numbers[: len(listed)], since))

    def _beginning(self, session_key: str, kind: str, digests: Sequence[str], now: float) -> Listed:
        """Return the session's last list, where this one begins with it and all of it was used of late."""
        last = self._listed[session_key].get(kind, _NONE)
        is_same = digests[: len(last.digests)] == last.digests
        return last if is_same and last.since >= now - FRESH_SECONDS else _NONE

    def begin(self, session_key: str) -> None:
        """A session has no pieces yet."""
        self._known.setdefault(session_key, {})

    def learn(self, session_key: str, learned: Learned) -> None:
        """These pieces of a session are written."""
        self._known.setdefault(session_key, {}).update(learned.known)
        self._listed[session_key][learned.kind] = learned.listed

    def forget(self, session_key: str) -> None:
        """What is known of a session's pieces may not be so: it is read again."""
        self._known.pop(session_key, None)
        self._listed.pop(session_key, None)

    def whole(self, session_key: str, request: str) -> str:
        """Return a run's request with its pieces. One of an executors' run, or of before 0.2, is whole already."""
        kept = _KEPT.search(request)
        if kept is None:
            return request
        ranges, tools = _numbers(kept)
        with self._reading() as connection:
            bodies = dict(_read(connection, session_key, [*ranges, (tools, tools)]))
        try:
            messages = [bodies[number] for first, last in ranges for number in range(first, last + 1)]
            return _joined(request, kept, messages, bodies[tools])
        except KeyError:
            raise unavailable(DAMAGED, "a piece of a request is gone") from None

    def outlines(self, requests: Mapping[str, tuple[str, str]]) -> dict[str, str]:
        """Return requests, each given with its session, with their tools, and with as many messages, but empty ones."""
        found = {name: kept for name, (_, request) in requests.items() if (kept := _KEPT.search(request))}
        sessions = {requests[name][0] for name in found}
        numbers = {_numbers(kept)[1] for kept in found.values()}
        with self._reading() as connection:
            rows = connection.execute(_THESE, {"sessions": list(sessions), "numbers": list(numbers)}).all()
        bodies = {(row.session_key, row.number): row.body for row in rows}
        outlines = {name: request for name, (_, request) in requests.items()}
        for name, kept in found.items():
            ranges, tools = _numbers(kept)
            empty = ["{}"] * sum(last - first + 1 for first, last in ranges)
            outlines[name] = _joined(outlines[name], kept, empty, bodies.get((requests[name][0], tools), "[]"))
        return outlines

    def are_unused(self, connection: Connection, cutoff: float) -> ColumnElement[bool]:
        """Return which pieces only runs and responses had that are gone."""
        oldest = [connection.execute(select(func.min(table.c.created_at))).scalar_one() for table in _HOLDERS]
        unused: float = min([cutoff, *(at for at in oldest if at is not None)])
        return t.pieces.c.updated_at < unused - FRESH_SECONDS

    def forget_all(self) -> None:
        """What is known of sessions' pieces may not be so any more."""
        self._known.clear()
        self._listed.clear()

    def _of_session(self, connection: Connection, session_key: str) -> Known:
        known = self._known.get(session_key)
        if known is None:
            rows = fetch(connection, _OF_SESSION, session=session_key)
            known = self._known[session_key] = {digest: (number, used_at) for digest, number, used_at in rows}
            while len(self._known) > SESSIONS:
                self._listed.pop(self._known.popitem(last=False)[0], None)
        self._known.move_to_end(session_key)
        return known


_NONE = Listed()
_HOLDERS = (t.runs, t.responses)
_KEPT = re.compile(r',"kept":\{"messages":(?P<messages>\[[\[\]\d,]*\]),"tools":(?P<tools>\d+)\}\}\Z')
_OF_SESSION = (
    select(t.pieces.c.digest, t.pieces.c.number, t.pieces.c.updated_at)
    .where(t.pieces.c.session_key == bindparam("session"))
    .order_by(t.pieces.c.number)
)
_BETWEEN = (
    t.pieces.c.session_key == bindparam("session"),
    t.pieces.c.number.between(bindparam("first"), bindparam("last")),
)
_BODIES = select(t.pieces.c.number, t.pieces.c.body).where(*_BETWEEN)
_THESE = select(t.pieces.c.session_key, t.pieces.c.number, t.pieces.c.body).where(
    t.pieces.c.session_key.in_(bindparam("sessions", expanding=True)),
    t.pieces.c.number.in_(bindparam("numbers", expanding=True)),
)
_USED = update(t.pieces).where(*_BETWEEN).values(updated_at=bindparam("now"))


def _numbers(kept: re.Match[str]) -> tuple[list[tuple[int, int]], int]:
    """Return the numbers of the messages, in ranges, and that of the tools."""
    return [(first, last) for first, last in json.loads(kept["messages"])], int(kept["tools"])


def _joined(request: str, kept: re.Match[str], messages: Sequence[str], tools: str) -> str:
    return f'{request[: kept.start()]},"messages":[{",".join(messages)}],"tools":{tools}}}'


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield numbers in their order, neighbours that follow one another as one."""
    breaks = [place for place, (number, behind) in enumerate(pairwise(numbers), 1) if behind != number + 1]
    for begin, end in pairwise([0, *breaks, len(numbers)] if numbers else []):
        yield numbers[begin], numbers[end - 1]


def _read(connection: Connection, session_key: str, ranges: Sequence[Sequence[int]]) -> Iterator[tuple[int, str]]:
    asked = [(_BODIES, {"session": session_key, "first": first, "last": last}) for first, last in ranges]
    for rows in fetch_together(connection, *asked):
        yield from ((number, body) for number, body in rows)
