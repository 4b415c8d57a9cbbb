"""Random sets of interleaved conversations: `python -m tests.conversations --sets 200 [--seed N]`.

A set that let anything cross is printed with its seed, which plays it again (`--sets 1`).
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

from demo.stack import Stack
from tests.conversations.play import APP, Play, export

tell = partial(print, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conversations", description=__doc__)
    parser.add_argument("--sets", type=int, default=100, help="how many to play (default %(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="requests of a set (default %(default)s)")
    parser.add_argument("--seed", type=int, help="the first seed; the others follow it")
    options = parser.parse_args()
    first = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    tell(f"seeds {first} to {first + options.sets - 1}")
    total, broken = Counter[str](), []
    with tempfile.TemporaryDirectory() as folder:
        app = {APP: export(Path(folder))}
        with Stack(Path(folder), apps=[], exports=app, bridge_settings={"dify_streams": 64}) as stack:
            for number in range(options.sets):
                outcome = Play(stack, first + number, number * 100).run(options.steps)
                total["conversations"] += outcome.conversations
                total["requests"] += outcome.requests
                total["requests to the upstream"] += outcome.upstream_requests
                if outcome.breaches:
                    broken.append(first + number)
                    tell(f"seed {first + number}:", *outcome.breaches, sep="\n    ")
    tell(f"{options.sets} sets: {dict(total)}; broken: {broken or 'none'}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
