"""Leads each request to its conversation, by the rule that stands in bridge.runs.sessions.sessions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from bridge.config import App
from bridge.runs.live import LiveRuns
from bridge.runs.recorded import Recorded
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.runs.sessions.sessions import Past, Session, past_of
from bridge.store.rows import ExchangeRow, RunRow, SessionRow, new_user
from tools.ids import random_name
from tools.results import Message

_MOVED_ON = "the client began a new turn instead of sending the results"
_MOST_CALLS = 200
ENOUGH = 2
"""So many of the last exchanges must be the same, where not all of the transcript is."""

LONG_ENOUGH = 120
"""Or the last of them has so many characters that nobody says the same by accident."""


@dataclass(frozen=True, slots=True)
class Seeker:
    """A request that looks for its conversation. `frame` and `inputs` are digests of what came beside its words.

    `turn` is the key that it has in common with its repetitions.
    """

    app: App
    session: Session
    client: str
    turn: str
    messages: Sequence[Message]
    inputs: str
    frame: str


class Conversations:
    """The sessions of clients, and which of them a request goes on with."""

    def __init__(self, services: Services, live_runs: LiveRuns, runs: Runs) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs
        self._recorded = Recorded(services)

    def of(self, seeker: Seeker) -> SessionRow:
        """Return the session that the request goes on with, a new one where there is none.

        Runs of it that only wait for results which are not coming are cancelled.
        """
        session, model = seeker.session, seeker.app.model
        if session.alone:
            key = session.row_key(model)
            row = self._store.session(key)
            if row and self._supersede(row, seeker.turn):
                row = self._store.session(key)
            return row or self._new(seeker, key)
        past = past_of(seeker.messages)
        return self._by_calls(seeker, past) or self._by_exchange(seeker, past) or self._new(seeker, random_name())

    def apart(self, seeker: Seeker) -> SessionRow:
        """Return the session that a call stands beside which is not its user's turn. It changes nothing of it."""
        session, model = seeker.session, seeker.app.model
        key = session.row_key(model) if session.alone else random_name()
        return self._store.session(key) or self._new(seeker, key)

    def belongs(self, run: RunRow, session: Session, model: str) -> bool:
        """Say whether a request under this name may go on with a run one of whose call ids it holds."""
        if session.alone:
            return run.session_key == session.row_key(model)
        row = self._store.session(run.session_key)
        if session.key is None or row is None or row.scope in {None, ""}:
            return True
        return row.scope == session.scope

    def _new(self, seeker: Seeker, key: str) -> SessionRow:
        return SessionRow(key, seeker.app.model, new_user(), conversation_id="", scope=seeker.session.scope)

    # Names that count alone

    def _supersede(self, row: SessionRow, turn: str) -> bool:
        """A new turn takes the place of runs that wait for results which are not coming, or that nobody drives.

        Return whether there was one.
        """
        superseded = False
        for run in self._unfinished(row):
            live = self._live_runs.driving(run)
            if live is None and run.turn_key == turn and self._services.config.is_shared:
                # The same request has come to another bridge meanwhile.
                continue
            waits = live is None or run.state == "suspended" or bool(self._store.tickets_of_run(run.id, "open"))
            if waits and (live is None or not live.current.readers):
                self._runs.cancel(run.id, _MOVED_ON)
                superseded = True
        return superseded

    def _unfinished(self, row: SessionRow) -> list[RunRow]:
        return [run for run in self._store.unfinished_runs_of_session(row.key) if run.auxiliary is None]

    # Names that may be shared, and none

    def _by_calls(self, seeker: Seeker, past: Past) -> SessionRow | None:
        """Find the session whose last turn gave out a call that the request's last turn holds."""
        tickets = self._store.tickets_of_calls(past.calls[-_MOST_CALLS:], seeker.client)
        run = self._store.run(tickets[-1].run_id) if tickets else None
        if run is None or run.auxiliary or run.direction != "endpoint" or run.model != seeker.app.model:
            return None
        row = self._store.session(run.session_key)
        if row is None or not self.belongs(run, seeker.session, seeker.app.model):
            return None
        latest = self._store.latest_turn_of_session(row.key)
        return self._taken(row, past) if latest and latest.id == run.id else None

    def _by_exchange(self, seeker: Seeker, past: Past) -> SessionRow | None:
        """Find the session whose latest exchange the request's transcript holds as its own latest.

        The same few words may have been said in several conversations, of this name or of others. Then all that the
        transcript holds has to tell which is meant.
        """
        if past.latest is None:
            return None
        said = self._store.exchanges.with_digest(past.latest)
        whole = [exchange for exchange in said if exchange.whole == past.whole]
        for exchange in sorted(whole or self._only(said, past), key=lambda exchange: exchange.frame != seeker.frame):
            row = self._latest_of(seeker, exchange)
            taken = self._taken(row, past) if row else None
            if taken:
                return taken
        return None if said else self._from_before(seeker, past)

    def _only(self, said: Sequence[ExchangeRow], past: Past) -> list[ExchangeRow]:
        """Return which of several is meant, none of which began as the transcript does.

        A trimmed beginning, a summary or an edited message does no harm where one conversation alone had this exchange,
        and it says enough: `thanks` and the answer to it may also come from a transcript that was made elsewhere.
        """
        alone = len({exchange.session_key for exchange in said}) == 1
        found = [exchange for exchange in (said[-1:] if alone else said) if self._agrees(exchange, past, alone=alone)]
        return found if len(found) == 1 else []

    def _agrees(self, exchange: ExchangeRow, past: Past, *, alone: bool) -> bool:
        """Say whether conversation and transcript have enough in common; all, where several are meant."""
        told = self._store.exchanges.up_to(exchange)
        pairs = list(zip(reversed(told), reversed(past.exchanges), strict=False))
        alike = next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))
        return (alike >= ENOUGH or past.length >= LONG_ENOUGH) and (alone or alike == len(pairs))

    def _latest_of(self, seeker: Seeker, exchange: ExchangeRow) -> SessionRow | None:
        row = self._store.session(exchange.session_key)
        if row is None or row.model != seeker.app.model or row.scope != seeker.session.scope:
            return None
        if exchange.inputs != seeker.inputs or self._store.exchanges.latest(row.key) != exchange:
            return None
        return row

    def _taken(self, row: SessionRow, past: Past) -> SessionRow | None:
        """Return the session if nobody else is at it: its runs under way are the request's own, or nobody's."""
        runs = self._unfinished(row)
        if not all(self._has_call_of(run, past.calls) or self._is_deserted(run) for run in runs):
            return None
        for run in runs:
            self._runs.cancel(run.id, _MOVED_ON)
        return self._store.session(row.key) if runs else row

    def _has_call_of(self, run: RunRow, calls: Collection[str]) -> bool:
        return any(call.id in calls for ticket in self._store.tickets_of_run(run.id) for call in ticket.calls)

    def _is_deserted(self, run: RunRow) -> bool:
        """Say whether the client went away before it had the run's answer, or the calls that it is to run."""
        tickets = self._store.tickets_of_run(run.id, "open")
        if any(ticket.segment is not None for ticket in tickets):
            return False
        live = self._live_runs.driving(run)
        if live is None:
            # Its bridge was killed, and the connection with it, unless another bridge drives it.
            return not self._services.config.is_shared
        return live.current.abandoned and not live.current.readers

    def _from_before(self, seeker: Seeker, past: Past) -> SessionRow | None:
        """Find a conversation that a version before 0.2 began, and make it one of this version."""
        row = self._begun_before(seeker, past)
        if row is None:
            return None
        named = replace(row, scope=seeker.session.scope)
        self._store.save_session(named)
        return named

    def _begun_before(self, seeker: Seeker, past: Past) -> SessionRow | None:
        session, model = seeker.session, seeker.app.model
        if session.owner:
            return None
        if session.key is None and session.former is None:
            return self._store.take_session_of_transcript(model, past.whole)
        former = session.former_row_key(model)
        row = self._store.session(former) if former else None
        if row is None or row.scope is not None:
            return None
        latest = self._store.latest_turn_of_session(row.key)
        record = self._store.record(latest.id) if latest and latest.state == "finished" else None
        said = self._recorded.past_of(self._services.requests.of(record.run), record) if record else None
        if said is None or said.latest != past.latest:
            return None
        return self._taken(row, past)
