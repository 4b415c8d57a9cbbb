"""How an invocation of the plugin finds the run it serves, and what an earlier try of it has done already."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence

from bridge.dify.errors import DifyError
from bridge.errors import Gone, InvalidRequest, Unavailable
from bridge.runs import request_id
from bridge.runs.executors.resuming import user_of
from bridge.runs.executors.runs import ExecutorRuns
from bridge.runs.live import LiveRun, LiveRuns
from bridge.runs.requests import Reply
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.runs.tickets.admission import Admission
from bridge.runs.tickets.omitting import said_with, unknown
from bridge.runs.transcripts import Transcript, asking_of, transcript_of
from bridge.store import clock
from bridge.store.rows import InvocationRow, MarkerRow, RunRow, TicketRow
from bridge.store.run_record import TAKEN_OVER, Change, RunRecord
from tools.carried import with_extras
from tools.ids import random_name
from tools.marker import marker_digest, new_secret, strip_markers
from tools.results import Message
from tools.wire import (
    PROTOCOL,
    Answer,
    AttachRequest,
    AttachResponse,
    Digests,
    DraftRequest,
    OpenTicket,
    RecordRequest,
    Round,
)

log = logging.getLogger("clawback.attach")

Opens = Callable[[str, str], bool]

BEAT = "beat:"
"""The wake-up of all other bridges: the plugin told the bridge that follows of an invocation of a run."""

BACKLOG_SECONDS = 10.0
"""For so long after it began, or was stopped, a bridge may answer requests that waited for it: they are older than
they say."""


class Invocations:
    """The plugin's invocations, as the runs of this bridge know them."""

    def __init__(
        self,
        services: Services,
        live_runs: LiveRuns,
        runs: Runs,
        executor_runs: ExecutorRuns,
        admission: Admission,
    ) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs
        self._admission = admission
        self._executor_runs = executor_runs
        self._delayed: set[str] = set()
        self._beats = live_runs.beats
        self._name = random_name()
        services.wakeups.when(BEAT, self._heard_elsewhere)

    def run_of(
        self, *, run_id: str | None = None, ticket_id: str | None = None, invocation_id: str | None = None
    ) -> list[RunRow]:
        """Return the runs that these ids name, as far as they are known."""
        ticket = self._store.ticket(ticket_id) if ticket_id else None
        invocation = self._store.invocation(invocation_id) if invocation_id else None
        ids = {run_id, ticket and ticket.run_id, invocation and invocation.run_id}
        return [run for each in ids if each and (run := self._store.run(each))]

    def attach(self, request: AttachRequest, opens: Opens = lambda *_: True) -> AttachResponse:
        """Find the run and return its transcript, its tools, and what to replay. No run is an answer, not an error.

        `opens` says whether whoever asks may have the runs of a model and a direction.
        """
        if request.protocol != PROTOCOL:
            raise InvalidRequest(
                f"the plugin uses protocol {request.protocol}, and this bridge {PROTOCOL}: install the same version "
                "of both",
                code="protocol_mismatch",
            )
        asked_at = clock.now() - request.age_seconds
        # What an executors' run is called in Dify's history, where its question is looked for to resume it.
        secret = new_secret()

        def attached(change: Change) -> RunRecord:
            return self._attached(change, request, asked_at, secret)

        # An invocation that asks again because it did not get the answer is known.
        known, user = self._store.attaching(request.invocation_id, request.user or "")
        run, record, reason = (known and self._store.run(known)) or None, None, ""
        if run is None:
            user = user or self._end_user(request, opens)
            run, reason = self._find(request, user)
        if run and not opens(run.model, run.direction):
            reason = f"the plugin's token is not for runs of {run.model!r} (`apps` of its entry in `plugins`)"
            run = None
        elif run is None and opens("", "executor"):
            record = self._executor_runs.begin(request, user, attached)
            run = record.run if record else None
        if run is None:
            self._runs.unmatched.append((clock.now(), reason))
            log.info("an invocation belongs to no run", extra={"reason": reason})
            return AttachResponse(reason=reason)
        if (app := self._services.apps.get(run.model)) and app.label not in {"", request.label}:
            return AttachResponse(reason=f"the client chose the nodes of label {app.label!r}", left_out=True)
        live = self._live_runs.get(run.id)
        if live and live.request_id:
            request_id.go_on_with(live.request_id)
        with self._services.locks.of(run.id):
            record = record or self._store.decide(run.id, attached)
            assert record is not None  # noqa: S101 - it was found
            self._take_over(record, request.invocation_id, live)
        log.info("invocation attached", extra={"run": run.id, "invocation": request.invocation_id})
        answer = self._answer(record, record.invocations[request.invocation_id], secret, request.has)
        if not request.beats:
            return answer
        self.beat(request.invocation_id)
        return answer.model_copy(update={"beat_seconds": self._services.config.limits.silent_seconds})

    def beat(self, invocation_id: str) -> None:
        """An invocation is alive."""
        if row := self._store.invocation(invocation_id):
            self._beats.heard(invocation_id)
            self._services.wakeups.wake(f"{BEAT}{self._name}:{row.run_id}:{invocation_id}")

    def _heard_elsewhere(self, said: str) -> None:
        """Whoever drives a run looks after its invocations, else who has last heard of them. Our words come back."""
        who, run_id, invocation_id = said.split(":")
        if self._live_runs.get(run_id):
            self._beats.heard(invocation_id)
        elif who != self._name:
            self._beats.told(invocation_id)

    def _attached(self, change: Change, request: AttachRequest, asked_at: float, secret: str) -> RunRecord:
        if change.was.run.direction == "executor":
            change.also(self._store.naming(MarkerRow(marker_digest(secret), change.run_id, change.was.run.attempt)))
        known = change.was.invocations.get(request.invocation_id)
        if known is None:
            self._check_age(change.was.run, request, asked_at)
            change.attach(request.invocation_id, request.fingerprint)
        elif known.attempt != change.was.run.attempt:
            # It asks again because it was not answered, and what it would do is done by a later one.
            raise _run_again()
        return change.state

    def _check_age(self, run: RunRow, request: AttachRequest, asked_at: float) -> None:
        """Refuse an invocation that is older than the attempt: its own came to nothing while the bridge was away.

        It began at `asked_at`, however long it has waited here since. Where the attempt was only taken over, none of it
        has begun.
        """
        if run.direction != "endpoint":
            return
        # The store says when the attempt began: another bridge may drive it, or this one was started since.
        began_at = run.began_at or 0.0
        if run.driven_at == TAKEN_OVER or asked_at < began_at:
            raise _run_again()
        lay_unread = asked_at - request.unread_seconds < began_at
        has_waited = self._services.presence.seconds() < BACKLOG_SECONDS and request.invocation_id not in self._delayed
        # Where nothing was given up before, nothing can have waited from before.
        if not (lay_unread or has_waited) or not self._store.has_given_up(run):
            return
        if lay_unread:
            raise _run_again()
        self._delayed.add(request.invocation_id)
        raise Unavailable("the bridge has just started: try again", code="just_started", retry_after=1)

    def _take_over(self, record: RunRecord, invocation_id: str, live: LiveRun | None) -> None:
        """Hand out what was opened while nobody could be given it. The invocation will ask for what is open."""
        for ticket in record.tickets_of(invocation_id):
            if ticket.state != "open":
                self._live_runs.polls.told(ticket.id)
                continue
            self._live_runs.polls.heard(ticket.id)
            if live and ticket.is_deliverable and not live.holds(ticket.id):
                self._live_runs.deliver_soon(live, ticket)

    def _find(self, request: AttachRequest, user: str | None) -> tuple[RunRow | None, str]:
        """Try Dify's end user, then the marker, then the callback key: what others can write least comes first.

        `user` is who the end user is, where that is known. Where Dify says whose node it is, nothing that stands in a
        text or in a node's parameter says otherwise.
        Raises Gone where a run is named that is not under way: its node was started again, or goes on although nobody
        waits for it, and must be given to no one else.
        """
        tried = []
        if request.user:
            if user:
                return self._run_of(user), f"Dify's end user {user!r} stands for no run"
            if run := self._run_of(request.user):
                return run, ""
            tried.append(
                "Dify's end user stands for no run (GET /v1/end-users needs Dify 1.13 or newer and the app's own key; "
                "else set callback_key in the LLM node, or find_run = 'marker' for the app)"
            )
        marked = list(self._marked(request))
        for run, attempt in marked:
            if run.attempt == attempt and (run.state == "running" or self._goes_on(run)):
                return self._store.run(run.id) or run, ""
        if request.markers or request.marker:
            tried.append("no marker in the prompt is that of a running run")
        named = user_of(request.callback_key)
        if named:
            run = self._run_of(named)
            if run:
                return run, ""
            tried.append(
                "callback_key stands for no user with a run; it should be u:{{#sys.user_id#}}, which Dify fills in "
                "from 1.14 on"
            )
        if marked:
            raise Gone("the run of this node has ended or started again; nobody waits for the node", code="run_over")
        return None, "; ".join(tried) or "the invocation named neither a user, a callback key nor a marker"

    def _marked(self, request: AttachRequest) -> Iterator[tuple[RunRow, int]]:
        """Yield the clients' runs that the markers in the prompt name, and which attempt of each.

        A marker that names none is text: somebody wrote it.
        """
        secrets = [*request.markers, *([request.marker] if request.marker else [])]
        for marker in self._store.markers([marker_digest(secret) for secret in secrets]) if secrets else ():
            run = self._store.run(marker.run_id)
            if run and run.direction == "endpoint":
                yield run, marker.attempt

    def _end_user(self, request: AttachRequest, opens: Opens) -> str | None:
        """Ask Dify for the name of its user, None where it cannot be learned."""
        user, uuid = None, request.user
        for app in self._services.config.apps if uuid else ():
            if not opens(app.model, "endpoint"):
                continue
            try:
                user = self._services.apps.client(app.model).end_user(uuid or "")
            except DifyError as error:
                log.warning("Dify did not say who a user is", extra={"model": app.model, "error": str(error)})
                continue
            if user:
                self._store.save_end_user(uuid or "", user)
                break
        return user

    def _run_of(self, user: str) -> RunRow | None:
        run = self._under_way(self._store.run_of_user(user))
        if run is None and self._store.was_left(user):
            raise _run_again()
        return run

    def _under_way(self, run: RunRow | None) -> RunRow | None:
        if run and self._goes_on(run):
            return self._store.run(run.id)
        if run and run.state != "running":
            raise Gone(f"the run of this node is {run.state}; nobody waits for the node", code="run_over")
        return run

    def _goes_on(self, run: RunRow) -> bool:
        """Whether a suspended run goes on: somebody may have answered its form in Dify itself."""
        return run.state == "suspended" and self._runs.goes_on_in_dify(run)

    def _answer(self, record: RunRecord, invocation: InvocationRow, secret: str, has: Digests | None) -> AttachResponse:
        run, tickets = record.run, record.tickets_of(invocation.id)
        live = self._live_runs.get(run.id)
        request = self._services.requests.of_invocation(record, invocation, live.latest if live else None)
        is_new = live is not None and live.begins_conversation
        past = [] if is_new else self._store.past_queries(run)
        if run.attempt > 1:
            past.append(run.query_digest)
        said, omits = transcript_of(self._with_carried(run, transcript_of(request.messages))), list[int]()
        digests = has and said_with(said, request.tools_piece())
        omits_tools = bool(has and digests and has.tools == digests.tools)
        messages: list[Message] = said
        if has:
            messages, omits = unknown(said, has)
        return AttachResponse(
            run_id=run.id,
            secret=secret if run.direction == "executor" else None,
            messages=messages,
            omits=omits,
            omits_tools=omits_tools,
            digests=digests,
            turn=request.turn,
            query=request.query,
            past_queries=past,
            tools=[] if omits_tools else request.tools,
            also=self._services.also(request.places),
            tool_choice=request.tool_choice,
            parallel_tool_calls=request.parallel_tool_calls,
            parameters=request.parameters,
            watched=run.direction == "endpoint",
            shown=self._services.config.log_content,
            rounds=[_round(ticket) for ticket in tickets if ticket.state == "resolved"],
            open_ticket=next((_open(ticket) for ticket in tickets if ticket.state == "open"), None),
            answer=Answer.model_validate_json(invocation.answer) if invocation.answer else None,
        )

    def _with_carried(self, run: RunRow, messages: Transcript) -> Sequence[Message]:
        """Return the transcript with what the app's upstream wants back of its own calls: few clients can carry it."""
        # What carried nothing never will: an id is new with its call.
        asked, which = asking_of(messages), ("carried", run.client, run.model)
        (had, count), _ = messages.made.get(which, (([], 0), 0))
        asking = [*had, *asked[count:]]
        ids = [call["id"] for message in asking for call in message["tool_calls"]]
        tickets = self._store.tickets_of_calls(ids, run.client, with_reasoning=True)
        runs = {run_id: self._store.run(run_id) for run_id in {ticket.run_id for ticket in tickets}}
        of_call = {
            call.id: json.loads(ticket.reasoning or "{}")
            for ticket in tickets
            if (of := runs[ticket.run_id]) and of.model == run.model
            for call in ticket.calls
        }

        def carried(message: Message) -> Message:
            calls = message.get("tool_calls") or ()
            known = next((of_call[call["id"]] for call in calls if call["id"] in of_call), None)
            return with_extras(message, known) if known else message

        carrying = [message for message in asking if any(call["id"] in of_call for call in message["tool_calls"])]
        messages.keep(which, (carrying, len(asked)))
        return [carried(message) for message in messages] if of_call else messages

    def _live_of(self, invocation_id: str, run_id: str) -> LiveRun | None:
        """Return the run if this process drives it in the attempt of this invocation."""
        live, record = self._live_runs.get(run_id), self._store.record(run_id)
        invocation = record.invocations.get(invocation_id) if record else None
        return live if live and invocation and invocation.attempt == live.attempt else None

    def draft(self, invocation_id: str, request: DraftRequest) -> None:
        """Let the client watch calls grow. What belongs to no attempt under way is left out.

        So is a call that may yet be withheld from the client, from its first piece on: it would be run as it was told.
        """
        live, record = self._live_of(invocation_id, request.run_id), self._store.record(request.run_id)
        if not (live and record):
            return
        requests = self._services.requests
        clients = [
            call for call in request.calls if requests.place_of(record, invocation_id, call.name, live.latest) is None
        ]
        certain = [call for call in clients if call.offset or self._admission.is_certain(record, call.name)]
        if live.draft(invocation_id, request.round, certain, after_text=request.streamed_text):
            self._live_runs.deliver_later(live)

    def record(self, invocation_id: str, request: RecordRequest) -> None:
        """Write how an invocation ended: its answer is what a later attempt of the run replays."""
        if request.error is not None:
            request = request.model_copy(update={"error": strip_markers(request.error)})
        self._services.note_model_calls(request.run_id, invocation_id, request.model_calls)
        if request.stopped:
            self._note_end(invocation_id, request, "stopped")
            return
        if run := self._store.run(request.run_id):
            self._services.used_upstream(run, request.usage)
        # How a node of an attempt before has ended says nothing of this one.
        live = self._live_of(invocation_id, request.run_id)
        if live:
            live.stop_writing(invocation_id, request.error)
        if live and request.error is None:
            live.used(request.usage)
            live.sent_without(request.model_calls)
            if request.finish_reason in {"length", "content_filter"}:
                live.finish_reason = request.finish_reason
            live.logprobs = request.logprobs
        if request.error is not None:
            self._note_end(invocation_id, request, "failed")
            return
        answer = Answer(text=request.text, finish_reason=request.finish_reason, usage=request.usage)
        self._note_end(invocation_id, request, "answered", answer.model_dump_json())

    def _note_end(self, invocation_id: str, request: RecordRequest, state: str, answer: str | None = None) -> None:
        def note(change: Change) -> None:
            change.end_invocation(invocation_id, state, answer, request.error)

        if not self._executor_runs.ended(request, note):
            self._store.decide(request.run_id, note)
        self._beats.told(invocation_id)


def _run_again() -> Gone:
    return Gone("the workflow has been run again since this node started", code="run_over")


def _untaken(record: RunRecord) -> bool:
    """Whether an invocation of a former attempt opened a ticket, and no later try took it over."""
    former = (row for row in record.invocations.values() if row.attempt < record.run.attempt and not row.successor)
    return any(record.tickets_of(row.id) for row in former)


def _round(ticket: TicketRow) -> Round:
    reply = Reply.model_validate_json(ticket.reply) if ticket.reply else Reply()
    return Round(
        content=ticket.content,
        reasoning=json.loads(ticket.reasoning or "{}"),
        shown=ticket.shown,
        calls=[call.asked_call() for call in ticket.calls],
        results=ticket.results(),
        messages=reply.messages,
    )


def _open(ticket: TicketRow) -> OpenTicket:
    return OpenTicket(
        ticket_id=ticket.id,
        content=ticket.content,
        reasoning=json.loads(ticket.reasoning or "{}"),
        shown=ticket.shown,
        calls=[call.asked_call() for call in ticket.calls],
    )
