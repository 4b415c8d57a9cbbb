"""Which run and segment a request asks for, whichever of the endpoint's languages it came in."""

import logging
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from bridge.api.access import DEFAULT, client_name, client_row, shown
from bridge.api.openai.call_ids import gathered, is_stand_in, read_from_text, results_with_our_ids, with_our_ids, woven
from bridge.api.openai.keepalive import ClientGone, is_gone
from bridge.api.quotas import Quotas
from bridge.config import App
from bridge.dify.apps import AppFacts
from bridge.errors import BridgeError, Gone, InvalidRequest
from bridge.runs.answers.view import prompt_tokens
from bridge.runs.core import Core
from bridge.runs.executors.registry import Catalogue
from bridge.runs.inputs import given_inputs, start_inputs
from bridge.runs.requests import Reply, RequestKeys, RunRequest, as_asked
from bridge.runs.runs import LOOK_SECONDS, MAX_ATTEMPTS, moved
from bridge.runs.segments import Calls, End, Failure, Segment, extent
from bridge.runs.services import in_background
from bridge.runs.sessions.conversations import Seeker
from bridge.runs.sessions.sessions import (
    Session,
    auxiliary,
    digest,
    frame_of,
    identify,
    request_key,
    split_turn,
    turn_key,
)
from bridge.runs.sessions.turn import Answers, answers_of, is_worded, result_ids
from bridge.runs.tickets.moves import digest as digest_of
from bridge.runs.transcripts import Said, transcript_of
from bridge.store import clock
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import RunRow, TicketRow
from tools.choices import ToolChoice
from tools.definitions import ToolDefinition
from tools.marker import without_markers
from tools.results import Message, ToolResult
from tools.run_states import UNFINISHED
from tools.wire import Usage


