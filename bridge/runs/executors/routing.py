"""Which of several executors gets a call: who names the tool most exactly, then who has the least to do."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """An executor that could run the call now: how exactly its patterns name the tool, and how much it has to do."""

    executor_id: str
    weight: int
    load: int
    concurrency: int

    @property
    def has_room(self) -> bool:
        """Whether it may take one more."""
        return self.load < self.concurrency


def first_choice(candidates: Sequence[Candidate]) -> str | None:
    """Return the id of the executor that gets the call, or None where nobody has room."""
    free = [candidate for candidate in candidates if candidate.has_room]
    best = min(free, key=lambda c: (-c.weight, c.load / c.concurrency, c.executor_id), default=None)
    return best.executor_id if best else None
