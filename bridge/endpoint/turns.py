"""Which run and segment a request asks for.

results of a known ticket at the end of the transcript  -> the segment after that ticket
the same request as one whose answer was not taken yet  -> its first segment, from the beginning
anything else                                           -> a new run
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.access import Token
from bridge.app_inputs import start_inputs
from bridge.auth import shown
from bridge.config import App
from bridge.endpoint.ask import Ask
from bridge.endpoint.recall import results_with_our_ids, with_our_ids
from bridge.endpoint.tool_results import woven
from bridge.errors import InvalidRequest
from bridge.requests import Reply, RunRequest
from bridge.runs import MAX_ATTEMPTS, Runs
from bridge.segments import Calls, End, Segment
from bridge.sessions import Session, Turn, auxiliary, continues, identify, split_turn, transcript_keys, turn_key
from bridge.store.rows import RunRow, SessionRow, TicketRow
from bridge.tickets import Tickets
from tools.fingerprint import text_digest
from tools.ids import random_name
from tools.results import Message, ToolResult, text_of
from tools.wire import Usage

log = logging.getLogger("clawback.endpoint")

UNFINISHED = frozenset({"running", "suspended"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What a response tells: this segment of this run. `fresh` says that the run has only just begun."""

    run_id: str
    segment: Segment
    fresh: bool = False


class Turns:
    """Finds or makes the run behind each request."""

    def __init__(self, runs: Runs, tickets: Tickets) -> None:
        self._runs = runs
        self._tickets = tickets
        self._store = runs.store

    def respond(self, headers: Mapping[str, str], app: App, ask: Ask) -> Reading:
        """Return what answers the request. Raises BridgeError."""
        ask = self._with_our_ids(headers, app, ask)
        messages = woven(self._store, ask.messages, ask.results) if ask.results else ask.messages
        turn = split_turn(messages)
        asked = RunRequest(
            messages=messages,
            turn=turn.index,
            query=turn.query,
            tools=ask.tools,
            tool_choice=ask.tool_choice,
            parallel_tool_calls=ask.parallel_tool_calls,
            parameters=ask.parameters,
            inputs=ask.inputs,
            asker=shown(),
        )
        # Dify may have to be asked what it takes, which must keep nobody else waiting.
        self._runs.catalogue.of(self._serving(app, auxiliary(headers, ask.body)))
        with self._runs.lock:
            continued = self._continue(app, asked, turn, ask) if turn.is_follow_up else None
            return continued or self._begin(app, asked, headers, ask.body, messages)

    def _with_our_ids(self, headers: Mapping[str, str], app: App, ask: Ask) -> Ask:
        session = _session(headers, ask.messages, ask.body).key
        messages = with_our_ids(self._store, session, app.model, ask.messages)
        results = results_with_our_ids(self._store, session, app.model, messages, ask.results)
        return replace(ask, messages=messages, results=results)

    # A follow-up

    def _continue(self, app: App, asked: RunRequest, turn: Turn, ask: Ask) -> Reading | None:
        ticket, run = self._ticket_of(app, turn, asked.asker)
        if ticket is None or run is None or ticket.state in {"cancelled", "expired"} or run.state == "cancelled":
            # The transcript is the truth: a new run goes on from the results that it holds.
            return None
        reply = Reply(messages=turn.after_results, tools=asked.tools, tool_choice=asked.tool_choice)
        own = {call.id for call in ticket.calls}
        errors = {result.tool_call_id for result in ask.results if result.is_error}
        results = [
            ToolResult(tool_call_id=call_id, output=text_of(content), is_error=call_id in errors)
            for call_id, content in turn.results
            if call_id in own
        ]
        # What is refused changes nothing, and so not who drives the run either.
        self._tickets.check(ticket, results)
        run = self._take_over(run)
        ticket = self._tickets.add_results(ticket.id, results, reply)
        if ticket.missing() and ask.one_call:
            return Reading(run.id, _next_call(ticket))
        if ticket.missing():
            raise InvalidRequest(
                "an assistant message with tool_calls must be followed by a tool message for each tool_call_id; "
                f"missing: {', '.join(ticket.missing())}. The results that came are kept",
                code="missing_tool_results",
                param="messages",
            )
        return self._segment_after(app, run, ticket, asked)

    def _take_over(self, run: RunRow) -> RunRow:
        """Make a run that this process does not drive its own, before whoever drove it can go on with the results.

        That is the plugin of a bridge that was killed, or another bridge that shares the store.
        """
        live = self._runs.live(run.id)
        if run.state != "running" or (live and live.attempt == run.attempt):
            return run
        self._store.update_run(run.id, attempt=run.attempt + 1)
        return self._store.run(run.id) or run

    def _ticket_of(self, app: App, turn: Turn, asker: Token) -> tuple[TicketRow | None, RunRow | None]:
        tickets = self._store.tickets_of_calls([call_id for call_id, _ in turn.results])
        if not tickets:
            return None, None
        run = self._store.run(tickets[-1].run_id)
        if run is None or run.model not in {app.model, app.auxiliary}:
            return None, None
        is_own = RunRequest.model_validate_json(run.request).asker == asker
        return (tickets[-1], run) if is_own else (None, None)

    def _segment_after(self, app: App, run: RunRow, ticket: TicketRow, asked: RunRequest) -> Reading | None:
        number = (ticket.segment if ticket.segment is not None else -1) + 1
        # What a suspended run would tell next, it tells when it is resumed.
        live = self._runs.live(run.id) if run.state != "suspended" else None
        live = live if live and live.attempt == run.attempt else None
        segment = live.segment(number) if live else None
        segment = segment or self._runs.told(run.id, number)
        if segment and not segment.failed:
            return Reading(run.id, segment)
        if run.state == "finished":
            return None
        resumed = self._runs.resume(run, self._runs.app(run.model) or app, asked)
        return Reading(run.id, resumed.current)

    # A new turn

    def _begin(
        self,
        app: App,
        asked: RunRequest,
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        messages: Sequence[Message],
    ) -> Reading:
        if asked.turn is None:
            raise InvalidRequest("messages holds no user message to answer", code="no_user_message", param="messages")
        session = _session(headers, messages, body)
        key = turn_key(session.key, app.model, messages)
        joined = self._join(session, key, asked, again=_is_retry(headers))
        joined = joined or self._take_up(app, session, key)
        if joined:
            return joined
        asked.anonymous = session.key is None
        kind = auxiliary(headers, body)
        serving = self._serving(app, kind)
        facts = self._runs.catalogue.of(serving)
        asked.inputs = start_inputs(serving, facts, messages, asked.query, body, asked.inputs)
        row = self._session_row(app, session, messages)
        if kind is None:
            self._supersede(row, session, messages)
        live = self._runs.start(serving, asked, row, key, kind)
        return Reading(live.run_id, live.current, fresh=True)

    def _serving(self, app: App, kind: str | None) -> App:
        """Return the app that does what is asked of `app`: OpenClaw's own calls may have another one."""
        other = self._runs.app(app.auxiliary) if kind and app.auxiliary else None
        return other or app

    def _take_up(self, app: App, session: Session, key: str) -> Reading | None:
        """Return what the same request gets already from a run that let go of its workflow, or whose bridge was killed.

        Its calls are told once more; where they never were, the run goes on from what is in the store.
        """
        run = self._store.latest_run_of_turn(key) if session.key else None
        live = self._runs.live(run.id) if run else None
        if run is None or run.attempt >= MAX_ATTEMPTS or run.state not in ({"suspended"} if live else UNFINISHED):
            return None
        segment = self._runs.told(run.id, 0) or (live and live.current)
        return Reading(run.id, segment or self._runs.resume(run, self._runs.app(run.model) or app).current)

    def _join(self, session: Session, key: str, asked: RunRequest, *, again: bool) -> Reading | None:
        """Return what the same request gets already, where whoever sends it was not told all of it.

        A client that names no session may be another one that happens to say the same, so it joins only what its own
        first request left behind, with the same tools and parameters, or where it says that it tries again.
        """
        run = self._store.latest_run_of_turn(key)
        live = self._runs.live(run.id) if run else None
        if run is None or live is None or run.state not in {"running", "finished"}:
            return None
        segment = live.segment(0) or self._runs.told(run.id, 0)
        if segment is None or segment.failed:
            return None
        mine = session.key is not None or (segment.abandoned and _asks_alike(run, asked))
        waits = not segment.delivered and (bool(segment.readers) or self._may_return(segment))
        return Reading(run.id, segment) if again or (mine and (run.state == "running" or waits)) else None

    def _may_return(self, segment: Segment) -> bool:
        return segment.abandoned and time.monotonic() - segment.left_at <= self._runs.config.limits.grace_seconds

    def _session_row(self, app: App, session: Session, messages: Sequence[Message]) -> SessionRow:
        if session.key:
            key = text_digest(f"{app.model}\n{session.key}")
            known = self._store.session(key)
        else:
            key = random_name()
            known = self._store.take_session_of_transcript(app.model, transcript_keys(messages))
        return known or SessionRow(key=key, model=app.model, dify_user=f"clawback-{key}", conversation_id="")

    def _supersede(self, row: SessionRow, session: Session, messages: Sequence[Message]) -> None:
        """A new turn takes the place of runs of its session that only wait for results which are not coming.

        So it does of those that nobody drives any more, since the bridge was killed under them. Where the session's
        name is one that several conversations may share, a run of another conversation goes on.
        """
        for run in self._store.unfinished_runs_of_session(row.key):
            request = RunRequest.model_validate_json(run.request)
            if session.may_be_several and not continues(messages, request.messages):
                continue
            live = self._runs.live(run.id)
            waits = live is None or run.state == "suspended" or bool(self._store.tickets_of_run(run.id, "open"))
            if waits and run.auxiliary is None and (live is None or not live.current.readers):
                self._runs.cancel(run.id, "the client began a new turn instead of sending the results")


