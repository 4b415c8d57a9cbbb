"""Calls handed to executors: one at a time to each call, for a limited time, again when the time is over."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from bridge import steps
from bridge.config import Config
from bridge.errors import NotFound
from bridge.registry import Registry, offers_of
from bridge.routing import Candidate, first_choice
from bridge.runs import Runs
from bridge.store.rows import CallRow, ExecutorRow, Move, TicketRow
from bridge.store.store import Overtaken
from bridge.tickets import CALLS, Tickets
from tools.ids import random_name
from tools.results import ToolResult
from tools.ticket_states import CallEvent, CallState

log = logging.getLogger("clawback.leases")


SPARE = 50
"""How many calls are looked at beyond those that could be taken, since some are for others."""

LOOK_SECONDS = 5.0
"""A hint that was lost costs this much."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A call in the hands of an executor. `tool_call_id` is the idempotency key: it is the same each time."""

    lease_id: str
    call: CallRow
    run_id: str
    until: float


class Leases:
    """Who runs which call."""

    def __init__(self, config: Config, runs: Runs, registry: Registry, tickets: Tickets) -> None:
        self._limits = config.limits
        self._runs = runs
        self._store = runs.store
        self._registry = registry
        self._tickets = tickets
        self.waiting: Counter[str] = Counter()

    # Handing out

    def claim(self, executor_id: str, most: int, seconds: float) -> list[Lease]:
        """Return up to `most` calls for the executor; wait up to `seconds` until there is one."""
        end = time.monotonic() + seconds
        with self._runs.wakeups.listen(CALLS) as hints, self._as_waiting(executor_id):
            while True:
                hints.clear()
                leases = self._hand_out(self._registry.seen(executor_id), most)
                left = end - time.monotonic()
                if leases or left <= 0:
                    return leases
                hints.wait(min(left, LOOK_SECONDS))

    @contextmanager
    def _as_waiting(self, executor_id: str) -> Iterator[None]:
        self.waiting[executor_id] += 1
        try:
            yield
        finally:
            self.waiting[executor_id] -= 1
            if not self.waiting[executor_id]:
                del self.waiting[executor_id]

    def _hand_out(self, executor: ExecutorRow, most: int) -> list[Lease]:
        own = [offer.definition.name for offer in offers_of(executor)]
        with self._runs.lock:
            ready = self._store.ready_calls(own, limit=4 * most + SPARE)
            if not ready:
                return []
            loads = Counter(self._store.executors.loads())
            present = self._registry.present()
            leases: list[Lease] = []
            for run_id, call in ready:
                choice = self._choice(call.name, present, loads, executor)
                if choice is not None:
                    loads[choice] += 1
                if choice == executor.id and len(leases) < most:
                    with suppress(Overtaken):  # Another bridge that shares the store was first.
                        leases.append(self._lease(run_id, call, executor))
        if leases and len(ready) > len(leases):
            self._runs.wakeups.wake(CALLS)
        return leases

    def _choice(
        self, tool: str, present: Sequence[ExecutorRow], loads: Mapping[str, int], asking: ExecutorRow
    ) -> str | None:
        """Return who should get the call: of those that ask now, since a call waits for nobody."""
        candidates = [
            Candidate(other.id, offer.weight, loads.get(other.id, 0), other.concurrency)
            for other in present
            if other.id == asking.id or other.id in self.waiting
            for offer in offers_of(other, tool)
        ]
        return first_choice(candidates)

    def _lease(self, run_id: str, call: CallRow, executor: ExecutorRow) -> Lease:
        until = time.time() + self._limits.lease_seconds
        lease = random_name()
        move = steps.step(
            call,
            CallEvent.CLAIM,
            f"executor {executor.name}",
            lease=lease,
            executor=executor.id,
            leased_until=until,
            handouts=call.handouts + 1,
        )
        self._store.move_calls(call.ticket_id, [move])
        log.info("call handed out", extra={"call": call.id, "tool": call.name, "executor": executor.name})
        return Lease(lease, call, run_id, until)

    # Keeping, giving back

    def extend(self, executor_id: str, lease_ids: Sequence[str]) -> tuple[dict[str, float], list[str]]:
        """Prolong leases. Return until when each lasts now, and which are over."""
        executor = self._registry.seen(executor_id)
        until = time.time() + self._limits.lease_seconds
        with self._runs.lock:
            held = {call.lease: call for _, call in self._held(executor_id)}
            kept = {lease_id: held[lease_id] for lease_id in lease_ids if lease_id in held}
            for call in kept.values():
                move = steps.step(call, CallEvent.EXTEND, f"executor {executor.name}", leased_until=until)
                self._store.move_calls(call.ticket_id, [move])
        return dict.fromkeys(kept, until), [lease_id for lease_id in lease_ids if lease_id not in kept]

    def let_go(self, executor_id: str, lease_ids: Sequence[str]) -> None:
        """Give calls back, unrun. Leases that are over already are no matter."""
        executor = self._registry.seen(executor_id)
        with self._runs.lock:
            for _, call in self._held(executor_id):
                if call.lease in lease_ids:
                    self._free(call, CallEvent.LET_GO, f"executor {executor.name}")

    def resolve(self, executor_id: str, results: Sequence[tuple[str, ToolResult]]) -> list[TicketRow]:
        """Take results, each with the id of the lease under which its call was run.

        A result that comes after its lease is over is taken all the same, unless the call is in other hands by then.
        Raises NotFound, Conflict, Gone, TooLarge.
        """
        executor = self._registry.seen(executor_id)
        with self._runs.lock:
            tickets: dict[str, list[ToolResult]] = {}
            leases = {result.tool_call_id: lease_id for lease_id, result in results}
            for _, result in results:
                found = self._store.call(result.tool_call_id)
                if found is None:
                    raise NotFound(f"there is no call {result.tool_call_id}", param="tool_call_id")
                tickets.setdefault(found[0].id, []).append(result)
            actor = f"executor {executor.name}"
            changed = [
                self._tickets.add_results(ticket_id, own, actor=actor, leases=leases)
                for ticket_id, own in tickets.items()
            ]
            for ticket in changed:
                self._tickets.moved(ticket)
        self._runs.wakeups.wake(CALLS)
        return changed

    # Losing

    def lose(self, now: float) -> None:
        """Take back the calls whose leases are over; hand them out again, but not without end."""
        with self._runs.lock:
            for call in self._store.overdue_calls(CallState.LEASED, "leased_until", now):
                self._lose(call)

    def lose_all(self, executor_id: str) -> None:
        """Take back what an executor held that is gone."""
        with self._runs.lock:
            for _, call in self._held(executor_id):
                self._lose(call)

    def _lose(self, call: CallRow) -> None:
        log.warning("a lease was lost", extra={"call": call.id, "tool": call.name, "handouts": call.handouts})
        if call.handouts < self._limits.handouts:
            self._free(call, CallEvent.LOSE, "bridge")
            return
        reason = f"this call was handed out {call.handouts} times, and each time its executor was lost with it."
        self._move(call, steps.expire(call, reason))

    def _free(self, call: CallRow, event: CallEvent, actor: str) -> None:
        self._move(call, steps.free(call, event, actor))

    def _move(self, call: CallRow, move: Move) -> None:
        self._tickets.moved(self._store.move_calls(call.ticket_id, [move]))

    def _held(self, executor_id: str) -> list[tuple[TicketRow, CallRow]]:
        return [pair for pair in self._store.calls_in(CallState.LEASED) if pair[1].executor == executor_id]
