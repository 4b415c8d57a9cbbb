"""Scores the reader of text tool calls on cases of your own, and measures how fast it is.

    python bench/text_tool_calls.py CASES.jsonl [--inputs INPUTS.jsonl] [--seconds 2]

A line of CASES is an object with `text`, `format`, `tools_eval` (tool definitions), `expect.calls` and, when it should
not count, `in_default: false`. A line of INPUTS has `text`, `tools` and, to be checked, `calls`. One JSON line is
printed: `mchars_per_second` is the own speed of the reader over INPUTS in deltas of 4 characters, the best round in
`--seconds`; `linearity` is the time per character of a 40 KB argument over that of a 1 KB one.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.openclaw_text.parsing import parse
from tools.openclaw_text.reader import Reader

DELTA = 4
SHORT, LONG = 1_000, 40_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    cases = [case for case in lines(options.cases) if case.get("in_default", True)]
    report: dict[str, Any] = accuracy(cases) if cases else {}
    if options.inputs:
        report |= throughput(lines(options.inputs), options.seconds)
    report["linearity"] = round(linearity(options.seconds), 2)
    print(json.dumps(report))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def accuracy(cases: list[dict[str, Any]]) -> dict[str, Any]:
    by_format: dict[str, list[bool]] = collections.defaultdict(list)
    with_calls: list[bool] = []
    false_positives = 0
    for case in cases:
        got, want = parse(cut(case["text"]), case["tools_eval"])["calls"], case["expect"]["calls"]
        exact = same(got, [{"name": call["name"], "arguments": call["arguments"]} for call in want])
        by_format[case["format"]].append(exact)
        if want:
            with_calls.append(exact)
        elif got:
            false_positives += 1
    exact_ones = [exact for results in by_format.values() for exact in results]
    return {
        "cases": len(cases),
        "exact": share(exact_ones),
        "exact_with_calls": share(with_calls),
        "false_positives": false_positives,
        "by_format": {name: [sum(results), len(results)] for name, results in sorted(by_format.items())},
    }


def same(got: Any, want: Any) -> bool:
    """Deep equality in which 1 is 1.0 and True is not 1."""
    if isinstance(got, bool) or isinstance(want, bool):
        return got is want
    if isinstance(got, dict) and isinstance(want, dict):
        return got.keys() == want.keys() and all(same(got[key], want[key]) for key in got)
    if isinstance(got, list) and isinstance(want, list):
        return len(got) == len(want) and all(map(same, got, want))
    return bool(got == want)


def share(results: list[bool]) -> float | None:
    return round(100 * sum(results) / len(results), 1) if results else None


def throughput(inputs: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    works = [(cut(entry["text"]), entry["tools"]) for entry in inputs]
    chars = sum(len(entry["text"]) for entry in inputs)
    best = timed(lambda: [read(chunks, tools) for chunks, tools in works], seconds)
    right = sum(
        same(parse(chunks, tools)["calls"], entry["calls"])
        for (chunks, tools), entry in zip(works, inputs, strict=True)
        if "calls" in entry
    )
    return {"mchars_per_second": round(chars / best / 1e6, 2), "inputs": len(inputs), "inputs_right": right}


def linearity(seconds: float) -> float:
    def per_char(size: int) -> float:
        argument = ("def f(x):\n    return [x, 'a b'] # \"quoted\"\n" * (size // 40))[:size]
        text = f"<tool_call>\n{json.dumps({'name': 'write', 'arguments': {'content': argument}})}\n</tool_call>"
        chunks = cut(text)
        rounds = max(1, LONG // size)
        return timed(lambda: [read(chunks, tools) for _ in range(rounds)], seconds / 4) / (rounds * len(text))

    properties = {"content": {"type": "string"}}
    tools = [{"type": "function", "function": {"name": "write", "parameters": {"properties": properties}}}]
    return per_char(LONG) / per_char(SHORT)


def read(chunks: list[str], tools: list[dict[str, Any]]) -> None:
    reader = Reader(tools)
    feed = reader.feed
    for chunk in chunks:
        feed(chunk)
    reader.close()


def cut(text: str) -> list[str]:
    return [text[start : start + DELTA] for start in range(0, len(text), DELTA)]


def timed(work: Callable[[], object], seconds: float) -> float:
    """The shortest time that `work` took."""
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > end:
            return best


if __name__ == "__main__":
    main()