def _session(headers: Mapping[str, str], messages: Sequence[Message], body: Mapping[str, Any]) -> Session:
    """Return the session of the request at hand. What commands of this machine ask is no part of any client's."""
    session = identify(headers, messages, body)
    return session if shown() is Token.CLIENT else replace(session, key=f"{shown()}:{session.key or random_name()}")


def _asks_alike(run: RunRow, asked: RunRequest) -> bool:
    """Say whether a run was begun with what this request asks for, but for the words of its transcript."""
    begun = RunRequest.model_validate_json(run.request)
    return (begun.tools, begun.tool_choice, begun.parameters) == (asked.tools, asked.tool_choice, asked.parameters)


def _is_retry(headers: Mapping[str, str]) -> bool:
    """Say whether one of OpenAI's own SDKs sends the request again because it did not get the answer."""
    count = {name.lower(): value for name, value in headers.items()}.get("x-stainless-retry-count", "")
    return count.isdigit() and int(count) > 0


def _next_call(ticket: TicketRow) -> Segment:
    """Return the response that asks for the next call of a ticket, for a client that takes one at a time."""
    segment = Segment(ticket.segment or 0)
    waiting = next(call.call() for call in ticket.calls if call.output is None)
    segment.add(Calls((waiting,)), End("tool_calls", Usage()))
    return segment
