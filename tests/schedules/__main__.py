"""Random schedules against real processes: `python -m tests.schedules --schedules 300 [--seed N]`.

Each seed is a schedule: who asks what, how requests go astray, and what is killed with SIGKILL meanwhile. After each,
the promises are checked. A schedule that broke one is printed with its seed, which plays it again (`--schedules 1`).

`--shared --unfenced` shows that the oracle can fail: a bridge without a fence makes a client run a call twice. On a
busy machine the first schedule from seed 109846 found it; how many it takes depends on timing.
"""

import argparse
import random
import signal
import statistics
import sys
import time
from collections import Counter
from functools import partial

from tests.schedules.parts import Parts
from tests.schedules.plan import draw
from tests.schedules.play import play

tell = partial(print, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100, help="how many to play (default %(default)s)")
    parser.add_argument("--seed", type=int, help="the first seed; the others follow it")
    parser.add_argument("--keep-going", action="store_true", help="go on after a schedule that broke a promise")
    parser.add_argument("--shared", action="store_true", help="two bridges on one PostgreSQL, with one Redis")
    parser.add_argument("--unfenced", action="store_true", help="with a bridge that lets late invocations take part")
    options = parser.parse_args()
    first = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    tell(f"seeds {first} to {first + options.schedules - 1}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    broken, seconds, seen = [], [], Counter[str]()
    try:
        with Parts(shared=options.shared, fenced=not options.unfenced) as parts:
            for number in range(options.schedules):
                outcome = play(parts, draw(first + number, shared=options.shared), number)
                seconds.append(outcome.seconds)
                seen += outcome.record.seen + Counter({f"killed {what}": count for what, count in parts.kills.items()})
                if outcome.breaches:
                    broken.append(first + number)
                    tell(f"{time.strftime('%X')} seed {first + number} ({outcome.seconds:.1f} s): {outcome.schedule}")
                    tell("\n".join(f"    {breach}" for breach in outcome.breaches))
                    for played in outcome.record.turns:
                        tell(f"    {played.name} was told {played.said}, after {played.troubles}")
                    if not options.keep_going:
                        break
    finally:
        tell(f"{len(seconds)} schedules, {statistics.mean(seconds or [0]):.1f} s each; {dict(seen)}")
        tell(f"broken: {broken or 'none'}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
