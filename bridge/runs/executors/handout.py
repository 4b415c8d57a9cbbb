"""Which of the calls that wait an executor gets, and which have to be judged again because it must not have them."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from bridge.config import Config
from bridge.runs.executors.registry import Offer, Registry, offers_for, offers_of, places_of
from bridge.runs.executors.routing import Candidate, first_choice
from bridge.runs.tickets.admission import Admission
from bridge.store import Store, clock
from bridge.store.rows import ExecutorRow, UnclaimedCall
from tools.ticket_states import CallState

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
