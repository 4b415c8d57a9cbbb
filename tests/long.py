"""What is too long for every change: `scripts/test long [NAME ...]`. CI runs a sample of each, with a seed of the day.

conversations   interleaved conversations that have much in common, by the thousand
abandoned       runs whose client has gone, a thousand of them, and what they hold
guarded         guarded texts against OpenClaw's own functions, by the hundred thousand
schedules       kills and astray requests of one bridge, by the thousand
shared          the same with two bridges on one PostgreSQL
"""

import argparse
import subprocess
import sys
import time
from functools import partial

tell = partial(print, flush=True)
SEED = int(time.strftime("%Y%m%d"))
RUNS = {
    "conversations": ["tests.conversations", "--sets", "200"],
    "abandoned": ["tests.e2e.test_abandoned", "--runs", "1000"],
    "guarded": ["tests.guarded_texts", "--texts", "200000"],
    "schedules": ["tests.schedules", "--schedules", "1000", "--keep-going"],
    "shared": ["tests.schedules", "--schedules", "1000", "--keep-going", "--shared"],
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/test long", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*RUNS, []], help="which of them (default: all)")
    parser.add_argument("--seed", type=int, default=SEED, help="the first seed (default: the date, %(default)s)")
    options = parser.parse_args()
    failed = []
    for name in options.names or RUNS:
        module, *arguments = RUNS[name]
        began = time.monotonic()
        tell(f"=== {name}: seed {options.seed}")
        outcome = subprocess.run([sys.executable, "-m", module, *arguments, "--seed", str(options.seed)], check=False)
        tell(f"--- {name}: {(time.monotonic() - began) / 60:.1f} min, exit {outcome.returncode}")
        failed += [name] if outcome.returncode else []
    tell(f"broken: {', '.join(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
