"""Starts, resumes and ends runs. What one Dify workflow run of them does is an Attempt."""

import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from bridge.config import App
from bridge.errors import BridgeError, Gone, Internal, UnprocessableRun
from bridge.runs import request_id
from bridge.runs.answers.view import estimate, form_of, view_of
from bridge.runs.attempt import Answered, Attempt, Failed, Outcome, Paused, Stopped
from bridge.runs.dify_slots import DifySlots
from bridge.runs.forms import FORMS, Forms, out_of_time
from bridge.runs.live import LiveRun, LiveRuns, Nodes, Workflow
from bridge.runs.recorded import Recorded
from bridge.runs.requests import RequestKeys, RunRequest
from bridge.runs.segments import Segment
from bridge.runs.services import Services, after, in_background
from bridge.store import clock
from bridge.store.faults import StoreUnavailable
from bridge.store.rows import RunRow, SegmentRow, SessionRow, TicketRow, new_user
from bridge.store.run_record import BEGINNING_SECONDS, LEFT, Change
from bridge.store.store import MayBegin
from tools.fingerprint import text_digest
from tools.ids import random_name
from tools.run_states import RunEvent, RunState

log = logging.getLogger("clawback.runs")

LOOK_SECONDS = 0.2

MAX_ATTEMPTS = 25
"""How often a run is tried without a further ticket coming of it."""

KEPT_SECONDS = 60.0

FORM_LOOK_SECONDS = 1.0
"""How often it is looked whether a form is settled, where no wake-up says so."""

ASK_DIFY_SECONDS = 15.0
"""How often Dify is asked whether somebody has answered a form there."""

RETRY_SECONDS = 5.0
"""How long until Dify is given the answer of a form again that it could not take."""

MOVED_SECONDS = 60.0
"""For so long a running run may be another bridge's."""

ENDING_SECONDS = 3.0
"""For so long the end of a workflow is waited for before a run goes on in another one."""

ENDING_LOOK_SECONDS = 0.1
"""How often Dify is asked for it meanwhile."""

NO_MODEL_NODE = "no LLM node ran"
"""How the diagnosis of such a run begins."""

_UNWRITTEN = "its end could not be written when it came"