@dataclass(frozen=True, slots=True)
class Words:
    """What a language calls the field of the transcript, what it asks of a round's results, and how it calls one."""

    transcript: str = "messages"
    whole_round: str = "an assistant message with tool_calls must be followed by a tool message for each tool_call_id"
    result: str = "the tool message with that tool_call_id"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request in the terms of chat completions; `words` are those of its own language, for what is wrong with it.

    `body` is the request as it came, for what tells sessions apart. `results` are results that came beside the
    transcript. `one_call` says that the client takes one call at a time. `follows` is the run that the client says it
    goes on with: no other's calls are answered.
    """

    model: str
    body: Mapping[str, Any]
    messages: Sequence[Message]
    tools: list[ToolDefinition] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    results: list[ToolResult] = field(default_factory=list)
    one_call: bool = False
    follows: str | None = None
    words: Words = Words()


log = logging.getLogger("clawback.endpoint")

IDEMPOTENCY_SECONDS = 600.0
ECHO_SECONDS = 1.0
_REACH = (1, 16, 200)
"""The open round is looked for by the last result, by so many before it, by more of them, and then by all others."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request is about, made once: who asks which app for what.

    Calls of OpenClaw's own, which are of a `kind`, may have another app than `app`: `serving` does what is asked, and
    Dify says `facts` of it. `ask` has the bridge's ids of the calls, and `asked` is what a run of it starts with.
    """

    headers: Mapping[str, str]
    app: App
    session: Session
    ask: Ask
    asked: RunRequest
    kind: str | None
    serving: App
    facts: AppFacts


@dataclass(frozen=True, slots=True)
class Reading:
    """What a response tells: this segment of this run. `fresh` says that the run has only just begun."""

    run_id: str
    segment: Segment
    fresh: bool = False


class Turns:
    """Finds or makes the run behind each request."""

    def __init__(self, core: Core) -> None:
        self._services, self._store = core.services, core.store
        self._limits = core.services.config.limits
        self._live_runs = core.live_runs
        self._recorded = core.recorded
        self._runs = core.runs
        self._tickets = core.tickets
        self.quotas = Quotas(core.store, core.services.config.limits)
        self._conversations = core.conversations
        self._registry = core.registry

    def respond(
        self, headers: Mapping[str, str], app: App, ask: Ask, connection: socket.socket | None = None
    ) -> Reading:
        """Return what answers the request, to the client at `connection`. Raises BridgeError."""
        conversation = self._conversation(headers, app, ask)
        if continued := self._continue(conversation):
            return continued
        session = conversation.session
        with self._services.locks.of(f"session {session.row_key(app.model) if session.alone else session.scope}"):
            if is_gone(connection):
                # Its repeat may have come before it, and have the run.
                raise ClientGone
            reading = self._begin(conversation)
            reading.segment.expect(connection)
            return reading

    def _conversation(self, headers: Mapping[str, str], app: App, ask: Ask) -> Conversation:
        session = _session(headers, ask)
        ask = self._cleaned(session, app, ask)
        given = woven(self._store, client_name(), ask.messages, ask.results) if ask.results else ask.messages
        messages = transcript_of(given)
        turn = split_turn(messages)
        asked = RunRequest(
            messages=messages,
            turn=turn.index,
            query=as_asked(turn.query),
            tools=ask.tools,
            tool_choice=ask.tool_choice,
            parallel_tool_calls=ask.parallel_tool_calls,
            parameters=ask.parameters,
            inputs=ask.inputs,
            asker=shown(),
            client=client_name(),
        )
        kind = auxiliary(headers, {**ask.body, "messages": messages})
        serving = (kind and app.auxiliary and self._services.apps.get(app.auxiliary)) or app
        # Dify may have to be asked what it takes, which must keep nobody else waiting.
        facts = self._services.apps.catalogue.of(serving)
        return Conversation(headers, app, session, ask, asked, kind, serving, facts)

    def _cleaned(self, session: Session, app: App, ask: Ask) -> Ask:
        """Return the request with our ids of its calls, and without what others might take for a run's marker."""
        client = client_name()
        told = read_from_text(self._store, client, _without_markers(ask.messages))
        messages = with_our_ids(self._store, client, session, app.model, told)
        results = results_with_our_ids(self._store, client, session, app.model, messages, ask.results)
        return replace(ask, messages=messages, results=results, inputs=without_markers(ask.inputs))

    # A follow-up

    def _continue(self, conversation: Conversation) -> Reading | None:
        app, session, ask, asked = conversation.app, conversation.session, conversation.ask, conversation.asked
        ticket, run = self._ticket_of(app, asked, ask.follows)
        if ticket is None or run is None or not self._conversations.belongs(run, session, app.model):
            return None
        run = self._runs.once_begun(run)
        ticket = self._tickets.known(ticket.id)
        if ticket.state in {"cancelled", "expired"} or run.state == "cancelled":
            # The transcript is the truth: a new run goes on from the results that it holds.
            return None
        answers = answers_of(asked.messages, {call.id for call in ticket.client_calls})
        results = _results(answers, ticket, ask)
        missing = set(ticket.unanswered()).difference(result.tool_call_id for result in results)
        if _is_new_turn(ticket, answers, missing):
            return None
        if _are_late(ticket, results):
            self._runs.cancel(run.id, "its client had given up a result that came after all")
            return None
        # What is refused changes nothing, and so not who drives the run either.
        with _named_in(ask.words):
            self._tickets.check(ticket, results)
        began = self._services.requests.of(run)
        if began.places is not None:
            asked = self._with_executors(asked)
        reply = Reply(messages=answers.said, tools=asked.tools, places=asked.places, tool_choice=asked.tool_choice)
        if (asked.tools, asked.places) == (began.tools, began.places) and not self._has_changed_tools(run):
            reply.tools = reply.places = None
        told = transcript_of(gathered(asked.messages, ticket))
        asked = asked.model_copy(update={"messages": told, "turn": split_turn(told).index})
        with self._services.locks.of(run.id):
            taken = None if self._live_runs.driving(run) else run
            ticket = self._tickets.add_results(ticket.id, results, reply, latest=asked, taken=taken)
            if not ticket.unanswered():
                return self._segment_after(app, self._store.run(run.id) or run, ticket, asked)
        if ask.one_call or _was_cut(ask.messages, ticket):
            return Reading(run.id, _next_call(ticket))
        raise InvalidRequest(
            f"results are missing, of {', '.join(ticket.unanswered())}: {ask.words.whole_round}. "
            "The bridge keeps those that arrived",
            code="missing_tool_results",
            param="messages",
        )

    def _has_changed_tools(self, run: RunRow) -> bool:
        """Whether a follow-up of a run has brought other tools than the run began with."""
        record = self._store.record(run.id)
        replies = [ticket.reply for ticket in record.tickets.values() if ticket.reply] if record else []
        return any(Reply.model_validate_json(reply).tools is not None for reply in replies)

    def _ticket_of(self, app: App, asked: RunRequest, follows: str | None) -> tuple[TicketRow | None, RunRow | None]:
        ids = result_ids(asked.messages)
        newest = (ids[-before : -after or None] for after, before in pairwise((0, *_REACH, len(ids) + 1)))
        found = (self._store.tickets_of_calls(each, asked.client) for each in newest)
        followed = ([ticket for ticket in tickets if follows in {None, ticket.run_id}] for tickets in found)
        tickets = next(filter(None, followed), None)
        if tickets is None:
            return None, None
        # Nodes side by side open tickets in another order than the client is given them.
        place = {call_id: number for number, call_id in enumerate(ids)}
        ticket = max(tickets, key=lambda ticket: max(place.get(call.id, -1) for call in ticket.calls))
        run = self._store.run(ticket.run_id)
        if run is None or run.model not in {app.model, app.auxiliary}:
            return None, None
        is_own = self._services.requests.asker(run) == asked.asker
        return (ticket, run) if is_own else (None, None)

    def _segment_after(self, app: App, run: RunRow, ticket: TicketRow, asked: RunRequest) -> Reading | None:
        number = (ticket.segment if ticket.segment is not None else -1) + 1
        if run.state == "finished":
            return self._told(run, number)
        return self._gone_on(run, self._services.apps.get(run.model) or app, number, asked)

    def _told(self, run: RunRow, number: int) -> Reading | None:
        """Return this segment of a run if it is told here, or was told anywhere."""
        # What a suspended run would tell next, it tells when it is resumed.
        live = self._live_runs.driving(run) if run.state != "suspended" else None
        segment = (live.segment(number) if live else None) or self._recorded.segment(run.id, number)
        return Reading(run.id, segment) if segment and not segment.failed else None

    def _gone_on(self, run: RunRow, app: App, number: int, asked: RunRequest | None = None) -> Reading:
        """Return what a run tells in this segment, here or at another bridge."""
        reading = self._here(run, app, number, asked)
        if reading is None:
            reading = Reading(run.id, Segment(number))
            reading.segment.is_echo = True
            in_background(self._echo, run.id, app, reading.segment, asked)
        return reading

    def _here(self, run: RunRow, app: App, number: int, asked: RunRequest | None) -> Reading | None:
        """Let a run go on to tell this segment, unless it is told meanwhile; None while another bridge is at it.

        It waits for nothing: a node that attaches waits for the run's lock, which whoever asks may hold.
        """
        while (told := self._told(run, number)) is None and not self._is_elsewhere(run):
            try:
                resumed = self._runs.resume(run, app, asked, untold=number)
            except Gone as error:
                now = self._store.run(run.id) or run
                if error.code == "run_moved" and now.attempt != run.attempt:
                    run = now
                elif told := self._told(now, number):
                    return told
                else:
                    raise
            else:
                again = resumed.segment(number)
                return Reading(run.id, again if again and again.asks else resumed.current)
        return told

    def _is_elsewhere(self, run: RunRow) -> bool:
        return self._live_runs.is_driven_elsewhere(run) or self._runs.is_beginning(run)

    def _echo(self, run_id: str, app: App, echo: Segment, asked: RunRequest | None) -> None:
        """Tell what another bridge tells, once it is whole; go on with the run as soon as that bridge does not."""
        try:
            while not echo.is_left:
                with suppress(StoreUnavailable):
                    if reading := self._found(run_id, app, echo.number, asked):
                        self._repeat(reading, echo)
                        return
                time.sleep(LOOK_SECONDS)
        except BridgeError as error:
            echo.add(Failure(error))
        except Exception:
            log.exception("what another bridge told could not be repeated", extra={"run": run_id})
            echo.add(Failure(moved()))

    def _found(self, run_id: str, app: App, number: int, asked: RunRequest | None) -> Reading | None:
        run = self._store.run(run_id)
        if run and run.state in UNFINISHED:
            return self._here(run, app, number, asked)
        if run and (told := self._told(run, number)):
            return told
        raise moved()

    def _repeat(self, reading: Reading, echo: Segment) -> None:
        source, position, is_whole = reading.segment, 0, False
        self._runs.enter_reading(reading.run_id, source)
        try:
            while not (is_whole or echo.is_left):
                events = source.read(position, ECHO_SECONDS)
                echo.add(*events)
                position += sum(map(extent, events))
                is_whole = source.closed and position >= source.length
        finally:
            self._runs.leave_reading(reading.run_id, source, complete=is_whole, broken=not is_whole)

    # A new turn

    def _begin(self, conversation: Conversation) -> Reading:
        app, session, asked = conversation.app, conversation.session, conversation.asked
        kind, serving, facts = conversation.kind, conversation.serving, conversation.facts
        headers, body = conversation.headers, conversation.ask.body
        if asked.turn is None:
            raise InvalidRequest(
                f"{conversation.ask.words.transcript} holds no user message to answer",
                code="no_user_message",
                param="messages",
            )
        keys = self._keys(app, session, asked, headers)
        if joined := self._joined(app, session, keys):
            return joined
        may_begin = self.quotas.may_begin(client_row(), serving, lambda: prompt_tokens(asked.messages, asked.tools))
        given = given_inputs(facts, body, asked.inputs)
        # What a name of its own leads to needs nothing else to be known again.
        asked.given, asked.frame = digest(given), "" if session.alone else frame_of(headers, asked.messages)
        asked.inputs = without_markers(start_inputs(serving, facts, asked.messages, asked.query, body, given))
        if serving.tools == "client+executors" and kind is None:
            asked = self._with_executors(asked)
        seeker = Seeker(app, session, asked.client, keys.turn, asked.messages, asked.given, asked.frame)
        live = None if kind else self._runs.start(serving, asked, self._conversations.of(seeker), keys, may_begin)
        if live is None:
            # The run that is in its way may be this same request's, at another bridge.
            if kind is None and (joined := self._joined(app, session, keys)):
                return joined
            session_apart = self._conversations.apart(seeker)
            live = self._runs.start_apart(serving, asked, session_apart, keys, kind, may_begin)
        return Reading(live.run_id, live.current, fresh=True)

    def _with_executors(self, asked: RunRequest) -> RunRequest:
        """Return the request with the tools of executors, unless it demands a call of the client's own."""
        demands = asked.tool_choice not in {None, "auto", "none"}
        catalogue = Catalogue(asked.tools) if demands else self._registry.catalogue(asked.tools)
        return asked.model_copy(update={"tools": catalogue.tools, "places": catalogue.places})

    def _joined(self, app: App, session: Session, keys: RequestKeys) -> Reading | None:
        """Return what the same request gets already."""
        if repeated := self._repeated(keys):
            return repeated
        latest = self._store.latest_run_of_turn(keys.turn) if session.alone else None
        return self._join(latest, session, keys) or self._take_up(latest or self._unheard(session, keys), app)

    def _keys(self, app: App, session: Session, asked: RunRequest, headers: Mapping[str, str]) -> RequestKeys:
        whole = request_key(session, app.model, asked)
        named = {name.lower(): value for name, value in headers.items()}.get("idempotency-key", "").strip()
        return RequestKeys(
            turn=turn_key(session, app.model, asked.messages),
            request=whole,
            idempotency=digest([named, whole]) if named else None,
        )

    def _repeated(self, keys: RequestKeys) -> Reading | None:
        """Return the answer to the same request under the same Idempotency-Key, once more."""
        since = clock.now() - IDEMPOTENCY_SECONDS
        run = self._store.run_of_idempotency_key(keys.idempotency, since) if keys.idempotency else None
        if run is None or run.state not in {*UNFINISHED, "finished"}:
            return None
        run = self._runs.once_begun(run)
        live = self._live_runs.driving(run)
        segment = (live.segment(0) if live else None) or self._recorded.segment(run.id, 0)
        if segment is None:
            return self._resumed(run) if run.state in UNFINISHED else None
        return None if segment.failed else Reading(run.id, segment)

    def _take_up(self, found: RunRow | None, app: App) -> Reading | None:
        """Return what the same request gets already from a run that let go of its workflow, or whose bridge was killed.

        Its calls are told once more; where they never were, the run goes on from what is in the store. A client whose
        name may be another's as well gets only what nobody can have been told yet.
        """
        run = self._runs.once_begun(found) if found else None
        if run and run.state == "finished":
            return self._owed(run)
        live = self._live_runs.driving(run) if run else None
        # What is over here may not be so in the store: how it ended could not be written.
        live = live if live and not live.over else None
        if run is None or run.attempt >= MAX_ATTEMPTS or run.state not in ({"suspended"} if live else UNFINISHED):
            return None
        segment = self._recorded.segment(run.id, 0) or (live and live.current)
        return Reading(run.id, segment) if segment else self._resumed(run)

    def _owed(self, run: RunRow) -> Reading | None:
        """Return the answer of a run whose client was sent away while a person had a form to answer."""
        is_first = len(self._store.segments(run.id)) == 1
        segment = self._recorded.segment(run.id, 0) if is_first and self._store.forms.is_owed(run.id) else None
        if segment is None:
            return None
        segment.is_owed = True
        return Reading(run.id, segment)

    def _unheard(self, session: Session, keys: RequestKeys) -> RunRow | None:
        """Find a run whose bridge was killed before anything of it was told whole, and its connection with it."""
        if session.alone or self._services.config.is_shared:
            # Its name finds it, or another bridge may drive it, whose client is still there.
            return None
        begun = self._begun_by(keys)
        owed = next((run for run in begun if run.state == "finished" and self._store.forms.is_owed(run.id)), None)
        runs = [run for run in begun if run.state in UNFINISHED]
        unheard = (run for run in runs if not self._live_runs.get(run.id) and not self._recorded.segment(run.id, 0))
        return next(unheard, owed)

    def _resumed(self, run: RunRow) -> Reading | None:
        app = self._services.apps.get(run.model)
        return self._gone_on(run, app, 0) if app else None

    def _join(self, run: RunRow | None, session: Session, keys: RequestKeys) -> Reading | None:
        """Return what the same request gets already, where whoever sends it was not told all of it.

        A name that counts alone leads to one client, whose retries may be rewritten. Of all others the whole request
        is the same, and the connection that began the run has ended before its answer was told whole.
        """
        if session.alone:
            segment = self._first_segment(run) if run else None
            is_read = segment and (segment.readers or segment.expected)
            waits = segment and (is_read or self._may_return(segment)) and not segment.delivered
            return Reading(run.id, segment) if run and segment and (run.state == "running" or waits) else None
        for run in self._begun_by(keys):
            segment = self._first_segment(run)
            if segment and not segment.delivered and _is_broken(segment):
                return Reading(run.id, segment)
        return None

    def _begun_by(self, keys: RequestKeys) -> list[RunRow]:
        since = clock.now() - self._limits.run_seconds
        return self._store.runs_of_request(keys.request, since) if keys.request else []

    def _first_segment(self, run: RunRow) -> Segment | None:
        live = self._live_runs.driving(run)
        is_paused = run.state == "suspended" and bool(self._store.forms.pausing(run))
        if live is None or not (is_paused or run.state in {"running", "finished"}):
            return None
        segment = live.segment(0) or self._recorded.segment(run.id, 0)
        return None if segment is None or segment.failed else segment

    def _may_return(self, segment: Segment) -> bool:
        return segment.abandoned and time.monotonic() - segment.left_at <= self._limits.grace_seconds


