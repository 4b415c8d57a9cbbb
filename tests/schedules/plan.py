"""What a schedule is: who says what, and what goes wrong meanwhile. Drawn from a seed, so that a seed is a schedule."""

import json
import random
from dataclasses import dataclass, field
from typing import Literal

Behaviour = Literal["plain", "twice", "late", "reordered", "in_parts", "vanishes", "asks_again"]
"""How a client sends one request: as it should, twice at once, seconds late, its results in another order, a part of
them on the ticket first, all of them there, going away before the answer is whole, or once more after it was."""

Fault = Literal[
    "bridge", "bridge_worker", "plugin", "executor", "everything",
    "second", "bridge_sleeps", "second_sleeps", "plugin_sleeps", "dify_sleeps",
    "postgres", "postgres_sleeps", "redis", "redis_sleeps",
]  # fmt: skip
"""What is killed: the bridge with its worker, the worker alone, the plugin's process, an executor, bridge and Dify, the
second bridge, PostgreSQL or Redis. What sleeps is stopped for longer than a lease lasts, and woken."""

APPS = ("holds", "lets_go_soon", "lets_go_at_once")
_BEHAVIOURS: tuple[Behaviour, ...] = (
    "twice",
    "late",
    "reordered",
    "in_parts",
    "vanishes",
    "asks_again",
)
_FAULTS: tuple[Fault, ...] = (
    "bridge",
    "bridge_worker",
    "plugin",
    "executor",
    "bridge_sleeps",
    "plugin_sleeps",
    "dify_sleeps",
)
_SHARED_FAULTS: tuple[Fault, ...] = (
    "bridge", "bridge", "second", "second", "bridge_worker", "plugin", "bridge_sleeps", "second_sleeps",
    "plugin_sleeps", "dify_sleeps", "postgres", "postgres_sleeps", "redis", "redis_sleeps",
)  # fmt: skip


@dataclass(frozen=True)
class Round:
    """What the model does in one response: it waits, says something, and makes calls."""

    calls: int
    says: bool
    sleep: float


@dataclass(frozen=True)
class Turn:
    """One question. `requests` is how the client sends the first request, and then each round's results."""

    rounds: tuple[Round, ...]
    requests: tuple[Behaviour, ...]
    contradicts: bool = False

    def script(self, name: str, tool: str) -> str:
        """Return the user's words, which make the scripted upstream play this turn."""
        lines = [f"Turn {name}."]
        for number, round_ in enumerate(self.rounds):
            if round_.sleep:
                lines.append(f"!sleep {round_.sleep}")
            if round_.says:
                lines.append(f"!say {self.said(name, number)}")
            lines += [f"!call {tool} {json.dumps({'key': key})}" for key in self.keys(name, number)]
            lines.append("!then")
        return "\n".join([*lines, f"!say {self.answer(name)}"])

    def keys(self, name: str, number: int) -> list[str]:
        """Return the arguments of a round's calls, by which each call of all schedules is known."""
        return [f"{name}-{number}-{position}" for position in range(self.rounds[number].calls)]

    def said(self, name: str, number: int) -> str:
        """Return what the model says before a round's calls."""
        return f"Round {number} of {name}." if self.rounds[number].says else ""

    def answer(self, name: str) -> str:
        """Return what the model says in the end."""
        return f"The end of {name}."


@dataclass(frozen=True)
class Party:
    """One session of a client of the endpoint, or one person who chats with the app itself."""

    app: str
    turns: tuple[Turn, ...]
    chats: bool = False
    streams: bool = True


@dataclass(frozen=True)
class Mishap:
    """Something is killed `after` so many seconds, and started again after a `pause`."""

    after: float
    what: Fault
    pause: float = 0


@dataclass(frozen=True)
class Schedule:
    """Parties that are busy at the same time, and what happens to the processes meanwhile."""

    seed: int
    parties: tuple[Party, ...]
    mishaps: tuple[Mishap, ...] = field(default=())


def draw(seed: int, *, shared: bool = False) -> Schedule:
    """Return the schedule of a seed, for one bridge or for two that share a store."""
    dice = random.Random(seed)
    parties = tuple(_party(dice, shared) for _ in range(dice.randint(1, 3)))
    count = dice.choice((0, 1, 1, 1, 2, 2, 3))
    faults = _SHARED_FAULTS if shared else _FAULTS
    mishaps = sorted((_mishap(dice, faults) for _ in range(count)), key=lambda mishap: mishap.after)
    return Schedule(seed, parties, tuple(mishaps))


def _party(dice: random.Random, shared: bool) -> Party:
    # An executor asks the bridge that it is registered at, so two bridges are for clients.
    chats = dice.random() < (0 if shared else 0.35)
    turns = tuple(_turn(dice, chats) for _ in range(dice.choice((1, 1, 2))))
    return Party(dice.choice(APPS), turns, chats, streams=dice.random() < 0.8)


def _turn(dice: random.Random, chats: bool) -> Turn:
    rounds = tuple(
        Round(dice.randint(1, 3), dice.random() < 0.5, dice.choice((0, 0, 0.1, 0.3, 0.6)))
        for _ in range(dice.randint(1, 3))
    )
    requests = tuple(
        "plain" if chats or dice.random() < 0.5 else dice.choice(_BEHAVIOURS) for _ in range(len(rounds) + 1)
    )
    return Turn(rounds, requests, contradicts=not chats and dice.random() < 0.4)


def _mishap(dice: random.Random, faults: tuple[Fault, ...]) -> Mishap:
    what: Fault = "everything" if dice.random() < 0.05 else dice.choice(faults)
    return Mishap(round(dice.uniform(0, 2.5), 2), what, dice.choice((0, 0, 0.5)))
