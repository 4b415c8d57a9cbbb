"""Requests of real coding agents as they came over the wire, with their long texts taken out.

A file per agent: `tools` holds each tool once, and bodies name them by their position.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_UNSENT = {"host", "content-length", "connection", "accept-encoding", "x-api-key", "authorization"}


@dataclass(frozen=True)
class Captured:
    """One request. `note` says how it came about."""

    name: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    note: str


@cache
def captured(agent: str) -> dict[str, Captured]:
    """Return an agent's requests by their names, without its keys and what belongs to a connection."""
    kept = json.loads(Path(__file__).with_name(f"{agent}.json").read_text(encoding="utf-8"))
    found = {}
    for name, request in kept["requests"].items():
        body = request["body"]
        if "tools" in body:
            body["tools"] = [kept["tools"][position] for position in body["tools"]]
        headers = {header: value for header, value in request["headers"].items() if header.lower() not in _UNSENT}
        found[name] = Captured(name, request["path"], headers, body, request["note"])
    return found
