"""Detect what was killed and says nothing, so that nobody waits for it.

PluginWatchdog   a plugin process that stopped polling
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

log = logging.getLogger("clawback.watchdog")

Act = tuple[str, Callable[[], None]]
"""What is looked after, by its name, and how."""


class PluginWatchdog:
    """The tickets of endpoint runs whose plugin fell silent."""

    def __init__(self, services: Services, live_runs: LiveRuns, runs: Runs) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs

    def due(self, now: float) -> Iterator[Act]:
        """Run the workflow again where the results are there; where they are not, let go of it until they are."""
        limits = self._services.config.limits
        for ticket_id, polled_at in self._live_runs.polls.all():
            if now - polled_at >= limits.silent_seconds:
                is_gone = now - polled_at >= limits.forsaken_seconds
                yield ticket_id, partial(self._look_after, ticket_id, is_gone=is_gone)

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
                self._runs.go_on(run)
            elif ticket.state == "open" and is_gone:
                log.warning("a plugin no longer asks for its ticket; its workflow ends", extra={"run": run.id})
                polls.told(ticket_id)
                self._runs.release_workflow(run.id)


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
            try:
                self._runs.go_on(run)
            except UnprocessableRun as error:
                self._runs.give_up(live, run, error)

    def _give_up(self, live: LiveRun, seconds: float) -> None:
        with self._services.locks.of(live.run_id):
            run = self._store.run(live.run_id)
            if run and self._live_runs.is_current(run, live):
                log.warning("Dify says nothing more of a run; it ends", extra={"run": run.id})
                self._runs.give_up(live, run, _lost(live, seconds))


def _lost(live: LiveRun, seconds: float) -> BridgeError:
    titles = ", ".join(f"{node.title!r} ({node.node_type})" for node in live.nodes.at_work) or "the next node"
    return UnprocessableRun(
        f"Dify's worker was probably killed: Dify started {titles} and then reported nothing for {seconds:.0f} s, and "
        "the run has lasted longer than Dify allows (limits.dify_workflow_seconds). The bridge did not run it again, "
        "because the node may have done its work; ask again if doing it twice does no harm",
        code="workflow_lost",
    )
