"""Every wait has an end: expires tickets and runs whose time is up, and forgets what is old."""

import logging
import threading

from bridge.errors import UnprocessableRun
from bridge.runs.executors.leases import Leases
from bridge.runs.executors.runs import ExecutorRuns
from bridge.runs.live import LiveRuns
from bridge.runs.plugin_watchdog import PluginWatchdog
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.runs.tickets.approvals import Approvals
from bridge.store import clock
from bridge.store.faults import StoreUnavailable
from bridge.store.responses import Responses
from bridge.store.rows import RunRow
from tools.run_states import RunEvent

log = logging.getLogger("clawback.sweeper")

DAY_SECONDS = 86_400
SETTLED_SECONDS = 5.0
"""For so long whoever brought the results may resume the run."""


class Sweeper:
    """Looks after what is pending, every `limits.sweep_seconds`, in the background."""

    def __init__(
        self,
        services: Services,
        live_runs: LiveRuns,
        runs: Runs,
        approvals: Approvals,
        leases: Leases,
        executor_runs: ExecutorRuns,
        watchdog: PluginWatchdog,
    ) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs
        self._approvals = approvals
        self._leases = leases
        self._executor_runs = executor_runs
        self._watchdog = watchdog
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._loop, daemon=True, name="clawback-sweeper").start()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def _loop(self) -> None:
        while not self._stop.wait(self._services.config.limits.sweep_seconds):
            try:
                self.sweep(clock.now())
            except StoreUnavailable:
                # The store has said so in the log, and says when it is back.
                continue
            except Exception:
                log.exception("a sweep failed; the next one tries again")

    def _resume(self, run: RunRow) -> None:
        """Go on with a run whose results came as it was suspended. Whoever raises its attempt first does."""
        log.warning("a suspended run had all its results; it goes on", extra={"run": run.id})
        try:
            self._runs.go_on(run)
        except UnprocessableRun as error:
            self._store.end_run(run.id, RunEvent.FAIL, error.message)

    def sweep(self, now: float) -> None:
        """Do it once."""
        store = self._store
        for ticket in store.expired_tickets(now):
            if store.close_ticket(ticket.id, "expired", "nobody answered in time (limits.ticket_seconds)"):
                self._services.wakeups.wake(ticket.id)
                log.info("ticket expired", extra={"run": ticket.run_id, "ticket": ticket.id})
            run = store.run(ticket.run_id)
            waits = run and (run.state == "suspended" or self._live_runs.get(run.id) is None)
            if run and run.direction == "endpoint" and waits:
                self._runs.cancel(ticket.run_id, "its tool results did not come in time")
        self._approvals.expire(now)
        self._leases.lose(now)
        self._watchdog.sweep(now)
        self._executor_runs.sweep(now)
        store.executors.forget_unseen(now - DAY_SECONDS)
        for run in store.settled_runs(now - SETTLED_SECONDS):
            self._resume(run)
        for run in store.overdue_runs(now):
            self._runs.cancel(run.id, "its time is up (limits.run_seconds)")
        self._runs.forget_over()
        cutoff = now - self._services.config.limits.keep_days * DAY_SECONDS
        store.forget_before(cutoff)
        Responses(store).forget_before(cutoff)
