"""Every wait has an end: expires tickets and runs whose time is up, and forgets what is old."""

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from bridge.errors import UnprocessableRun
from bridge.runs.executors.leases import Leases
from bridge.runs.executors.mcp_calls import UNWAITED
from bridge.runs.executors.runs import UNHEARD_SECONDS, ExecutorRuns
from bridge.runs.live import KEEP_SECONDS, LiveRuns
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.runs.tickets.approvals import Approvals
from bridge.runs.tickets.tickets import Tickets
from bridge.runs.watchdogs import PluginWatchdog, WorkerWatchdog
from bridge.store import clock
from bridge.store.due import Kind
from bridge.store.faults import StoreUnavailable
from bridge.store.responses import Responses
from tools.run_states import RunEvent

log = logging.getLogger("clawback.sweeper")

DAY_SECONDS = 86_400
TIDY_SECONDS = 3600.0
"""How often what is old is forgotten."""
COUNT_SECONDS = 60.0
"""How often what is over is added up."""
AT_LENGTH_SECONDS = 1.0
"""For so long each sweep goes on with each of both."""

TICK_SECONDS = 0.5

_NAMED = 10
"""So many of those that a sweep could not see to are named in the log."""

SETTLED_SECONDS = 5.0
"""For so long whoever brought the results may resume the run."""


