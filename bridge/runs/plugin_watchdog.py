"""Notices plugins that no longer ask for their tickets: one that was killed says nothing, and Dify waits on for it."""

import logging

from bridge.runs.runs import Runs

log = logging.getLogger("clawback.forsaken")


class Forsaken:
    """The tickets of endpoint runs whose plugin fell silent."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._store = runs.store

    def sweep(self, now: float) -> None:
        """Run the workflow again where the results are there; where they are not, let go of it until they are."""
        limits = self._runs.config.limits
        for ticket_id, polled_at in self._runs.polls.all():
            if now - polled_at >= limits.silent_seconds:
                self._look_after(ticket_id, gone=now - polled_at >= limits.forsaken_seconds)

    def _look_after(self, ticket_id: str, *, gone: bool) -> None:
        with self._runs.lock:
            ticket = self._store.ticket(ticket_id)
            run = self._store.run(ticket.run_id) if ticket else None
            invocation = self._store.invocation(ticket.invocation_id) if ticket else None
            if not (ticket and run and invocation) or run.direction != "endpoint" or run.state != "running":
                return
            app, live = self._runs.app(run.model), self._runs.live(run.id)
            if app is None or live is None or live.over or invocation.attempt != run.attempt:
                return
            if ticket.state == "resolved":
                log.warning("a plugin did not fetch its results; its workflow runs again", extra={"run": run.id})
                self._runs.polls.told(ticket_id)
                self._runs.go_on(run, app)
            elif ticket.state == "open" and gone:
                log.warning("a plugin no longer asks for its ticket; its workflow ends", extra={"run": run.id})
                self._runs.polls.told(ticket_id)
                self._runs.let_workflow_go(run.id)
