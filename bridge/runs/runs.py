"""Runs under way: started, resumed, cancelled; one Dify workflow run an attempt."""

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace

from bridge.config import App, Config
from bridge.dify import DifyClient, events
from bridge.dify.apps import AppCatalogue, AppFacts
from bridge.dify.errors import (
    ConversationGone,
    DifyError,
    KilledByTimeout,
    NoAnswer,
    RanTooLong,
    ServerError,
    StreamBroke,
    Unreachable,
    failed,
    run_failed,
)
from bridge.dify.failures import client_error
from bridge.dify.outputs import answer_in
from bridge.errors import BridgeError, Gone, Internal, UnprocessableRun
from bridge.runs import request_id
from bridge.runs.answers.usage import estimate
from bridge.runs.answers.view import AnswerView, form_of, view_of
from bridge.runs.breath import Breath
from bridge.runs.dify_slots import DifyStreams
from bridge.runs.images import files_of
from bridge.runs.live import LiveRun
from bridge.runs.observing.observers import Observers
from bridge.runs.polls import Polls
from bridge.runs.requests import Reply, RequestKeys, RunRequest
from bridge.runs.segments import Calls, End, Event, Reasoning, Segment, Text
from bridge.runs.sessions.sessions import Past, exchange_after
from bridge.runs.wakeups import Wakeups
from bridge.store import Store, clock
from bridge.store.rows import MarkerRow, RunRow, SegmentRow, SessionRow, TicketRow
from tools.calls import assistant_message
from tools.fingerprint import text_digest
from tools.ids import random_name
from tools.marker import marker_digest, marker_for, new_secret
from tools.wire import Usage

log = logging.getLogger("clawback.runs")

MAX_ATTEMPTS = 25
"""How often a run is tried without a further ticket coming of it."""

_CUT_OFF = (StreamBroke, NoAnswer, RanTooLong, KilledByTimeout)
"""What ends a workflow from outside, whatever its nodes were doing."""

KEPT_SECONDS = 60.0
LISTEN_AGAIN_SECONDS = (0.0, 1.0, 2.0, 4.0, 8.0)
"""The pauses before each try to attach to a run whose events broke off."""


