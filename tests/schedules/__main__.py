"""Random schedules against real processes: `python -m tests.schedules --schedules 300 [--seed N] [--at-once 12]`.

Each seed is a schedule: who asks what, how requests go astray, and what is killed with SIGKILL or stopped meanwhile.
After each, the promises are checked. A schedule that broke one is printed with its seed, which plays it again
(`--schedules 1`).

With `--at-once 12`, twelve schedules are under way on the same processes, each with parties and an oracle of its own,
and every twelfth has its mishaps, which all that are under way meet. So 2,000 schedules are 2,000 sets of conversations
and some 240 faults, of which each schedule meets one or two.

`--shared --unfenced` shows that the oracle can fail: a bridge without a fence makes a client run a call twice. From
seed 20261128 on, the 38th schedule found it; how many it takes depends on timing.
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

from tests.schedules.parts import Parts
from tests.schedules.plan import draw
from tests.schedules.play import Outcome, play_all
from tests.schedules.promises import breaches_of_nobody

tell = partial(print, flush=True)
FRESH = 200
"""After so many schedules all begins anew, with an empty store."""


class Summary:
    """What all schedules came to."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._played, self._broken = 0, list[int]()
        self._killed, self._met, self._seen, self._counts = (Counter[str]() for _ in range(4))

    def add(self, outcome: Outcome) -> None:
        """Count a schedule."""
        self._played += 1
        self._broken += [outcome.schedule.seed] if outcome.breaches else []
        self._met += Counter(outcome.met or ["nothing"])
        self._seen += outcome.record.seen
        self._counts += outcome.counts

    def add_kills(self, parts: Parts) -> None:
        """Count what was killed."""
        self._killed += Counter(kill.what for kill in parts.kills)

    @property
    def broken(self) -> list[int]:
        """The seeds of the schedules that broke a promise."""
        return sorted(self._broken)

    def lines(self) -> Iterator[str]:
        """Say all of it."""
        seconds = time.monotonic() - self._began
        yield f"{self._played} schedules in {seconds:.0f} s, {seconds / max(1, self._played):.1f} s each"
        yield f"faults: {_listed(self._killed)}"
        yield f"schedules that met them: {_listed(self._met)}"
        yield f"seen: {_listed(self._seen)}"
        for many, one in (
            ("executions by clients", "calls of clients"),
            ("executions by executors", "calls of executors"),
            ("upstream requests", "rounds"),
        ):
            yield f"{many}: {self._counts[many]} for {self._counts[one]} {one}" + (
                f", {self._counts[many] / self._counts[one]:.3f} each" if self._counts[one] else ""
            )
        yield _listed(Counter({name: n for name, n in self._counts.items() if name.startswith("rounds asked")}))
        yield f"broken: {', '.join(map(str, self.broken)) or 'none'}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100, help="how many to play (default %(default)s)")
    parser.add_argument("--seed", type=int, help="the first seed; the others follow it")
    parser.add_argument("--at-once", type=int, default=1, help="how many are under way at once (default %(default)s)")
    parser.add_argument("--keep-going", action="store_true", help="go on after a schedule that broke a promise")
    parser.add_argument("--shared", action="store_true", help="two bridges on one PostgreSQL, with one Redis")
    parser.add_argument("--unfenced", action="store_true", help="with a bridge that lets late invocations take part")
    options = parser.parse_args()
    first = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    tell(f"seeds {first} to {first + options.schedules - 1}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    summary = Summary()
    try:
        for begin in range(first, first + options.schedules, FRESH):
            seeds = range(begin, min(begin + FRESH, first + options.schedules))
            with Parts(shared=options.shared, fenced=not options.unfenced) as parts:
                try:
                    whole = _play(parts, seeds, options, summary)
                finally:
                    summary.add_kills(parts)
                if not whole:
                    break
            tell(f"{time.strftime('%X')} {next(summary.lines())}; broken: {len(summary.broken)}")
    finally:
        tell("\n".join(summary.lines()))
    return bool(summary.broken)


def _play(parts: Parts, seeds: range, options: argparse.Namespace, summary: Summary) -> bool:
    """Play these; return whether all were played."""
    schedules = [draw(seed, shared=options.shared) for seed in seeds]
    for outcome in play_all(parts, schedules, options.at_once):
        summary.add(outcome)
        if outcome.breaches:
            tell("\n".join(_told(outcome)))
            if not options.keep_going:
                return False
    for breach in breaches_of_nobody(parts):
        tell(f"seeds {seeds.start} to {seeds.stop - 1}: {breach}")
    return True


def _told(outcome: Outcome) -> Iterator[str]:
    yield f"{time.strftime('%X')} seed {outcome.schedule.seed} ({outcome.seconds:.1f} s): {outcome.schedule}"
    yield f"    met {', '.join(sorted(outcome.met)) or 'no fault'}"
    yield from (f"    {breach}" for breach in outcome.breaches)
    for played in outcome.record.turns:
        yield f"    {played.name} was told {played.said}, after {played.troubles}"


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


if __name__ == "__main__":
    sys.exit(main())