class Runs:
    """The runs of clients. A decision about one is made under its lock, and again where the store says no."""

    def __init__(self, services: Services, live_runs: LiveRuns, slots: DifySlots, forms: Forms) -> None:
        self._services, self._store = services, services.store
        self._forms = forms
        self._live_runs = live_runs
        self._slots = slots
        self._recorded = Recorded(services)
        self.unmatched: deque[tuple[float, str]] = deque(maxlen=50)
        """When invocations belonged to no run, and why."""

    # Starting

    def start(
        self,
        app: App,
        request: RunRequest,
        session: SessionRow,
        keys: RequestKeys,
        may_begin: MayBegin | None = None,
    ) -> LiveRun | None:
        """Start a run in its session; None where a run of that session is under way.

        `may_begin` raises where no run may begin.
        """
        return self._start(app, request, session, keys, None, may_begin, apart=False)

    def start_apart(
        self,
        app: App,
        request: RunRequest,
        session: SessionRow,
        keys: RequestKeys,
        auxiliary: str | None = None,
        may_begin: MayBegin | None = None,
    ) -> LiveRun:
        """Start a run with a Dify user of its own."""
        live = self._start(app, request, session, keys, auxiliary, may_begin, apart=True)
        assert live is not None  # noqa: S101 - nothing is in its way
        return live

    def _start(
        self,
        app: App,
        request: RunRequest,
        session: SessionRow,
        keys: RequestKeys,
        auxiliary: str | None,
        may_begin: MayBegin | None,
        *,
        apart: bool,
    ) -> LiveRun | None:
        now = clock.now()
        run = RunRow(
            id=random_name(),
            model=app.model,
            session_key=session.key,
            turn_key=keys.turn,
            dify_user=new_user() if apart else session.dify_user,
            conversation_id="" if apart or app.conversation == "new" else session.conversation_id,
            query_digest=text_digest(request.query),
            auxiliary=auxiliary,
            state="running",
            attempt=1,
            task_id="",
            workflow_run_id="",
            request=request.rest(),
            error=None,
            created_at=now,
            updated_at=now,
            expires_at=now + self._services.config.limits.run_seconds,
            began_at=now,
            request_key=keys.request,
            idempotency=keys.idempotency,
            client=request.client,
            driven_at=now,
        )
        pieces = request.pieces()
        if apart:
            kept: RunRow | None = self._store.insert_run(run, pieces, may_begin)
        else:
            kept = self._store.begin_run(run, session, pieces, may_begin)
        if kept is None:
            return None
        self._services.requests.remember(kept, request)
        live = self._make_live(kept, request)
        live.begins_conversation = not kept.conversation_id
        self._drive(kept, app, request, live, None if apart or app.conversation == "new" else session)
        log.info("run started", extra={"run": run.id, "model": run.model, "apart": apart})
        return live

    def resume(self, run: RunRow, app: App, latest: RunRequest | None = None, *, untold: int | None = None) -> LiveRun:
        """Run the workflow again: finished rounds are replayed, and what the client was told is not told again.

        `latest` is the request that brought the results. Its transcript holds the finished rounds too, for a node
        whose prompt is no longer the same, so that its rounds cannot be found again. `untold` is the segment that is
        wanted.

        Raises Gone where another bridge goes on with the run, or has told that segment.
        """
        request = self._services.requests.of(run)
        with self._services.locks.of(run.id):
            in_vain = run.attempt - self._store.fruitful_attempt(run.id)
            if in_vain >= MAX_ATTEMPTS:
                raise UnprocessableRun(f"run {run.id} has failed {in_vain} times; start a new turn")
            self._store.hold(run.id)
            again, forms = self._forms.settle(run)
            if forms and all(form.state == "open" for form in forms):
                return self._hold_again(run, request, again)
            if not (self._store.go_on(run) if forms else self._run_again(run, untold)):
                raise moved()
            live = self._live_of(run, request)
            live.latest = latest
            resumed = self._store.run(run.id) or run
            session = None if app.conversation == "new" else self._store.session(run.session_key)
            is_apart = session is None or session.dify_user != run.dify_user
            self._drive(resumed, app, request, live, None if is_apart else session, goes_on=bool(forms))
        log.info("run resumed", extra={"run": run.id, "attempt": resumed.attempt})
        return live

    def _run_again(self, run: RunRow, untold: int | None) -> bool:
        if run.began_at is not None and run.task_id:
            self._let_end(run)
        return self._store.run_again(run, untold)

    def _let_end(self, run: RunRow) -> None:
        """See to the end of the workflow that a run leaves, and wait for it for a moment.

        Where a node of it goes on without its answer (with a default value, say), others follow. Until the next attempt
        begins, these take part in nothing; later ones would take part in that, beside its own nodes.
        """
        live, until = self._live_runs.driving(run), time.monotonic() + ENDING_SECONDS
        if live and live.suspended and live.workflow.wait(ENDING_SECONDS):
            return
        apps = self._services.apps
        apps.stop(run.model, run.task_id, run.dify_user)
        if (live and not (live.suspended or live.over)) or not run.workflow_run_id:
            # Dify's worker is dead, or the app has no nodes.
            return
        while time.monotonic() < until and apps.is_running(run.model, run.workflow_run_id):
            time.sleep(ENDING_LOOK_SECONDS)

    def _live_of(self, run: RunRow, request: RunRequest) -> LiveRun:
        live = self._live_runs.get(run.id)
        return self._make_live(run, request) if live is None or live.over or live.attempt < run.attempt else live

    def once_begun(self, run: RunRow) -> RunRow:
        """Return a run that another process drives, or drove, once a node of its workflow has attached.

        One that attaches later would take part in the next attempt, beside that one's own: Dify stops no workflow at
        once, and none that has not begun.
        """
        until = time.monotonic() + BEGINNING_SECONDS
        while self.is_beginning(run) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            run = self._store.run(run.id) or run
        return run

    def is_beginning(self, run: RunRow) -> bool:
        """Whether the first node of a workflow that another process began may yet attach to a run as it was read."""
        live = self._live_runs.get(run.id)
        if run.state != "running" or run.began_at is None or (live and live.attempt == run.attempt):
            return False
        record = self._store.record(run.id)
        return clock.now() - run.began_at < BEGINNING_SECONDS and record is not None and record.is_beginning

    def go_on(self, run: RunRow, latest: RunRequest | None = None) -> None:
        """Resume a run unless somebody else has, where no client is there to be told."""
        app = self._services.apps.get(run.model)
        if app:
            with suppress(Gone):
                self.resume(run, app, latest)

    def _make_live(self, run: RunRow, request: RunRequest) -> LiveRun:
        # What is kept must not keep the row: a request may be long.
        apps, model, auxiliary, form = self._services.apps, run.model, run.auxiliary, form_of(request)
        return LiveRun(
            run.id,
            self._store.segments(run.id),
            self._save,
            lambda: view_of(apps.get(model), auxiliary, form),
            lambda text: estimate(request.messages, request.tools, text),
        )

    def _save(self, segment: SegmentRow, attempt: int) -> None:
        if not self._store.save_segment(segment, attempt):
            raise moved()

    def _drive(
        self,
        run: RunRow,
        app: App,
        request: RunRequest,
        live: LiveRun,
        session: SessionRow | None,
        *,
        goes_on: bool = False,
    ) -> None:
        live.begin(run.attempt, goes_on=goes_on)
        live.request_id = request_id.current()
        self._live_runs.add(live)
        in_background(self._follow, run, app, request, live, live.workflow, session, goes_on)

    def _follow(
        self,
        run: RunRow,
        app: App,
        request: RunRequest,
        live: LiveRun,
        workflow: Workflow,
        session: SessionRow | None,
        goes_on: bool,
    ) -> None:
        parts = (self._services, self._slots, self._live_runs)
        with Attempt(*parts, run, app, request, live, session, goes_on=goes_on) as attempt:
            outcome = attempt.outcome()
            workflow.leave(is_over=_is_over(outcome))
            self._conclude(run, request, live, outcome)
            if not isinstance(outcome, Paused):
                attempt.drain()
        # A paused workflow needs no place at Dify.
        if isinstance(outcome, Paused):
            self._wait_for_person(run, live, is_new=bool(outcome.forms))

    # Forms

    def _pause(self, run: RunRow, live: LiveRun, paused: Paused) -> None:
        """Forms pause the workflow: written, then told."""
        with self._services.locks.of(run.id):
            opened = self._forms.pause(run, paused.forms)
            if opened is None:
                if self._live_runs.is_elsewhere(live):
                    self.hand_over(live)
                return
            self.note_suspension(run.id)
            self._hand_out(run, live, opened.tickets)
        self._forms.tell(run, opened.forms)

    def _hand_out(self, run: RunRow, live: LiveRun, tickets: Sequence[TicketRow]) -> None:
        """Give a client the calls by which it asks its user; where no one else is asked, nobody waits here."""
        for ticket in tickets:
            live.deliver(ticket)
        is_alone = all(form.ticket_id for form in self._store.forms.pausing(self._store.run(run.id) or run))
        if tickets and is_alone:
            self._release(run.id, live)

    def _hold_again(self, run: RunRow, request: RunRequest, tickets: Sequence[TicketRow]) -> LiveRun:
        """A client has come back while somebody is still to answer: its own user once more, if there are `tickets`."""
        live = self._live_runs.get(run.id)
        if live and not live.over and live.attempt == run.attempt:
            return live
        live = self._make_live(run, request)
        live.begin(run.attempt, goes_on=True)
        live.suspended = True
        self._live_runs.add(live)
        self._hand_out(run, live, tickets)
        in_background(self._wait_for_person, run, live, True, True)
        return live

    def _wait_for_person(self, run: RunRow, live: LiveRun, is_new: bool = True, is_back: bool = False) -> None:
        """Go on as soon as a form is answered, and send the client away when it has waited for long enough.

        For a client that `is_back`, Dify is asked at once whether the form was answered there meanwhile.
        """
        until = time.monotonic() + self._services.config.limits.form_hold_seconds
        ask_at = time.monotonic() + (0 if is_back else ASK_DIFY_SECONDS)
        with self._services.wakeups.listen(FORMS + run.id) as hints:
            hints.wait(0 if is_new else RETRY_SECONDS)
            while self._live_runs.is_current(run, live) and not live.over:
                hints.clear()
                try:
                    now = self._store.run(run.id) or run
                    if self._ends_waiting(now, live, until):
                        return
                    if time.monotonic() >= ask_at:
                        ask_at = time.monotonic() + ASK_DIFY_SECONDS
                        self._forms.ask_dify(now, self._forms.look(now))
                        continue
                except StoreUnavailable:
                    # What was answered is told once the store is back.
                    hints.wait(FORM_LOOK_SECONDS)
                    continue
                hints.wait(max(0.0, min(until - time.monotonic(), FORM_LOOK_SECONDS)))

    def _ends_waiting(self, run: RunRow, live: LiveRun, until: float) -> bool:
        """Go on, or send the client away, where it is time to; say whether it is."""
        forms = self._forms.look(run)
        if run.state != "suspended" or any(form.state != "open" for form in forms):
            self._go_on_answered(run, live)
            return True
        if time.monotonic() >= until:
            self._send_away(run, live, self._forms.still_waiting(forms))
            return True
        return False

    def _go_on_answered(self, run: RunRow, live: LiveRun) -> None:
        try:
            if run.state == "suspended" and run.attempt == live.attempt:
                self.go_on(run)
            elif run.attempt > live.attempt:
                self.hand_over(live)
        except StoreUnavailable:
            raise
        except BridgeError as error:
            live.fail(error)
            self.end(run.id, RunEvent.FAIL, error.message, error.message)

    def _send_away(self, run: RunRow, live: LiveRun, error: BridgeError) -> None:
        """Tell the client to ask again; the run waits on, and goes on without it."""
        with self._services.locks.of(run.id):
            if self._live_runs.is_current(run, live) and live.suspended:
                self._store.forms.owe(run.id, is_owed=True)
                live.fail(error)
                self._live_runs.drop(run.id)
                log.info("a run waits for a person without its client", extra={"run": run.id})

    def goes_on_in_dify(self, run: RunRow) -> bool:
        """A node of a suspended run has begun. Go on with the run if Dify has an answer to its form; say whether so."""
        forms = self._store.forms.pausing(run)
        self._forms.ask_dify(run, [form for form in forms if form.state == "open"])
        if any(form.state != "open" for form in self._store.forms.pausing(run)):
            self.go_on(run)
        now = self._store.run(run.id)
        return now is not None and now.state == "running"

    def look_after_forms(self, run_id: str) -> None:
        """Go on with a run whose form is settled, and that nobody here waits for: its bridge may have been killed."""
        live, run = self._live_runs.get(run_id), self._store.run(run_id)
        if run is None or (live and not live.over):
            return
        if run.state == "running" and self._services.config.is_shared and clock.now() - run.updated_at < MOVED_SECONDS:
            # Another bridge may be at it.
            return
        try:
            self.go_on(run)
        except UnprocessableRun as error:
            self.end(run.id, RunEvent.FAIL, error.message, error.message)

    # Ending

    def _conclude(self, run: RunRow, request: RunRequest, live: LiveRun, outcome: Outcome) -> None:
        """Do what follows from how an attempt has ended."""
        try:
            match outcome:
                case Answered():
                    self._finish(run, request, live)
                case Stopped():
                    self._wait_for_results(run, live)
                case Paused():
                    self._pause(run, live, outcome)
                case Failed():
                    late = self._forms.expired(run) if outcome.cut_off and not live.nodes.begun else None
                    error = out_of_time(late) if late else outcome.error
                    self.fail(run, live, error, cut_off=outcome.cut_off, is_over=outcome.is_over)
        except BridgeError as error:
            self.fail(run, live, error, is_over=isinstance(outcome, Answered))
        except Exception:
            log.exception("how a run ended could not be kept", extra={"run": run.id})
            self.fail(run, live, Internal("the bridge failed at the end of the run; its log says more"))

    def _finish(self, run: RunRow, request: RunRequest, live: LiveRun) -> None:
        expired = self._forms.expired(run)
        problem = self.diagnose(run, request, live.nodes) or expired
        if expired and live.silent:
            raise out_of_time(expired)
        if live.silent and not live.current.number:
            raise UnprocessableRun(f"the chatflow answered nothing. {problem or ''}".strip(), code="empty_answer")
        live.note = problem
        live.deliver_pending()
        with self._services.locks.of(run.id):
            finished = self._store.decide(run.id, lambda change: self._finished(change, run, request, live))
            if finished is None:
                self.hand_over(live)
                return
            for ticket_id in finished:
                self._services.wakeups.wake(ticket_id)
            if live.failure:
                raise live.failure.fresh()
        log.log(logging.WARNING if problem else logging.INFO, "run finished", extra={"run": run.id, "note": problem})

    def _finished(self, change: Change, run: RunRow, request: RunRequest, live: LiveRun) -> list[str] | None:
        """Tell the end once it is written: a run that has ended without its answer could not be told again.

        Return the tickets that nobody waits for any more, None where another bridge goes on with the run.
        """
        if change.state.run.attempt > live.attempt:
            return None
        cancelled = change.cancel_tickets("the workflow run ended")

        def write(segment: SegmentRow) -> None:
            change.add_segment(segment)
            change.step(RunEvent.FINISH, error=live.note)
            if run.auxiliary is None:
                self._remember(change, run, request)
            self._store.commit(change)

        live.finish(write)
        return cancelled

    def _remember(self, change: Change, run: RunRow, request: RunRequest) -> None:
        """Let what was said last lead a client back to its conversation whose name for it may be shared."""
        if not request.frame:
            return
        said = self._recorded.past_of(request, change.state)
        if said.latest:
            change.also(
                self._store.exchanges.adding(run.session_key, said.latest, said.whole, request.given, request.frame)
            )

    def diagnose(self, run: RunRow, request: RunRequest, nodes: Nodes) -> str | None:
        """Say why no node of a run whose client brought tools asked the bridge for them; None where one did."""
        if not request.tools or self._store.has_invocations(run.id):
            return None
        missed = [reason for when, reason in self.unmatched if when >= run.created_at]
        app = self._services.apps.get(run.model)
        if app and app.label:
            return (
                f"no LLM node with callback_label {app.label!r} asked the bridge for tools: set it in the node's form, "
                "switch external_tool_callback_enabled on, and publish the app"
            )
        if missed:
            return f"an LLM node asked the bridge for tools, but its run was not found: {missed[-1]}"
        if nodes.without_models:
            return f"{NO_MODEL_NODE}, so nothing could use the client's tools"
        return (
            "no LLM node of the app asked the bridge for tools. In the app, choose the Clawback provider in the LLM "
            "node, switch external_tool_callback_enabled on, publish the app, and see that the provider's bridge URL "
            "is one that Dify's plugin daemon can reach"
        )

    def _wait_for_results(self, run: RunRow, live: LiveRun) -> None:
        """Nodes ended with their calls: the run goes on with the results, in a workflow run of its own."""
        with self._services.locks.of(run.id):
            if not self.suspend(run.id, live.attempt) and self._live_runs.is_elsewhere(live):
                self.hand_over(live)
                return
            tickets = [ticket for ticket in map(self._store.ticket, live.stopped) if ticket]
            if any(ticket.state == "open" for ticket in tickets) or self._services.apps.get(run.model) is None:
                self._release(run.id, live)
            else:
                self.go_on(self._store.run(run.id) or run)
        log.info("run waits for the results of calls that ended its nodes", extra={"run": run.id})

    def _release(self, run_id: str, live: LiveRun) -> None:
        """Forget a suspended run until its results come, unless its client still waits for a person's decision."""
        live.deliver_pending()
        live.deliver_stopped()
        if not (live.undelivered or live.current.readers):
            self._live_runs.drop(run_id)

    def hand_over(self, live: LiveRun) -> None:
        """A bridge that shares the store goes on with the run. Who still reads it here is told to ask again."""
        live.fail(moved())
        self._live_runs.drop(live.run_id)

    def fail(
        self, run: RunRow, live: LiveRun, error: BridgeError, *, cut_off: bool = False, is_over: bool = False
    ) -> None:
        """The attempt ended without an answer. A suspended run has only let go of its workflow.

        So has one whose workflow was `cut_off` while its client ran tools. One that `is_over` goes on nowhere.
        """
        try:
            self._fail(run, live, error, cut_off=cut_off, is_over=is_over)
        except Exception as problem:
            # The store says itself what is the matter with it.
            is_fault = not isinstance(problem, StoreUnavailable)
            log.error("how a run failed could not be kept", extra={"run": run.id}, exc_info=is_fault)
            # The client learns of it all the same, and the sweeper of the store later. Whether the run goes on, nobody
            # knows before the store answers.
            if not live.suspended and self._live_runs.is_current(run, live):
                live.fail(problem if isinstance(problem, StoreUnavailable) else error)

    def _fail(self, run: RunRow, live: LiveRun, error: BridgeError, *, cut_off: bool, is_over: bool) -> None:
        with self._services.locks.of(run.id):
            if not self._live_runs.is_current(run, live):
                return
            if cut_off and self._survives(run, live):
                log.warning("a workflow was cut off while tools ran", extra={"run": run.id, "error": error.message})
            if not self._live_runs.is_current(run, live):
                return
            reason = f"the workflow run failed: {error.message}"
            if not self.end(run.id, RunEvent.FAIL, error.message, reason, live.attempt, is_over=is_over):
                self._outlives(run.id, live, error, is_over=is_over)
                return
            live.fail(error)
        self._services.observers.run_failed(run, error.code or error.type)
        log.warning("run failed", extra={"run": run.id, "code": error.code, "error": error.message})

    def _outlives(self, run_id: str, live: LiveRun, error: BridgeError, *, is_over: bool) -> None:
        """The store has not let the run fail: it has gone on elsewhere, has let go of its workflow, or is over."""
        stored = self._store.run(run_id)
        if stored and stored.attempt > live.attempt:
            self.hand_over(live)
        elif stored and stored.state == "suspended":
            if is_over:
                self._store.note_end(run_id, live.attempt)
            self._release(run_id, live)
        else:
            live.fail(error)

    def _survives(self, run: RunRow, live: LiveRun) -> bool:
        """Suspend the run if its client runs tools, or resume it with results that its plugin did not fetch any more.

        Returns whether it did either.
        """
        live.deliver_pending()
        tickets = self._store.tickets_of_run(run.id)
        delivered = [ticket for ticket in tickets if ticket.segment is not None or not ticket.client_calls]
        waiting = [ticket for ticket in delivered if ticket.state == "open"]
        polls = self._live_runs.polls
        unfetched = [ticket for ticket in delivered if ticket.state == "resolved" and polls.at(ticket.id)]
        if live.failure or not (waiting or unfetched) or self._services.apps.get(run.model) is None:
            return False
        self.release_workflow(run.id, live.attempt)
        if not waiting:
            self.go_on(self._store.run(run.id) or run)
        return True

    def cancel(self, run_id: str, reason: str, attempt: int | None = None) -> None:
        """End a run that nobody waits for any more, in this attempt if one is given, and free Dify's worker."""
        with self._services.locks.of(run_id):
            run = self._store.run(run_id)
            if run is None or not self.end(run_id, RunEvent.CANCEL, reason, reason, attempt):
                return
            if live := self._live_runs.drop(run_id):
                live.fail(Gone(reason, code="run_cancelled"))
        self._stop_task(run)
        log.info("run cancelled", extra={"run": run_id, "reason": reason})

    def give_up(self, live: LiveRun, run: RunRow, error: BridgeError) -> None:
        """Dify says nothing more of this attempt: tell its client, unless that still runs tools."""
        self.fail(run, live, error, cut_off=True)
        if live.over:
            # Whoever listens to Dify is to find that nobody waits for it.
            self._live_runs.drop(run.id)
        self._stop_task(run)

    def note_cancellation(self, live: LiveRun, run: RunRow) -> None:
        """The run was cancelled by another bridge."""
        live.fail(Gone(run.error or "the run was cancelled", code="run_cancelled"))
        self._live_runs.drop(run.id)

    def end(
        self,
        run_id: str,
        event: RunEvent,
        error: str | None,
        reason: str,
        attempt: int | None = None,
        *,
        is_over: bool = False,
        note: Callable[[Change], None] = lambda _: None,
    ) -> bool:
        """Bring an unfinished run to its end, its open tickets with it for this reason, and wake who waits for them.

        `note` changes more of it, where it ends.
        Whoever knows of one attempt alone gives it: another bridge may have begun the next. `is_over` says that its
        workflow has ended, too. Returns whether the run was still unfinished, and in that attempt; a suspended run does
        not fail with its attempt's workflow, which it has let go of.
        """

        def decision(change: Change) -> list[str] | None:
            lets_go = event == RunEvent.FAIL and attempt is not None and change.state.run.state == RunState.SUSPENDED
            if lets_go or not change.step(event, attempt, error=error):
                return None
            if is_over:
                change.run(began_at=None)
            else:
                change.leave_user()
            change.also(self._store.forms.cancelling(run_id))
            note(change)
            return change.cancel_tickets(reason)

        cancelled = self._store.decide(run_id, decision)
        for ticket_id in cancelled or ():
            self._services.wakeups.wake(ticket_id)
        self._services.wakeups.wake(FORMS + run_id)
        return cancelled is not None

    def suspend(self, run_id: str, attempt: int | None = None) -> bool:
        """The plugin lets go of the workflow; the run waits for its results without one. Return whether that is so."""
        is_suspended = self._store.suspend(run_id, attempt)
        if is_suspended or attempt is None:
            self.note_suspension(run_id)
        return is_suspended

    def note_suspension(self, run_id: str) -> None:
        """The run was suspended: what its workflow still says is not told."""
        if live := self._live_runs.get(run_id):
            live.suspended = True

    def release_workflow(self, run_id: str, attempt: int | None = None) -> None:
        """The workflow is of no more use; the run waits for its results without one."""
        if not self.suspend(run_id, attempt) and attempt is not None:
            return
        if run := self._store.run(run_id):
            self._stop_task(run)
        for ticket in self._store.tickets_of_run(run_id, "open"):
            # Its plugin learns that nothing is to be waited for.
            self._services.wakeups.wake(ticket.id)

    def _stop_task(self, run: RunRow) -> None:
        in_background(self._services.apps.stop, run.model, run.task_id, run.dify_user)

    def forget_over(self, live: LiveRun) -> None:
        """Let go of a run if it ended a while ago; what it told is in the store."""
        kept = KEPT_SECONDS + self._services.config.limits.grace_seconds
        if live.over and not live.current.readers and time.monotonic() - live.touched_at > kept:
            with self._services.locks.of(live.run_id):
                self.end(live.run_id, RunEvent.FAIL, _UNWRITTEN, _UNWRITTEN, live.attempt)
                self._live_runs.drop(live.run_id)

    # Readers

    def enter_reading(self, run_id: str, segment: Segment, connection: socket.socket | None = None) -> None:
        """A client begins to read."""
        with self._services.locks.of(run_id):
            segment.readers += 1
            segment.connections.append(connection)
            if connection in segment.expected:
                segment.expected.remove(connection)
            segment.abandoned = segment.broken = False

    def leave_reading(
        self,
        run_id: str,
        segment: Segment,
        connection: socket.socket | None = None,
        *,
        complete: bool = False,
        broken: bool = False,
    ) -> None:
        """A client stopped reading; one that went before the end may come back within the grace time."""
        with self._services.locks.of(run_id):
            segment.readers -= 1
            segment.connections.remove(connection if connection in segment.connections else None)
            segment.delivered = segment.delivered or complete
            if complete and segment.is_owed:
                segment.is_owed = False
                self._store.forms.owe(run_id, is_owed=False)
            if segment.readers or segment.expected or segment.delivered:
                return
            segment.abandoned, segment.broken = True, broken
            segment.left_at = time.monotonic()
            segment.departures += 1
            departure = segment.departures
            live = self._live_runs.get(run_id)
            attempt = live.attempt if live else None
        if segment.is_echo:
            return
        self._let_others(run_id, segment, live)
        after(self._services.config.limits.grace_seconds, self._abandon, run_id, segment, departure, attempt)

    def _let_others(self, run_id: str, segment: Segment, live: LiveRun | None) -> None:
        """The client has gone: where it comes back to another bridge, that one goes on with the run at once."""
        if live and live.current is segment and self._services.config.is_shared:
            with suppress(StoreUnavailable):
                self._store.drive({run_id: live.attempt}, LEFT)

    def leave_with_calls(self, run_id: str, segment: Segment) -> None:
        """A client with calls in hand has closed its connection: it may bring the results on another."""
        after(self._services.config.limits.grace_seconds, self.release_unanswered, run_id, segment.number)

    def release_unanswered(self, run_id: str, segment: int | None = None) -> None:
        """Let go of the workflow of a run whose client does not answer its calls, those of this segment or any."""
        if (live := self._live_runs.get(run_id)) and live.over:
            # Nothing was left unanswered, and the store need not be asked.
            return
        with self._services.locks.of(run_id):
            run = self._store.run(run_id)
            tickets = self._store.tickets_of_run(run_id, "open")
            waiting = any(segment in {None, each.segment} and each.unanswered() for each in tickets)
            if run and run.state == "running" and waiting:
                self.release_workflow(run_id)
                log.info("a run let go of its workflow: its client has gone", extra={"run": run_id})

    def _abandon(self, run_id: str, segment: Segment, departure: int, attempt: int | None = None) -> None:
        with self._services.locks.of(run_id):
            if not segment.abandoned or segment.departures != departure or segment.closed:
                return
            if self._store.forms.of_run(run_id):
                # What a person has been asked is carried out all the same, once they have answered.
                self._store.forms.owe(run_id, is_owed=True)
            else:
                # It may have come back to another bridge, which goes on with the run; also with one let go of here.
                live = self._live_runs.get(run_id)
                self.cancel(run_id, "the client went away and did not come back", live.attempt if live else attempt)


def _is_over(outcome: Outcome) -> bool:
    """Whether the workflow has ended with its attempt."""
    return isinstance(outcome, Answered | Stopped) or (isinstance(outcome, Failed) and outcome.is_over)


def moved() -> Gone:
    """Return what a client is told that has to ask another bridge."""
    return Gone("another bridge continues this run; send the request again", code="run_moved")