def _without_markers(messages: Sequence[Message]) -> Sequence[Message]:
    if set(map(type, messages)) == {Said}:
        return messages
    return [message if isinstance(message, Said) else without_markers(message) for message in messages]


def _session(headers: Mapping[str, str], ask: Ask) -> Session:
    """Return the session of the request at hand: each client has its own, and so have commands of this machine."""
    session = identify(headers, ask.messages, ask.body)
    name = client_name()
    return session if name == DEFAULT else replace(session, former=None, owner=name)


def _is_broken(segment: Segment) -> bool:
    """Say whether the connections of all who read a segment, or are about to, have ended.

    A client may try again before that is noticed.
    """
    told = [*segment.connections, *segment.expected]
    return all(map(is_gone, told)) if told else segment.broken


def _was_cut(messages: Sequence[Message], ticket: TicketRow) -> bool:
    """Say whether the client never got the calls that are missing: its stream broke behind those that it has run."""
    held = {call["id"] for message in messages for call in message.get("tool_calls") or ()}
    return any(call.id in held for call in ticket.client_calls) and held.isdisjoint(ticket.unanswered())


def _results(answers: Answers, ticket: TicketRow, ask: Ask) -> list[ToolResult]:
    """Return the results that count: the first of each call, and a client's stand-in only where nothing else came.

    Stand-ins are taken when they are all that is missing: the client has given up then.
    """
    given = {result.tool_call_id: result for result in reversed(ask.results)}
    came: dict[str, ToolResult] = {}
    stand_ins: dict[str, ToolResult] = {}
    for call_id, content in answers.results:
        result = _result(call_id, content)
        if call_id in given:
            result.is_error = given[call_id].is_error
            result.images = result.images or given[call_id].images
        (stand_ins if is_stand_in(result.output) else came).setdefault(call_id, result)
    if set(ticket.unanswered()) <= {*came, *stand_ins}:
        for call_id, result in stand_ins.items():
            came.setdefault(call_id, result)
    settled = {call.id: call.output for call in ticket.client_calls if call.output is not None}
    return [result for result in came.values() if not (result.tool_call_id in settled and is_stand_in(result.output))]


