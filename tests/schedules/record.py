"""What the parties saw: the ground on which the promises are checked."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.schedules.plan import Turn

DIFY_GAVE_UP = "Request to Plugin Daemon Service failed"


@dataclass
class Played:
    """One turn as its party saw it. `results` are those that the party gave first, by tool_call_id."""

    name: str
    turn: Turn
    chats: bool
    said: list[str] = field(default_factory=list)
    answered: bool = False
    results: dict[str, str] = field(default_factory=dict)
    executed: dict[str, list[str]] = field(default_factory=dict)
    """The ids under which the client ran each call, by what the call is about."""
    run_at: dict[int, float] = field(default_factory=dict)
    """When the client ran the calls of each round."""
    troubles: list[str] = field(default_factory=list)

    @property
    def times_given_up(self) -> int:
        """How often the party heard that Dify gave up on a plugin at work that was silent for too long."""
        return sum(DIFY_GAVE_UP in trouble for trouble in self.troubles)


class Record:
    """What all parties of one schedule saw; `broken` are promises that were seen not to hold.

    What the schedule asks for, and all that comes of it, contains its `name`. It began at `began`, in time.monotonic().
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.monotonic()
        self.turns: list[Played] = []
        self.broken: list[str] = []
        self.seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def given_up(self) -> bool:
        """Whether Dify gave up on a plugin that was still at work."""
        return any(played.times_given_up for played in self.turns)

    def begin(self, played: Played) -> None:
        """A turn begins."""
        with self._lock:
            self.turns.append(played)

    def breach(self, what: str) -> None:
        """A promise was not kept."""
        with self._lock:
            self.broken.append(what)

    def count(self, what: str) -> None:
        """Something happened that makes the schedule worth its time."""
        with self._lock:
            self.seen[what] += 1