class Sweeper:
    """Looks after what is pending, every `limits.sweep_seconds`, in the background."""

    def __init__(
        self,
        services: Services,
        live_runs: LiveRuns,
        runs: Runs,
        tickets: Tickets,
        approvals: Approvals,
        leases: Leases,
        executor_runs: ExecutorRuns,
        watchdogs: Sequence[PluginWatchdog | WorkerWatchdog],
    ) -> None:
        self._services, self._store = services, services.store
        self._live_runs = live_runs
        self._runs = runs
        self._tickets = tickets
        self._watchdogs = watchdogs
        self._stop = threading.Event()
        self._tidied_at = float("-inf")
        self._undone: set[str] = set()
        """What the last sweep left undone, which was said then."""
        self._failed: dict[str, Exception] = {}
        self._is_busy = False
        self._counted_at = float("-inf")
        self._forgetting: Iterator[object] = iter(())
        self._counting: Iterator[object] = iter(())
        self._acts: dict[Kind, Callable[[str, float], None]] = {
            "tickets": self._expire,
            "approvals": approvals.expire,
            "leases": leases.lose,
            "runs": self._cancel_overdue,
            "settled": self._resume,
            "forms": lambda run_id, _: runs.look_after_forms(run_id),
            "abandoned": self._release,
            "held": executor_runs.look_after,
            "settled_executors": executor_runs.resume,
            "silent_executors": executor_runs.cancel_silent,
        }

    def start(self) -> None:
        threading.Thread(target=self._loop, daemon=True, name="clawback-sweeper").start()
        if self._store.is_shared:
            threading.Thread(target=self._keep, daemon=True, name="clawback-keeper").start()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def _keep(self) -> None:
        while not self._stop.wait(KEEP_SECONDS):
            with suppress(StoreUnavailable):
                self._live_runs.keep()

    def _loop(self) -> None:
        failure = ""
        while not self._stopped():
            try:
                self.sweep(clock.now())
                failure = ""
            except StoreUnavailable:
                # The store has said so in the log, and says when it is back.
                continue
            except Exception as error:
                if str(error) != failure:
                    log.exception("a sweep failed; each further one tries again")
                failure = str(error)

    def _stopped(self) -> bool:
        """Wait until the next sweep; return whether there is none."""
        until = time.monotonic() + self._services.config.limits.sweep_seconds
        while (rest := until - time.monotonic()) > 0:
            self._services.presence.tick()
            if self._stop.wait(min(rest, TICK_SECONDS)):
                return True
        return self._stop.is_set()

    def sweep(self, now: float) -> None:
        """Do it once: each act on its own, since one that fails must keep nobody else waiting.

        Raises StoreUnavailable.
        """
        clock.look_anew()
        forsaken = now - self._services.config.limits.forsaken_seconds
        # In this order: a call that expires may be what a run has waited for.
        before: dict[Kind, float] = {
            "tickets": now,
            "approvals": now,
            "leases": now,
            "held": forsaken,
            "settled_executors": now,
            "silent_executors": now - UNHEARD_SECONDS,
            "settled": now - SETTLED_SECONDS,
            "forms": now - SETTLED_SECONDS,
            "abandoned": now - self._services.config.limits.abandoned_seconds,
            "runs": now,
        }
        self._store.catch_up()
        for live in self._live_runs.all():
            self._do(f"catch up {live.run_id}", partial(self._tickets.catch_up_with, live))
        for watchdog in self._watchdogs:
            for which, act in watchdog.due(now):
                self._do(f"{type(watchdog).__name__} {which}", act)
        for live in self._live_runs.all():
            self._do(f"forget {live.run_id}", partial(self._runs.forget_over, live))
        self._live_runs.polls.forget_before(forsaken)
        due = self._store.due
        kinds = due.kinds(before)
        for kind in (kind for kind in before if kind in kinds):
            for each in due.of(kind, before[kind]):
                self._do(f"{kind} {each}", partial(self._acts[kind], each, before[kind]))
        if now - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = now
            self._do("tidy", partial(self._tidy, now))
        self._do("forget", partial(self._go_on, self._forgetting))
        if now - self._counted_at >= COUNT_SECONDS:
            self._counted_at, self._counting = now, self._store.figures.counting(now)
        self._do("count", partial(self._go_on, self._counting))
        self._tell_undone()
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        """Give back the memory that the last runs took, once none is held any more: glibc keeps most of it free."""
        was_busy, self._is_busy = self._is_busy, bool(self._live_runs.all())
        if was_busy and not self._is_busy and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
            trim(0)

    def _do(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except StoreUnavailable:
            raise
        except Exception as error:
            self._failed[what] = error

    def _tell_undone(self) -> None:
        """Log what has failed for the first time, with the first of the errors."""
        if new := [what for what in self._failed if what not in self._undone]:
            log.error(
                "a sweep left something undone; each further one tries again",
                extra={"undone": len(new), "what": ", ".join(new[:_NAMED])},
                exc_info=self._failed[new[0]],
            )
        self._undone = set(self._failed)
        # An error keeps all that was at hand when it was raised.
        self._failed.clear()

    def _expire(self, ticket_id: str, _: float) -> None:
        if not self._store.close_ticket(ticket_id, "expired", "nobody answered in time (limits.ticket_seconds)"):
            return
        self._services.wakeups.wake(ticket_id)
        ticket = self._store.ticket(ticket_id)
        run = self._store.run(ticket.run_id) if ticket else None
        if run is None:
            return
        log.info("ticket expired", extra={"run": run.id, "ticket": ticket_id})
        waits = run.state == "suspended" or self._live_runs.get(run.id) is None
        if run.direction != "executor" and waits:
            self._runs.cancel(run.id, "its tool results did not come in time")

    def _resume(self, run_id: str, _: float) -> None:
        """Go on with a run whose results came as it was suspended. Whoever raises its attempt first does."""
        run = self._store.run(run_id)
        if run is None:
            return
        log.warning("a suspended run had all its results; it goes on", extra={"run": run.id})
        try:
            self._runs.go_on(run)
        except UnprocessableRun as error:
            self._store.end_run(run.id, RunEvent.FAIL, error.message)

    def _release(self, run_id: str, before: float) -> None:
        self._runs.release_unanswered(run_id)

    def _cancel_overdue(self, run_id: str, _: float) -> None:
        run = self._store.run(run_id)
        is_left = run is not None and run.direction == "mcp"
        self._runs.cancel(run_id, UNWAITED if is_left else "its time is up (limits.run_seconds)")

    def _tidy(self, now: float) -> None:
        """Forget what is old."""
        cutoff = now - self._services.config.limits.keep_days * DAY_SECONDS
        self._store.executors.forget_unseen(now - DAY_SECONDS)
        Responses(self._store).forget_before(cutoff)
        self._forgetting = self._store.forgetting(cutoff)

    @staticmethod
    def _go_on(work: Iterator[object]) -> None:
        """Go on with it for a moment, and let others be served at least half of the time."""
        until, began = time.monotonic() + AT_LENGTH_SECONDS, time.monotonic()
        for _ in work:
            time.sleep(time.monotonic() - began)
            began = time.monotonic()
            if began > until:
                return