def _are_late(ticket: TicketRow, results: Sequence[ToolResult]) -> bool:
    """Say whether a result came for which its client had sent a stand-in: then nothing of that run counts."""
    own = ticket.client_calls
    given_up = {call.id: call.digest for call in own if call.output is not None and is_stand_in(call.output)}
    return any(given_up.get(result.tool_call_id) not in {None, digest_of(result)} for result in results)


def _result(call_id: str, content: object) -> ToolResult:
    try:
        return ToolResult.model_validate({"tool_call_id": call_id, "output": content or ""})
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"the result of {call_id}: {problem}", param="messages") from None


@contextmanager
def _named_in(words: Words) -> Iterator[None]:
    """Say what is wrong with a result in the words of its language: only an executor's has a field `output`."""
    try:
        yield
    except BridgeError as error:
        if error.param == "output":
            error.param = "messages"
        if error.code == "result_conflict":
            error.message += f": send that one again in {words.result}, or go on with a new user message"
        raise


def _is_new_turn(ticket: TicketRow, answers: Answers, missing: Collection[str]) -> bool:
    """Say whether the user has moved on, instead of waiting for this round's results or for the answer to them."""
    if answers.passed:
        return True
    if ticket.state == "open" and ticket.unanswered():
        return bool(missing) and answers.new_words
    before = Reply.model_validate_json(ticket.reply).messages if ticket.reply else []
    return answers.answered or answers.words > sum(map(is_worded, before))


def _next_call(ticket: TicketRow) -> Segment:
    """Return the response that asks for the next call of a ticket, for a client that has not got it yet."""
    segment = Segment(ticket.segment or 0)
    waiting = next(call.call() for call in ticket.client_calls if call.output is None)
    segment.add(Calls((waiting,)), End("tool_calls", Usage()))
    return segment
