"""Runs of the executor direction: someone chats with the Dify app itself, and executors have the tools.

Such a run is one invocation of an LLM node. The node's own prompt is its transcript, and Dify drives its workflow. What
the invocation had done when it let go is kept under its fingerprint, so that the same node, asked the same by the same
user of the same app, goes on from there: because someone asks again, or because the bridge does (`resuming`).
"""

import logging
from collections.abc import Callable

from bridge.runs.executors.registry import Registry
from bridge.runs.executors.resuming import Resuming, conversation_of
from bridge.runs.executors.trials import Trials, kind_of
from bridge.runs.live import LiveRuns
from bridge.runs.requests import RunRequest
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.store import clock
from bridge.store.rows import RunRow
from bridge.store.run_record import Change, RunRecord
from tools.fingerprint import text_digest
from tools.ids import random_name
from tools.run_states import RunEvent
from tools.wire import AttachRequest, RecordRequest

log = logging.getLogger("clawback.executors")

UNHEARD_SECONDS = 3600.0
"""No invocation lives longer without a ticket: Dify ends one after 600 s, unless it is told otherwise."""


class ExecutorRuns:
    """Makes these runs, and ends them."""

    def __init__(
        self,
        services: Services,
        live_runs: LiveRuns,
        runs: Runs,
        registry: Registry,
        resuming: Resuming,
        trials: Trials,
    ) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs
        self._registry = registry
        self._resuming = resuming
        self._trials = trials
        self._born = clock.now()

    def begin(
        self, request: AttachRequest, user: str | None, attach: Callable[[Change], RunRecord]
    ) -> RunRecord | None:
        """Return the run of an invocation that belongs to no client's run, or None where no executor is there.

        `attach` adds the invocation to it: to a new one in the same transaction. `user` is the name of Dify's user,
        where it is known.
        """
        catalogue = self._registry.catalogue()
        if not catalogue.tools:
            return None
        # Whom Dify does not name could be anybody: nobody goes on with what another began.
        whose = request.user or request.callback_key or random_name()
        session = text_digest(f"executor\n{request.app_id or ''}\n{whose}")
        turn = text_digest(f"{session}\n{request.model}\n{request.fingerprint}")
        resumed = self._resuming.resumes(session)
        asked = RunRequest(
            messages=[],
            turn=None,
            query="",
            tools=catalogue.tools,
            places=catalogue.places,
            end_user=request.user,
            conversation=conversation_of(request.callback_key),
            resumed=resumed,
        )
        with self._services.locks.of(turn):
            former = self._store.latest_run_of_turn(turn)
            # A node before the one that was suspended has its answer, and its tools are not run again.
            if former and former.state == "finished" and resumed and self._store.step(former, RunEvent.REPLAY):
                return self._store.decide(former.id, attach)
            if former and former.state in {"suspended", "failed"} and former.expires_at > clock.now():
                going_on = asked.model_copy(update={"resumed": False}).model_dump_json()
                if self._store.step(former, RunEvent.RESUME, error=None, request=going_on):
                    self._store.hold(former.id)
                    log.info("an executors' run goes on", extra={"run": former.id})
                    return self._store.decide(former.id, attach)
            run = self._new(request, kind_of(user), asked.model_dump_json(), session, turn)
            record = self._store.begin_with(run, attach)
        self._trials.note(user, run.id)
        log.info("an executors' run started", extra={"run": run.id, "tools": len(catalogue.tools)})
        return record

    def _new(self, request: AttachRequest, kind: str | None, asked: str, session: str, turn: str) -> RunRow:
        now = clock.now()
        run_id = random_name()
        return RunRow(
            id=run_id,
            model=request.app_id or "",
            session_key=session,
            turn_key=turn,
            dify_user=f"executors-{run_id}",
            conversation_id="",
            query_digest="",
            auxiliary=kind,
            state="running",
            attempt=1,
            task_id="",
            workflow_run_id="",
            request=asked,
            error=None,
            created_at=now,
            updated_at=now,
            expires_at=now + self._services.config.limits.run_seconds,
            direction="executor",
            client="",
        )

    def ended(self, request: RecordRequest, note: Callable[[Change], None]) -> bool:
        """The invocation ended, and its run with it; one that only let go leaves its run suspended.

        `note` writes how the invocation ended in the same transaction: a bridge may be killed behind each. Return
        whether that was done; for a client's run it is not.
        """

        def let_go(change: Change) -> bool:
            note(change)
            return change.step(RunEvent.SUSPEND)

        run = self._store.run(request.run_id)
        if run is None or run.direction != "executor" or run.state != "running":
            return False
        with self._services.locks.of(run.id):
            if request.stopped:
                is_noted = self._store.decide(run.id, let_go) is not None
                self._resuming.soon(run.id)
            else:
                event = RunEvent.FAIL if request.error else RunEvent.FINISH
                is_noted = self._runs.end(run.id, event, request.error, "the invocation ended", note=note)
            self._store.release(run.id)
        return is_noted

    def look_after(self, ticket_id: str, cutoff: float) -> None:
        """Cancel a run whose plugin has not asked for its ticket since: one that was killed says nothing."""
        ticket, polled_at = self._store.ticket(ticket_id), self._live_runs.polls.at(ticket_id)
        # Where bridges share the store, the plugin may ask another one.
        is_elsewhere = not polled_at and self._services.config.is_shared
        if ticket and self._born < cutoff and polled_at < cutoff and not is_elsewhere:
            self._runs.cancel(ticket.run_id, "the plugin no longer waits for this run")

    def resume(self, run_id: str, _: float) -> None:
        """Go on with a suspended run that waits for nothing."""
        self._resuming.soon(run_id)

    def cancel_silent(self, run_id: str, _: float) -> None:
        """Cancel a run of which nothing was heard."""
        self._runs.cancel(run_id, "the plugin was not heard of any more")
