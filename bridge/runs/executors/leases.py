"""An executor's claim on a call for a while: which call it gets, and which have to be judged again."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from bridge.config import Config
from bridge.errors import NotFound
from bridge.runs.executors.registry import Candidate, Offer, Registry, first_choice, offers_for, offers_of, places_of
from bridge.runs.services import Services, at_once
from bridge.runs.tickets import moves as steps
from bridge.runs.tickets.admission import Admission
from bridge.runs.tickets.tickets import CALLS, Holder, Tickets
from bridge.store import clock
from bridge.store.rows import CallRow, ExecutorRow, Move, TicketRow, UnclaimedCall
from bridge.store.run_record import CallMoved
from bridge.store.store import Store
from tools.ids import random_name
from tools.results import ToolResult
from tools.ticket_states import CallEvent, CallState

SPARE = 50
"""How many calls are read at once beyond those that could be taken, since some are for others."""

MOST_PAGES = 20
"""How often so many are read: behind them a call has to wait until some of those before it are gone."""


@dataclass(slots=True)
class Plan:
    """What is to happen. `judge_again` holds with each call what the executors offer that are there for it."""

    take: list[UnclaimedCall] = field(default_factory=list)
    judge_again: list[tuple[UnclaimedCall, list[Offer]]] = field(default_factory=list)
    leaves_some: bool = False


class Handout:
    """Finds the calls for an executor: those that it may have, and that nobody else should rather get.

    A call that awaits an approval is one of them where this executor needs none. A ready call that nobody who is there
    may have is left to a person, if there is one to ask; where the policy denies it to all of them, it waits for
    `limits.executor_seconds`, in which one that went may come back, and is denied then.
    """

    def __init__(self, config: Config, store: Store, registry: Registry, admission: Admission) -> None:
        self._limits = config.limits
        self._store = store
        self._registry = registry
        self._admission = admission
        self._denied_since: dict[str, float] = {}

    def plan(self, executor: ExecutorRow, most: int, asking: Collection[str]) -> Plan:
        """Plan for an executor that asks for up to `most` calls; `asking` are the ids of those that wait for some."""
        present = {other.id: other for other in self._registry.present()}
        loads = Counter(self._store.executors.loads())
        offers: dict[tuple[str, str | None], list[Offer]] = {}
        plan = Plan()
        for waiting in self._calls(executor, 4 * most + SPARE):
            if len(plan.take) == most:
                plan.leaves_some = True
                break
            its = waiting.call.own_name, waiting.call.place
            if its not in offers:
                offers[its] = offers_for(waiting.call, present.values())
            allowed = [offer for offer in offers[its] if self._admission.lets(waiting, offer)]
            if not allowed:
                if self._is_to_be_judged_again(waiting, offers[its]):
                    plan.judge_again.append((waiting, offers[its]))
                continue
            self._denied_since.pop(waiting.call.id, None)
            # Of those that ask now, since a call waits for nobody.
            candidates = [
                Candidate(
                    offer.executor_id, offer.weight, loads[offer.executor_id], present[offer.executor_id].concurrency
                )
                for offer in allowed
                if offer.executor_id == executor.id or offer.executor_id in asking
            ]
            choice = first_choice(candidates)
            if choice is not None:
                loads[choice] += 1
            if choice == executor.id:
                plan.take.append(waiting)
            else:
                plan.leaves_some = True
        return plan

    def forget_before(self, cutoff: float) -> None:
        """Forget since when calls have been denied to all, where that was long ago: most are over."""
        self._denied_since = {call: since for call, since in self._denied_since.items() if since >= cutoff}

    def _calls(self, executor: ExecutorRow, page: int) -> Iterator[UnclaimedCall]:
        """Yield the calls that may be for an executor, the oldest first.

        Of a later page some may be missed, where others take calls of an earlier one meanwhile: so pages are long.
        """
        names, places = [offer.definition.name for offer in offers_of(executor)], places_of(executor)
        for state in (CallState.READY, CallState.AWAITING_APPROVAL):
            for number in range(MOST_PAGES):
                found = self._store.unclaimed_calls(state, places, names, number * page, page)
                yield from found
                if len(found) < page:
                    break

    def _is_to_be_judged_again(self, waiting: UnclaimedCall, offers: Sequence[Offer]) -> bool:
        if waiting.call.state != CallState.READY:
            return False
        if self._admission.asks(waiting, offers):
            return True
        now = clock.now()
        return now - self._denied_since.setdefault(waiting.call.id, now) >= self._limits.executor_seconds


log = logging.getLogger("clawback.leases")

Held = tuple[TicketRow, CallRow]
"""A call in an executor's hands, behind its ticket."""


