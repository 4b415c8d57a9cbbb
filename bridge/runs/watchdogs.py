"""Detect what was killed and says nothing, so that nobody waits for it.

PluginWatchdog   a plugin process that stopped polling, or telling of itself
WorkerWatchdog   a worker of Dify's that stopped working: its run is `running` for ever, and its stream only pings
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

from bridge.errors import BridgeError, UnprocessableRun
from bridge.runs.live import LiveRun, LiveRuns
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.store import clock
from bridge.store.rows import RunRow

log = logging.getLogger("clawback.watchdog")

_BEATS = 3
"""So many may a plugin miss."""

Act = tuple[str, Callable[[], None]]
"""What is looked after, by its name, and how."""


class PluginWatchdog:
    """The tickets and the invocations whose plugin fell silent."""

    def __init__(self, services: Services, live_runs: LiveRuns, runs: Runs) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs

    def due(self, now: float) -> Iterator[Act]:
        """Run the workflow again where the results are there; where they are not, let go of it until they are."""
        limits = self._services.config.limits
        # Who was stopped meanwhile has heard nobody.
        since = clock.now() - self._services.presence.seconds()
        for ticket_id, polled_at in self._live_runs.polls.all():
            silence = now - max(polled_at, since)
            if silence >= limits.silent_seconds:
                is_gone = silence >= limits.forsaken_seconds
                yield ticket_id, partial(self._look_after, ticket_id, is_gone=is_gone)
        for invocation_id, beaten_at in self._live_runs.beats.all():
            if now - max(beaten_at, since) >= _BEATS * limits.silent_seconds:
                yield invocation_id, partial(self._look_after_invocation, invocation_id, now)

    def _look_after(self, ticket_id: str, *, is_gone: bool) -> None:
        ticket = self._store.ticket(ticket_id)
        record = self._store.record(ticket.run_id) if ticket else None
        if not (ticket and record) or record.run.direction != "endpoint" or record.run.state != "running":
            return
        run, polls = record.run, self._live_runs.polls
        with self._services.locks.of(run.id):
            live = self._live_runs.get(run.id)
            if live is None or live.over or record.invocations[ticket.invocation_id].attempt != run.attempt:
                return
            if ticket.state == "resolved":
                log.warning("a plugin did not fetch its results; its workflow runs again", extra={"run": run.id})
                polls.told(ticket_id)
                _run_again(self._runs, live, run)
            elif ticket.state == "open" and is_gone:
                log.warning("a plugin no longer asks for its ticket; its workflow ends", extra={"run": run.id})
                polls.told(ticket_id)
                self._runs.release_workflow(run.id)

    def _look_after_invocation(self, invocation_id: str, now: float) -> None:
        """Run the workflow again whose plugin was killed while it asked its model, or as it was told its results."""
        row, beats = self._store.invocation(invocation_id), self._live_runs.beats
        record = self._store.record(row.run_id) if row else None
        if row is None or record is None:
            beats.told(invocation_id)
            return
        run = record.run
        with self._services.locks.of(run.id):
            is_over = (row.state, run.state) != ("running", "running") or row.attempt != run.attempt
            live = self._live_runs.get(run.id)
            if is_over or (run.direction == "endpoint" and (live is None or live.over)):
                beats.told(invocation_id)
            elif any(ticket.state == "open" for ticket in record.tickets_of(invocation_id)):
                # Its polls say more.
                beats.heard(invocation_id)
            elif now - run.updated_at >= _BEATS * self._services.config.limits.silent_seconds:
                beats.told(invocation_id)
                if live:
                    log.warning("a plugin was killed at its work; its workflow runs again", extra={"run": run.id})
                    _run_again(self._runs, live, run)
                else:
                    self._runs.cancel(run.id, "the plugin no longer works for this run")


class WorkerWatchdog:
    """The runs of which Dify says nothing more.

    An LLM node whose invocation has ended is reported as finished at once, so silence about it means that its worker
    was killed. Any other node may be slow.
    """

    def __init__(self, services: Services, live_runs: LiveRuns, runs: Runs) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs

    def due(self, _: float) -> Iterator[Act]:
        """Run the workflow again where its worker was killed; fail the run where Dify itself would have by now."""
        for live in self._live_runs.all():
            if live.nodes.begun and live.nodes.open and not (live.over or live.suspended):
                yield live.run_id, partial(self._look_after, live)

    def _look_after(self, live: LiveRun) -> None:
        now, nodes, limits = time.monotonic(), live.nodes, self._services.config.limits
        record = self._store.record(live.run_id)
        if record is None or record.run.state != "running" or record.run.direction != "endpoint":
            return
        rows = [row for row in record.invocations.values() if row.attempt == live.attempt]
        if any(row.state == "running" for row in rows):
            nodes.busy_at = now
        silent_since = max(nodes.heard_at, nodes.busy_at)
        if now - silent_since < limits.dify_silent_seconds:
            return
        invocations = {row.id: row.state != "running" for row in rows}
        heard_without_gap = nodes.busy_at >= nodes.gap_at
        if heard_without_gap and nodes.have_ended(invocations):
            self._run_again(live)
        elif now - nodes.began_at >= limits.dify_workflow_seconds + limits.dify_silent_seconds:
            self._give_up(live, now - nodes.heard_at)

    def _run_again(self, live: LiveRun) -> None:
        with self._services.locks.of(live.run_id):
            run = self._store.run(live.run_id)
            if run is None or not self._live_runs.is_current(run, live):
                return
            log.warning("Dify's worker was killed; its workflow runs again", extra={"run": run.id})
            _run_again(self._runs, live, run)

    def _give_up(self, live: LiveRun, seconds: float) -> None:
        with self._services.locks.of(live.run_id):
            run = self._store.run(live.run_id)
            if run and self._live_runs.is_current(run, live):
                log.warning("Dify says nothing more of a run; it ends", extra={"run": run.id})
                self._runs.give_up(live, run, _lost(live, seconds))


def _run_again(runs: Runs, live: LiveRun, run: RunRow) -> None:
    try:
        runs.go_on(run)
    except UnprocessableRun as error:
        runs.give_up(live, run, error)


def _lost(live: LiveRun, seconds: float) -> BridgeError:
    titles = ", ".join(f"{node.title!r} ({node.node_type})" for node in live.nodes.at_work) or "the next node"
    return UnprocessableRun(
        f"Dify's worker was probably killed: Dify started {titles} and then reported nothing for {seconds:.0f} s, and "
        "the run has lasted longer than Dify allows (limits.dify_workflow_seconds). The bridge did not run it again, "
        "because the node may have done its work; ask again if doing it twice does no harm",
        code="workflow_lost",
    )
