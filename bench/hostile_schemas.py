"""Arguments held against schemas that were made to cost much: `python -m bench.hostile_schemas`.

Prints a line for each, the slowest first: the milliseconds of the first check, in which patterns are judged as well, of
the check that the bridge and the plugin make of a call, and of the one that reads calls from text.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from tools.arguments import checked
from tools.openclaw_text.schema import Schema

MOST_MILLISECONDS = 50


def of(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, **more}


LOOP = {"$ref": "#/properties/a"}
WORDS = [f"w{number}" for number in range(5_000)]
ATTACKS: dict[str, tuple[Any, Any]] = {
    "a pattern of nested repetitions": (of({"pattern": r"^(\w+[-.]?)+@example\.org$"}), "x" * 40),
    "a pattern of neighbouring repetitions": (of({"pattern": r"x*x*x*x*y"}), "x" * 9_000),
    "a pattern found anywhere": (of({"items": {"pattern": "[a-z]+!"}}), ["x" * 600] * 500),
    "a linear pattern on long texts": (of({"items": {"pattern": "^[a-z]*!"}}), ["x" * 9_000] * 500),
    "a pattern for each of many values": (
        of({"properties": {w: {"pattern": f"^(?:[a-z]{{1,20}}{w}){{1,5}}$"} for w in WORDS}}),
        dict.fromkeys(WORDS, "x"),
    ),
    "allOf of the same twice": (of({"allOf": [LOOP, LOOP]}), "x"),
    "anyOf of the same and what does not fit": (of({"anyOf": [{"type": "null"}, {"allOf": [LOOP, LOOP]}]}), "x"),
    "references with a million neighbours": ({"allOf": [{"$ref": "#"}, *([True] * 1_000_000)]}, "x"),
    "unique lists": (of({"uniqueItems": True}), [[number] for number in range(20_000)]),
    "unique numbers of one hash": (of({"uniqueItems": True}), [n * sys.hash_info.modulus for n in range(9_000)]),
    "a minimum of 401 digits": (of({"minimum": 10**400}), 1),
    "a step of 401 digits": (of({"multipleOf": 10**400}), 1.5),
    "many values, many allowed": (of({"items": {"enum": WORDS}}), ["x"] * 5_000),
    "lists that differ at their ends": (of({"enum": [[*WORDS, n] for n in range(1_000)]}), [*WORDS, -1]),
    "many names required of many": (of({"items": {"required": WORDS}}), [{}] * 5_000),
    "many names that are not known": (of({"additionalProperties": False}), dict.fromkeys(WORDS, 1)),
    "many patterns for many names": (of({"patternProperties": {f"^{w}!": {} for w in WORDS}}), dict.fromkeys(WORDS, 1)),
    "many values that do not fit": (of({"items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}), ["x"] * 50_000),
    "many values that fit": (of({"items": {"type": "string", "minLength": 1}}), ["x"] * 50_000),
    "lists in a text": (of({"anyOf": [{"type": "array", "maxItems": 0}] * 900}), json.dumps([1] * 100_000)),
    "a deep value": (of({"items": LOOP}), json.loads("[" * 500 + "]" * 500)),
}


def main() -> None:
    measured = []
    for name, (schema, value) in ATTACKS.items():
        arguments = json.dumps({"a": value})
        first = milliseconds(lambda a=arguments, s=schema: checked(a, s))
        again = milliseconds(lambda a=arguments, s=schema: checked(a, s))
        as_text = milliseconds(lambda v=value, s=schema: typed(v, s))
        measured.append((max(first, again, as_text), f"{first:8.1f} {again:8.1f} {as_text:8.1f}  {name}"))
    print("   first    again  as text  (ms)")
    for _, line in sorted(measured, reverse=True):
        print(line)
    print(f"the slowest took {max(measured)[0]:.1f} ms; at most {MOST_MILLISECONDS} are wanted")


def typed(value: Any, schema: Any) -> None:
    read = Schema(schema)
    read.complaint(read.arguments({"a": value}))


def milliseconds(work: Callable[[], Any]) -> float:
    # What the attacks above have left behind is no part of a check.
    gc.collect()
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
