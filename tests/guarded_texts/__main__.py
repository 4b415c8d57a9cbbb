"""Give guarded texts to the real OpenClaw: `python -m tests.guarded_texts --texts 200000 --seed 1`."""

import argparse
import re
import sys
import time

from tests.guarded_texts.oracle import Oracle, missing
from tests.guarded_texts.texts import Piece
from tests.guarded_texts.trial import Tally, trial


def main() -> int:
    """Print the figures; 0 where no guarded text did anything, 1 where one did, 2 where OpenClaw is not installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000, help="how many texts are derived")
    parser.add_argument("--seed", type=int, default=1, help="the same seed derives the same texts")
    parser.add_argument("--guarded-only", action="store_true", help="do not ask what the texts do without the guard")
    asked = parser.parse_args()
    if lacking := missing():
        sys.stderr.write(f"{lacking}\n")
        return 2
    begun, tally = time.monotonic(), Tally()
    with Oracle() as oracle:
        for tally in trial(oracle, asked.texts, asked.seed, unguarded=not asked.guarded_only):
            sys.stderr.write(f"\r{tally.texts} texts, {len(tally.through)} through, {time.monotonic() - begun:.0f} s")
        for pieces, told, deeds in tally.through[:20]:
            sys.stdout.write(f"\nthrough: {deeds}\n  {short(pieces)}\n  {short(told)}\n")
        sys.stdout.write(
            f"\nOpenClaw {oracle.version}, seed {asked.seed}: {tally.texts} texts, {tally.streamed} of them cut\n"
            f"unguarded: {tally.run_unguarded} ran something, {tally.order_unguarded} gave an order\n"
            f"guarded:   {sum(bool(deeds.runs) for *_, deeds in tally.through)} ran something, "
            f"{sum(bool(deeds.orders) for *_, deeds in tally.through)} gave an order\n"
        )
        for deed, count in sorted(tally.deeds_unguarded.items()):
            sys.stdout.write(f"  unguarded {deed}: {count}\n")
    return 1 if tally.through else 0


def short(pieces: list[Piece]) -> str:
    """Return pieces as they can be read: characters that come many times come three times."""
    return re.sub(r"(\\\w+|.)\1{3,}", r"\1\1\1...", ascii(pieces))


if __name__ == "__main__":
    raise SystemExit(main())
