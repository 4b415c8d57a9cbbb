"""Detects plugin processes that stopped polling, usually because they were killed, so that Dify's run does not hang."""

import logging

from bridge.runs.live import LiveRuns
from bridge.runs.runs import Runs
from bridge.runs.services import Services

log = logging.getLogger("clawback.watchdog")


class PluginWatchdog:
    """The tickets of endpoint runs whose plugin fell silent."""

    def __init__(self, services: Services, live_runs: LiveRuns, runs: Runs) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs

    def sweep(self, now: float) -> None:
        """Run the workflow again where the results are there; where they are not, let go of it until they are."""
        limits = self._services.config.limits
        for ticket_id, polled_at in self._live_runs.polls.all():
            if now - polled_at >= limits.silent_seconds:
                self._look_after(ticket_id, is_gone=now - polled_at >= limits.forsaken_seconds)

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
