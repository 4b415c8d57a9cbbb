"""The provider's time per streamed delta, now and at an earlier commit: `python -m bench.streamed_delta COMMIT`.

Each tree reads the same deltas in a process of its own, by turns, so that a busy machine slows both alike; the best of
several counts. A delta is read, goes through the engine and a mode, and comes out as what Dify is told. Prints a JSON
line: microseconds per delta of plain text, of a call's arguments, and of text full of brackets in the mode that looks
for calls in text.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_RUN = """
import json, sys, time
from provider.modes.openclaw_text import OpenclawText
from provider.modes.structured import Structured
from provider.upstream.completion import CompletionReader
from tests.provider.play import Play, attached

COUNT = 4000
DENSE = 'Use a[i] and {"k": [1]} in <b>x</b> or f(x) [see note] {y}. '

def chunk(**delta):
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

def call(arguments, **head):
    return chunk(tool_calls=[{"index": 0, "id": "c", "function": {"arguments": arguments, **head}}])

CASES = {
    "text": (Structured, [chunk(content="some words, ") for _ in range(COUNT)]),
    "arguments": (Structured, [call('{"content": "', name="write"), *(call("some words, ") for _ in range(COUNT))]),
    "brackets": (
        lambda: OpenclawText("m", 32_000),
        [chunk(content=(DENSE * 2)[at * 7 % 60 : at * 7 % 60 + 12]) for at in range(COUNT)],
    ),
}
best = {}
for name, (mode, chunks) in CASES.items():
    for _ in range(3):
        play, reader = Play(mode=mode()).start(attached()), CompletionReader()
        began = time.process_time()
        for data in chunks:
            for event in reader.feed(data):
                play.feed(event)
        spent = (time.process_time() - began) / len(chunks) * 1e6
        best[name] = min(best.get(name, spent), spent)
print(json.dumps(best))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        subprocess.run([*git, "add", "--quiet", "--detach", str(before), options.commit], check=True)
        try:
            runs = [(measured(before), measured(ROOT)) for _ in range(options.rounds)]
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)
    report = {}
    for name in runs[0][0]:
        then, now = (min(run[which][name] for run in runs) for which in (0, 1))
        report[name] = {"before": round(then, 1), "now": round(now, 1), "ratio": round(now / then, 2)}
    print(json.dumps(report))


def measured(tree: Path) -> dict[str, float]:
    """Return the microseconds per delta of each case in one tree."""
    done = subprocess.run([sys.executable, "-c", _RUN], cwd=tree, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