def _run_of(held: Held) -> str:
    return held[0].run_id


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

    def __init__(self, services: Services, registry: Registry, tickets: Tickets, admission: Admission) -> None:
        self._services, self._store = services, services.store
        self._limits = services.config.limits
        self._admission = admission
        self._handout = Handout(services.config, services.store, registry, admission)
        self._registry = registry
        self._tickets = tickets
        self.waiting: Counter[str] = Counter()

    # Handing out

    def claim(
        self, executor_id: str, most: int, seconds: float, check: Callable[[], None] = lambda: None
    ) -> list[Lease]:
        """Return up to `most` calls for the executor; wait up to `seconds` until there is one.

        `check` is asked before each look, and raises what ends the wait.
        """
        end = time.monotonic() + seconds
        self._handout.forget_before(clock.now() - 2 * self._limits.executor_seconds)
        with self._services.wakeups.listen(CALLS) as hints, self._as_waiting(executor_id):
            while True:
                hints.clear()
                check()
                leases = self._hand_out(self._registry.seen(executor_id), most)
                left = end - time.monotonic()
                if leases or left <= 0 or self._services.stopping.is_set():
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
        plan = self._handout.plan(executor, most, self.waiting)
        leased = at_once(lambda waiting: self._lease(waiting, executor), plan.take, lambda waiting: waiting.run_id)
        leases = [lease for lease in leased if lease]
        for waiting, offers in plan.judge_again:
            with suppress(CallMoved):
                self._judge_again(waiting, offers)
        if leases and plan.leaves_some:
            self._services.wakeups.wake(CALLS)
        return leases

    def _judge_again(self, waiting: UnclaimedCall, offers: Sequence[Offer]) -> None:
        moves = self._admission.judge_again(waiting, offers, clock.now())
        self._tickets.move(waiting.call.ticket_id, moves)
        after = str(moves[-1].after)
        log.info("call judged again", extra={"call": waiting.call.id, "tool": waiting.call.name, "state": after})

    def _lease(self, waiting: UnclaimedCall, executor: ExecutorRow) -> Lease | None:
        call = waiting.call
        moves = []
        if call.state == CallState.AWAITING_APPROVAL:
            moves.append(steps.allow(call, f"executor {executor.name} needs no approval"))
            call = replace(call, state=CallState.READY)
        until = clock.now() + self._limits.lease_seconds
        lease = random_name()
        moves.append(
            steps.step(
                call,
                CallEvent.CLAIM,
                f"executor {executor.name}",
                lease=lease,
                executor=executor.id,
                leased_until=until,
                handouts=call.handouts + 1,
            )
        )
        try:
            self._store.move_calls(call.ticket_id, moves)
        except CallMoved:
            # Another bridge that shares the store was first.
            return None
        log.info("call handed out", extra={"call": call.id, "tool": call.name, "executor": executor.name})
        return Lease(lease, call, waiting.run_id, until)

    # Keeping, giving back

    def extend(self, executor_id: str, lease_ids: Sequence[str]) -> tuple[dict[str, float], list[str]]:
        """Prolong leases. Return until when each lasts now, and which are over."""
        executor = self._registry.seen(executor_id)
        until = clock.now() + self._limits.lease_seconds
        kept: dict[str, float] = {}

        def prolong(held: Held) -> None:
            call = held[1]
            move = steps.step(call, CallEvent.EXTEND, f"executor {executor.name}", leased_until=until)
            with suppress(CallMoved):
                self._store.move_calls(call.ticket_id, [move])
                kept[str(call.lease)] = until

        named = set(lease_ids)
        at_once(prolong, [held for held in self._held(executor_id) if held[1].lease in named], _run_of)
        return kept, [lease_id for lease_id in lease_ids if lease_id not in kept]

    def let_go(self, executor_id: str, lease_ids: Sequence[str]) -> None:
        """Give calls back, unrun. Leases that are over already are no matter."""
        executor = self._registry.seen(executor_id)
        given = [held for held in self._held(executor_id) if held[1].lease in lease_ids]
        at_once(lambda held: self._move(held[1], steps.let_go(held[1], f"executor {executor.name}")), given, _run_of)

    def resolve(self, executor_id: str, results: Sequence[tuple[str, ToolResult]]) -> list[TicketRow]:
        """Take results, each with the id of the lease under which this executor ran its call.

        A result that comes after its lease is over is taken all the same, where the call was in no other hands since.
        Raises NotFound, Conflict, Gone, TooLarge.
        """
        executor = self._registry.seen(executor_id)
        tickets: dict[str, tuple[TicketRow, list[ToolResult]]] = {}
        leases = {result.tool_call_id: lease_id for lease_id, result in results}
        holder = Holder(executor_id, executor.name, leases)
        for _, result in results:
            found = self._store.call(result.tool_call_id)
            if found is None:
                raise NotFound(f"there is no call {result.tool_call_id}", param="tool_call_id")
            tickets.setdefault(found[0].id, (found[0], []))[1].append(result)
        changed = at_once(
            lambda own: self._tickets.add_results(own[0].id, own[1], holder=holder),
            list(tickets.values()),
            lambda own: own[0].run_id,
        )
        self._services.wakeups.wake(CALLS)
        return changed

    # Losing

    def lose(self, call_id: str, now: float) -> None:
        """Take back a call whose lease or executor is gone; hand it out again, but not without end."""
        found = self._store.call(call_id)
        call = found[1] if found else None
        if call is None or call.state != CallState.LEASED:
            return
        if (call.leased_until or 0) < now or not self._registry.is_known(call.executor):
            self._lose(call)

    def lose_all(self, executor_id: str) -> None:
        """Take back what an executor held that is gone, and end its claims that wait."""
        at_once(lambda held: self._lose(held[1]), self._held(executor_id), _run_of)
        self._services.wakeups.wake(CALLS)

    def give_up(self, call_id: str, lease_id: str, why: str) -> None:
        """Take back a call whose executor does not know what became of it."""
        found = self._store.call(call_id)
        if found and found[1].state == CallState.LEASED and found[1].lease == lease_id:
            self._lose(found[1], why)

    def _lose(self, call: CallRow, why: str = "") -> None:
        log.warning("a lease was lost", extra={"call": call.id, "tool": call.name, "handouts": call.handouts})
        if self._registry.runs_once(call):
            self._move(call, *self._admission.ask_what_became(call, clock.now(), why))
            return
        if call.handouts < self._limits.handouts:
            self._move(call, steps.lose(call, why))
            return
        reason = f"this call was handed out {call.handouts} times, and each time its executor was lost with it."
        self._move(call, steps.expire(call, reason))

    def _move(self, call: CallRow, *moves: Move) -> None:
        with suppress(CallMoved):  # Somebody else was first.
            self._tickets.move(call.ticket_id, moves)

    def _held(self, executor_id: str) -> list[Held]:
        return [pair for pair in self._store.calls_in(CallState.LEASED) if pair[1].executor == executor_id]
