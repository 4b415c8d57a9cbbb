"""Measures whether an answer is shown in time proportional to its length.

    python bench/answer_view.py [--characters 100000]

One JSON line is printed: for each kind of text the microseconds per character of an answer of so many characters, whole
and in pieces of one character, and how many times as much that is as for a tenth of it. About 1 is proportional.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bridge.runs.answers.view import AnswerView, Form

TEXTS = {
    "prose": "The answer is a list [1] of words, as in a < b; nothing here is an order. ",
    "white space": " ",
    "line breaks": "\n",
    "brackets": "[",
    "tags": "<",
    "blanks in tags": "<" + " " * 300,
    "closing tags": "</think >",
    "words": "NO_REPLY ",
    "lines": "MEDIA:x\n",
    "bars": "<|",
    "spaced tags": "[[" + " " * 250,
    "json": '{"a": "\\u0061", ',
    "thoughts": "<think>\n\n</think>",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, default=100_000)
    length = parser.parse_args().characters
    report: dict[str, dict[str, float]] = {}
    for name, text in TEXTS.items():
        for form in ("text", "checked_data"):
            for size in (1, length):
                long, short = (per_character(text, form, count, size) for count in (length, length // 10))
                report[f"{name}, {form}, {'whole' if size > 1 else 'in characters'}"] = {
                    "microseconds": round(long, 3),
                    "growth": round(long / short, 2),
                }
    print(json.dumps(report, indent=1))


def per_character(text: str, form: Form, length: int, size: int) -> float:
    text = (text * (length // len(text) + 1))[:length]
    pieces = [text[at : at + size] for at in range(0, length, size)]
    view = AnswerView(form=form)
    begun = time.process_time()
    for piece in pieces:
        view.feed(piece)
    assert view.refusal is None or form == "checked_data"
    view.close()
    return (time.process_time() - begun) / length * 1e6


if __name__ == "__main__":
    main()