class Runs:
    """The runs that this process drives. `lock` makes a decision about runs and tickets one step."""

    def __init__(self, config: Config, store: Store, wakeups: Wakeups, observers: Observers | None = None) -> None:
        self.config = config
        self.observers = observers or Observers()
        self.store = store
        self.wakeups = wakeups
        self.lock = threading.RLock()
        self.polls = Polls()
        self.unmatched: deque[tuple[float, str]] = deque(maxlen=50)
        self._live: dict[str, LiveRun] = {}
        self._clients: dict[str, DifyClient] = {}
        self.streams: dict[str, DifyStreams] = {}
        self.catalogue = AppCatalogue(self.client)
        self.reconfigure()

    def reconfigure(self) -> None:
        """Take the apps and limits that the configuration holds now. Runs under way go on, also of an app that left."""
        self.catalogue.forget()
        for app in self.config.apps:
            self._clients[app.model] = DifyClient(app.base_url, app.api_key.get_secret_value())
            self.streams.setdefault(app.base_url, DifyStreams(self.config.limits.dify_streams, self._make_room))
        for places in self.streams.values():
            places.limit = self.config.limits.dify_streams

    def live(self, run_id: str) -> LiveRun | None:
        """Return the run if this process drives it now."""
        return self._live.get(run_id)

    def is_elsewhere(self, live: LiveRun) -> bool:
        """Whether a bridge that shares the store has taken over this run since."""
        if self.config.wakeups_url is None:
            return False
        run = self.store.run(live.run_id)
        return run is not None and run.attempt > live.attempt

    def client(self, model: str) -> DifyClient:
        """Return the service API client of the app that is shown as `model`."""
        return self._clients[model]

    def app(self, model: str) -> App | None:
        """Return the app that is shown as `model`."""
        return self.config.app(model)

    # Starting

    def start(
        self, app: App, request: RunRequest, session: SessionRow, keys: RequestKeys, auxiliary: str | None
    ) -> LiveRun:
        """Start a run. A session that has a run under way gets a Dify user of its own for this one."""
        now = clock.now()
        with self.lock:
            apart = auxiliary is not None or self.store.unfinished_run_of_user(session.dify_user) is not None
            begins = apart or app.conversation == "new"
            if not (apart or session.conversation_id):
                # The next run of the session has to know that this one has its Dify user.
                self.store.save_session(session)
            run = RunRow(
                id=random_name(),
                model=app.model,
                session_key=session.key,
                turn_key=keys.turn,
                dify_user=f"clawback-{random_name()}" if apart else session.dify_user,
                conversation_id="" if begins else session.conversation_id,
                query_digest=text_digest(request.query),
                auxiliary=auxiliary,
                state="running",
                attempt=1,
                task_id="",
                workflow_run_id="",
                request=request.model_dump_json(exclude_none=True),
                error=None,
                created_at=now,
                updated_at=now,
                expires_at=now + self.config.limits.run_seconds,
                began_at=now,
                request_key=keys.request,
                idempotency=keys.idempotency,
            )
            self.store.insert_run(run)
            live = self._make_live(run, app, request)
            self._drive(run, app, request, live, None if begins else session)
        log.info("run started", extra={"run": run.id, "model": run.model, "apart": apart})
        return live

    def resume(self, run: RunRow, app: App, latest: RunRequest | None = None) -> LiveRun:
        """Run the workflow again: finished rounds are replayed, and what the client was told is not told again.

        `latest` is the request that brought the results. Its transcript holds the finished rounds too, for a node
        whose prompt is no longer the same, so that its rounds cannot be found again.
        """
        request = RunRequest.model_validate_json(run.request)
        with self.lock:
            in_vain = run.attempt - self.store.fruitful_attempt(run.id)
            if in_vain >= MAX_ATTEMPTS:
                raise UnprocessableRun(f"run {run.id} was tried {in_vain} times in vain; begin a new turn")
            self._in_background(self._stop_task, run)
            attempt = run.attempt + 1
            if not self.store.raise_attempt(run, state="running", task_id="", error=None):
                raise Gone("another bridge goes on with this run; send the request again", code="run_moved")
            live = self._live.get(run.id)
            if live is None or live.over or live.attempt < run.attempt:
                live = self._make_live(run, app, request)
            live.latest = latest
            resumed = self.store.run(run.id) or run
            session = None if app.conversation == "new" else self.store.session(run.session_key)
            apart = session is None or session.dify_user != run.dify_user
            self._drive(resumed, app, request, live, None if apart else session)
        log.info("run resumed", extra={"run": run.id, "attempt": attempt})
        return live

    def go_on(self, run: RunRow, app: App) -> None:
        """Resume a run unless somebody else has, where no client is there to be told."""
        with suppress(Gone):
            self.resume(run, app)

    def _make_live(self, run: RunRow, app: App, request: RunRequest) -> LiveRun:
        auxiliary, form = run.auxiliary, form_of(request)
        return LiveRun(
            run.id,
            self.store.segments(run.id),
            self.store.save_segment,
            lambda: view_of(app, auxiliary, form),
            lambda text: estimate(request.messages, request.tools, text),
        )

    def _drive(self, run: RunRow, app: App, request: RunRequest, live: LiveRun, session: SessionRow | None) -> None:
        live.begin(run.attempt)
        live.request_id = request_id.current()
        self._live[run.id] = live
        self._in_background(self._pump, run, app, request, live, session)

    @staticmethod
    def _in_background(work: Callable[..., None], *arguments: object) -> None:
        # What it logs belongs to the request at hand, and so does its trace.
        context = copy_context()
        threading.Thread(
            target=context.run, args=(work, *arguments), daemon=True, name=f"clawback-{work.__name__}"
        ).start()

    # What Dify streams

    def _pump(self, run: RunRow, app: App, request: RunRequest, live: LiveRun, session: SessionRow | None) -> None:
        try:
            with self.streams[app.base_url].place(run.id), self.observers.dify_streams(run):
                if self._superseded(run, live):
                    return
                try:
                    self._follow(run, app, request, live, session)
                except ConversationGone:
                    # Someone deleted it in Dify; the transcript holds what it held.
                    self._follow(replace(run, conversation_id=""), app, request, live, session)
            if not live.over:
                raise Internal("Dify's stream ended before the workflow did")
        except BridgeError as error:
            self.fail(run, live, error)
        except DifyError as error:
            self.fail(run, live, client_error(error), cut_off=isinstance(error, _CUT_OFF))
        except Exception:
            log.exception("a run's stream failed", extra={"run": run.id})
            self.fail(run, live, Internal("the bridge failed while it read Dify's stream; its log says more"))

    def _follow(self, run: RunRow, app: App, request: RunRequest, live: LiveRun, session: SessionRow | None) -> None:
        try:
            self._listen(run, app, request, live, session)
        except StreamBroke:
            # Raised on as it is: kept under a name, an error and the frames that it keeps would keep each other.
            if not self._listen_again(run, live, session):
                raise

    def _listen(self, run: RunRow, app: App, request: RunRequest, live: LiveRun, session: SessionRow | None) -> None:
        client, trace_id = self.client(app.model), self.observers.trace_id(run.id)
        facts = self.catalogue.of(app)
        query, inputs = self._with_marker(app, facts, run, request)
        files = files_of(client, facts.images, request, run.dify_user)
        if facts.kind == "workflow":
            going = client.run_workflow(inputs=inputs, user=run.dify_user, files=files, trace_id=trace_id)
        else:
            going = client.chat(
                query=query,
                inputs=inputs,
                user=run.dify_user,
                conversation_id=run.conversation_id,
                files=files,
                trace_id=trace_id,
            )
        with going as stream:
            self._hear(run, live, session, stream)

    def _listen_again(self, run: RunRow, live: LiveRun, session: SessionRow | None) -> bool:
        """Attach to a run whose events broke off. Say whether that could be done."""
        begun = self.store.run(run.id)
        if begun is None or begun.workflow_run_id in {"", run.workflow_run_id}:
            return False
        for pause in LISTEN_AGAIN_SECONDS:
            time.sleep(pause)
            if self._superseded(run, live):
                return True
            with (
                suppress(StreamBroke, Unreachable, NoAnswer, ServerError),
                self.client(run.model).run_events(begun.workflow_run_id, run.dify_user) as stream,
            ):
                if stream is None:
                    return False
                log.info("listening to a run again", extra={"run": run.id})
                self._hear(run, live, session, _caught_up(live, stream))
                return True
        return False

    def _hear(self, run: RunRow, live: LiveRun, session: SessionRow | None, stream: Iterable[events.Event]) -> None:
        breath = Breath()
        for event in stream:
            breath.take()
            if self._superseded(run, live):
                if isinstance(event, events.WorkflowStarted):
                    # Whoever ended the attempt did not know its task yet.
                    self._stop_task(replace(run, task_id=event.task_id))
                return
            if live.failure:
                raise live.failure.fresh()
            if live.suspended:
                self._ignore(run, event)
            else:
                self._take(run, live, session, event)

    def _ignore(self, run: RunRow, event: events.Event) -> None:
        """A suspended run's workflow ends. Where the node is tried again or gone on without, it is made to end."""
        if isinstance(event, events.NodeRetry | events.NodeStarted):
            self._stop_task(replace(run, task_id=event.task_id))

    def _superseded(self, run: RunRow, live: LiveRun) -> bool:
        """Whether the attempt that `run` was read for was cancelled, or another began since."""
        return live.attempt != run.attempt or self._live.get(run.id) is not live

    def _taken_over(self, run: RunRow, live: LiveRun, stored: RunRow | None) -> bool:
        """Whether a bridge that shares the store goes on with the run. Who still reads it here is told to ask again."""
        if stored is None or stored.attempt <= live.attempt:
            return False
        live.fail(Gone("another bridge goes on with this run; send the request again", code="run_moved"))
        self._live.pop(run.id, None)
        return True

    def _with_marker(
        self, app: App, facts: AppFacts, run: RunRow, request: RunRequest
    ) -> tuple[str, dict[str, object]]:
        """Name the attempt in the query or in an input variable, where nothing else tells whose its nodes are."""
        inputs = {**app.inputs, **request.inputs}
        query = request.query or "(no text)"
        if app.find_run != "marker" and facts.names_users:
            return query, inputs
        secret = new_secret()
        self.store.add_marker(MarkerRow(marker_digest(secret), run.id, run.attempt))
        if app.marker_input:
            return query, {**inputs, app.marker_input: marker_for(secret)}
        return f"{query} {marker_for(secret)}", inputs

    def _take(self, run: RunRow, live: LiveRun, session: SessionRow | None, event: events.Event) -> None:
        live.touched_at = time.monotonic()
        match event:
            case events.WorkflowStarted():
                self._begun(run, live, session, event)
            case events.Message():
                self._said(run, live, event)
            case events.ReasoningChunk():
                live.reasoning(event.reasoning)
            case events.MessageReplace():
                live.replace(event.answer)
            case events.MessageEnd():
                live.total(event.usage)
            case events.WorkflowFinished():
                self._finished(run, live, event)
            case events.WorkflowPaused():
                raise UnprocessableRun(
                    "the chatflow waits for a person (Human Input node), which a client of this endpoint cannot "
                    "answer; take the node out of the app",
                    code="workflow_paused",
                )
            case events.ErrorEvent():
                raise failed(event.status, event.code, event.message)
            case events.NodeStarted() | events.NodeRetry() | events.NodeFinished():
                self._noted(run, event)
            case _:
                pass

    def _begun(self, run: RunRow, live: LiveRun, session: SessionRow | None, event: events.WorkflowStarted) -> None:
        # A run that fails before its flow begins has no conversation.
        conversation_id = event.conversation_id or run.conversation_id
        self.store.update_run(
            run.id, task_id=event.task_id, workflow_run_id=event.workflow_run_id, conversation_id=conversation_id
        )
        if session and conversation_id and session.conversation_id != conversation_id:
            self.store.save_session(replace(session, conversation_id=conversation_id))
        live.begun()

    def _noted(self, run: RunRow, event: events.NodeStarted | events.NodeRetry | events.NodeFinished) -> None:
        """Write how a node goes, for who watches."""
        nodes, execution = self.store.nodes, (run.id, run.attempt, event.execution_id or event.node_id)
        match event:
            case events.NodeStarted():
                nodes.started(*execution, event.title, event.node_type)
            case events.NodeRetry():
                nodes.retried(*execution, event.error)
            case events.NodeFinished():
                nodes.ended(
                    *execution,
                    event.status,
                    event.error,
                    total_tokens=event.total_tokens,
                    price=event.price,
                    currency=event.currency,
                )

    def _finished(self, run: RunRow, live: LiveRun, event: events.WorkflowFinished) -> None:
        if live.over:
            return
        if event.status == "stopped" and not isinstance(run_failed(event.error), RanTooLong):
            raise Gone(
                "the workflow run was stopped in Dify, by someone or by its time limit (APP_MAX_EXECUTION_TIME)",
                code="run_stopped",
            )
        if not event.succeeded:
            raise run_failed(event.error)
        if live.stopped:
            self._stopped(run, live)
            return
        self._tell_outputs(run, live, event)
        problem = self.diagnose(run)
        if live.silent and not live.current.number:
            raise UnprocessableRun(f"the chatflow answered nothing. {problem or ''}".strip(), code="empty_answer")
        live.note = problem
        with self.lock:
            if self._taken_over(run, live, self.store.run(run.id)):
                return
            self.cancel_tickets(run.id, "the workflow run ended")
            # The answer is written first: a run that has ended without one could not be told again.
            live.finish()
            if live.failure:
                raise live.failure.fresh()
            self.store.end_run(run.id, "finished", problem)
            self._remember(run)
        log.log(logging.WARNING if problem else logging.INFO, "run finished", extra={"run": run.id, "note": problem})

    def _said(self, run: RunRow, live: LiveRun, event: events.Message) -> None:
        app = self.app(run.model)
        if not event.answer or app is None or app.output is None:
            live.text(event.answer, event.node_id)

    def _tell_outputs(self, run: RunRow, live: LiveRun, event: events.WorkflowFinished) -> None:
        """Tell a workflow's answer as far as it was not streamed."""
        app = self.app(run.model)
        if app is None or self.catalogue.of(app).kind != "workflow":
            return
        answer = answer_in(event.outputs, app.output)
        if not live.catch_up(answer) and live.silent and not live.current.number:
            live.text(answer)

    def _stopped(self, run: RunRow, live: LiveRun) -> None:
        """Nodes ended with their calls: the run goes on with the results, in a workflow run of its own."""
        with self.lock:
            self.suspend(run.id)
            tickets = [ticket for ticket in map(self.store.ticket, live.stopped) if ticket]
            app = self.app(run.model)
            if app and not any(ticket.state == "open" for ticket in tickets):
                self.go_on(self.store.run(run.id) or run, app)
            else:
                self._let_go(run, live)
        log.info("run waits for the results of calls that ended its nodes", extra={"run": run.id})

    def _let_go(self, run: RunRow, live: LiveRun) -> None:
        """Forget a suspended run until its results come, unless its client still waits for a person's decision."""
        live.deliver_stopped()
        if not (live.undelivered or live.current.readers):
            del self._live[run.id]

    def _remember(self, run: RunRow) -> None:
        """Let what was said last lead a client back to its conversation whose name for it may be shared."""
        request = RunRequest.model_validate_json(run.request)
        if run.auxiliary is None and (said := self.exchange_of(run)).exchanges:
            self.store.exchanges.add(run.session_key, said.exchanges[-1], said.whole, request.given, request.frame)

    def exchange_of(self, run: RunRow) -> Past:
        """Return what the client's transcript will say of its past, once the user says more: as it was delivered."""
        request = RunRequest.model_validate_json(run.request)
        messages, form = list(request.messages), form_of(request)
        app = self.app(run.model)
        for row in self.store.segments(run.id):
            told = self._events_of(row, view_of(app, run.auxiliary, form))
            messages.append(assistant_message("".join(event.text for event in told if isinstance(event, Text)), []))
            ticket = self.store.ticket(row.ticket_id) if row.ticket_id else None
            if ticket and ticket.reply:
                messages += Reply.model_validate_json(ticket.reply).messages
        return exchange_after(messages)

    def diagnose(self, run: RunRow) -> str | None:
        """Say why no node of a run whose client brought tools asked the bridge for them; None where one did."""
        if not RunRequest.model_validate_json(run.request).tools or self.store.has_invocations(run.id):
            return None
        missed = [reason for when, reason in self.unmatched if when >= run.created_at]
        if missed:
            return f"an LLM node asked the bridge for tools, but its run was not found: {missed[-1]}"
        return (
            "no LLM node of the app asked the bridge for tools. In the app, choose the Clawback provider in the LLM "
            "node, switch external_tool_callback_enabled on, publish the app, and see that the provider's bridge URL "
            "is one that Dify's plugin daemon can reach"
        )

    # Ending

    def fail(self, run: RunRow, live: LiveRun, error: BridgeError, *, cut_off: bool = False) -> None:
        """The attempt ended without an answer. A suspended run has only let go of its workflow.

        So has one whose workflow was `cut_off` while its client ran tools.
        """
        try:
            self._fail(run, live, error, cut_off=cut_off)
        except Exception:
            log.exception("how a run failed could not be kept", extra={"run": run.id})
            # The client learns of it all the same, and the sweeper of the store later.
            if not live.suspended and not self._superseded(run, live):
                live.fail(error)

    def _fail(self, run: RunRow, live: LiveRun, error: BridgeError, *, cut_off: bool) -> None:
        with self.lock:
            if self._superseded(run, live):
                return
            if cut_off and self._survives(run, live):
                log.warning("a workflow was cut off while tools ran", extra={"run": run.id, "error": error.message})
            stored = self.store.run(run.id)
            if self._superseded(run, live) or self._taken_over(run, live, stored):
                return
            if stored and stored.state == "suspended":
                self._let_go(run, live)
                return
            # The client learns of it even where the store cannot be written, and that is why the run failed.
            live.fail(error)
            self.cancel_tickets(run.id, f"the workflow run failed: {error.message}")
            self.store.end_run(run.id, "failed", error.message)
        self.observers.run_failed(run, error.code or error.type)
        log.warning("run failed", extra={"run": run.id, "code": error.code, "error": error.message})

    def cancel(self, run_id: str, reason: str) -> None:
        """End a run that nobody waits for any more, and free Dify's worker."""
        with self.lock:
            run = self.store.run(run_id)
            if run is None or not self.store.end_run(run_id, "cancelled", reason):
                return
            self.cancel_tickets(run_id, reason)
            live = self._live.pop(run_id, None)
            if live:
                live.fail(Gone(reason, code="run_cancelled"))
        self._in_background(self._stop_task, run)
        log.info("run cancelled", extra={"run": run_id, "reason": reason})

    def cancel_tickets(self, run_id: str, reason: str) -> None:
        """Cancel the run's open tickets and wake who waits for them."""
        for ticket in self.store.tickets_of_run(run_id, "open"):
            self.store.close_ticket(ticket.id, "cancelled", reason)
            self.wakeups.wake(ticket.id)

    def forget_over(self) -> None:
        """Let go of runs that ended a while ago; what they told is in the store."""
        now, kept = time.monotonic(), KEPT_SECONDS + self.config.limits.grace_seconds
        with self.lock:
            for run_id, live in list(self._live.items()):
                if live.over and not live.current.readers and now - live.touched_at > kept:
                    self.store.end_run(run_id, "failed", "its end could not be written when it came")
                    del self._live[run_id]

    def _stop_task(self, run: RunRow) -> None:
        if not run.task_id:
            return
        try:
            app = self.app(run.model)
            workflow = app is not None and self.catalogue.of(app).kind == "workflow"
            self.client(run.model).stop(run.task_id, run.dify_user, workflow=workflow)
        except DifyError as error:
            log.info("Dify did not stop a task", extra={"run": run.id, "error": str(error)})

    def suspend(self, run_id: str) -> None:
        """The plugin lets go of the workflow; the run waits for its results without one."""
        self.store.update_run(run_id, state="suspended")
        self.suspended(run_id)

    def suspended(self, run_id: str) -> None:
        """The run was suspended: what its workflow still says is not told."""
        if live := self._live.get(run_id):
            live.suspended = True

    def let_workflow_go(self, run_id: str) -> None:
        """The workflow is of no more use; the run waits for its results without one."""
        self.suspend(run_id)
        run = self.store.run(run_id)
        if run:
            self._in_background(self._stop_task, run)

    def _survives(self, run: RunRow, live: LiveRun) -> bool:
        """Suspend the run if its client runs tools, or resume it with results that its plugin did not fetch any more.

        Says whether it did either.
        """
        live.deliver_pending()
        delivered = [ticket for ticket in self.store.tickets_of_run(run.id) if ticket.segment is not None]
        waiting = [ticket for ticket in delivered if ticket.state == "open"]
        unfetched = [ticket for ticket in delivered if ticket.state == "resolved" and self.polls.at(ticket.id)]
        app = self.app(run.model)
        if live.failure or not (waiting or unfetched) or app is None:
            return False
        self.let_workflow_go(run.id)
        if not waiting:
            self.go_on(self.store.run(run.id) or run, app)
        return True

    # Giving way

    def gives_way(self, ticket: TicketRow) -> bool:
        """Say whether the plugin should let go of this ticket now, so that another run gets its place at Dify.

        A ticket is let go of only when its client has it: text that comes before it may be on its way through Dify.
        """
        live = self._live.get(ticket.run_id)
        if live and live.holds(ticket.id):
            return False
        return any(places.gives_way(ticket.run_id) for places in self.streams.values())

    def stays(self, run_id: str) -> None:
        """The run has what it waited for, so it does not give way any more."""
        for places in self.streams.values():
            places.stays(run_id)

    @property
    def crowded(self) -> bool:
        """Whether a run waits for a place at its Dify."""
        return any(places.waiting for places in self.streams.values())

    def _make_room(self) -> None:
        """Ask the tickets that have waited longest to give way."""
        holders = {run_id for places in self.streams.values() for run_id in places.holders}
        tickets = [ticket for run_id in holders for ticket in self.store.tickets_of_run(run_id, "open")]
        for ticket in sorted(tickets, key=lambda ticket: ticket.created_at):
            if self.polls.at(ticket.id) and self.gives_way(ticket):
                self.wakeups.wake(ticket.id)

    def deliver_soon(self, live: LiveRun, ticket: TicketRow) -> None:
        """Deliver the ticket when the text before its calls has come through Dify, or had time enough to."""
        live.hold_ticket(ticket)
        timer = threading.Timer(self.config.limits.boundary_seconds, live.deliver_pending)
        timer.daemon = True
        timer.start()

    # Reading

    def enter(self, segment: Segment, connection: socket.socket | None = None) -> None:
        """A client begins to read."""
        with self.lock:
            segment.readers += 1
            segment.connections.append(connection)
            segment.abandoned = segment.broken = False

    def leave(
        self,
        run_id: str,
        segment: Segment,
        connection: socket.socket | None = None,
        *,
        complete: bool = False,
        broken: bool = False,
    ) -> None:
        """A client stopped reading; one that went before the end may come back within the grace time."""
        with self.lock:
            segment.readers -= 1
            segment.connections.remove(connection if connection in segment.connections else None)
            segment.delivered = segment.delivered or complete
            if segment.readers or segment.delivered:
                return
            segment.abandoned, segment.broken = True, broken
            segment.left_at = time.monotonic()
            segment.departures += 1
            departure = segment.departures
        timer = threading.Timer(self.config.limits.grace_seconds, self._abandon, (run_id, segment, departure))
        timer.daemon = True
        timer.start()

    def _abandon(self, run_id: str, segment: Segment, departure: int) -> None:
        with self.lock:
            if segment.abandoned and segment.departures == departure and not segment.closed:
                self.cancel(run_id, "the client went away and did not come back")

    def told(self, run_id: str, number: int) -> Segment | None:
        """Return a complete segment from the store, as it was told."""
        rows = {row.number: row for row in self.store.segments(run_id)}
        row = rows.get(number)
        if row is None:
            return None
        run = self.store.run(run_id)
        app = self.app(run.model) if run else None
        segment = Segment(number)
        if run:
            form = form_of(RunRequest.model_validate_json(run.request))
            segment.add(*self._events_of(row, view_of(app, run.auxiliary, form)))
        return segment

    def _events_of(self, row: SegmentRow, view: AnswerView) -> list[Event]:
        told: list[Event] = [Reasoning(row.reasoning)] if row.reasoning else []
        told += [*view.feed(row.text), *view.close()]
        ticket = self.store.ticket(row.ticket_id) if row.ticket_id else None
        if ticket:
            told.append(Calls(tuple(ticket.handed_out())))
        return [*told, End(row.finish_reason, Usage.model_validate_json(row.usage))]


def _caught_up(live: LiveRun, stream: Iterable[events.Event]) -> Iterator[events.Event]:
    """Yield what a run says after its events broke off. Its text comes at its end: some of it went by unheard."""
    for event in stream:
        match event:
            case events.WorkflowStarted() | events.MessageReplace() | events.ReasoningChunk():
                continue
            case events.Message() if event.answer:
                continue
            case events.WorkflowFinished() if event.succeeded and not live.catch_up(answer_in(event.outputs)):
                raise StreamBroke("The run's events broke off, and what it answered in the end is something else")
        yield event
