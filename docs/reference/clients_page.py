"""The page of the clients, made from what tests saw them do (tests/agents/clients.json) and from their locks."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
COLUMNS = (
    *("one call", "parallel calls", "three rounds", "streamed", "images", "second turn", "a cut stream"),
    "captured requests",
)
CLIENTS = {
    "OpenClaw": "openclaw/package-lock.json:openclaw",
    "Codex CLI": "agents/package-lock.json:@openai/codex",
    "Claude Code": "agents/package-lock.json:@anthropic-ai/claude-code",
    "opencode": "agents/package-lock.json:opencode-ai",
    "mini-swe-agent": "agents/requirements.txt:mini-swe-agent",
    "openai-agents": "agents/requirements.txt:openai-agents",
    "llm": "agents/requirements.txt:llm",
    "smolagents": "agents/requirements.txt:smolagents",
    "pydantic-ai": "agents/requirements.txt:pydantic-ai-slim",
    "langgraph": "agents/requirements.txt:langgraph",
    "AI SDK": "sdk/package-lock.json:ai",
    "Qwen Code": "agents/package-lock.json:@qwen-code/qwen-code",
    "Cline CLI": "agents/package-lock.json:cline",
    "nanobot": "agents/nanobot.txt:nanobot-ai",
}
"""Each client's package in a lock of `scripts`."""

_HEAD = """\
# Clients

{note}
The tests run each client and framework unchanged against a bridge with the example apps, in the version shown.

- **Yes**: a test saw the client's own program do this.
- **No**: the client cannot do this; the reason is below the table.
- **Not tried**: no test covers this, so it may or may not work.
- **Captured requests**: a test also sends requests again that were recorded from the client, perhaps from an earlier
  version. Not every client needs them.

The tests are in `tests/agents`, `tests/e2e` and `tests/sdk`. CI runs all of them.
"""


def clients_page(note: str) -> str:
    """Return the page."""
    seen = json.loads((_ROOT / "tests/agents/clients.json").read_text(encoding="utf-8"))
    lines = [
        _HEAD.format(note=note),
        f"| client | protocol | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    lines += [
        f"| {client} {_version(lock)} | {protocol} | {' | '.join(_cells(row))} |"
        for client, lock in CLIENTS.items()
        for protocol, row in seen[client].items()
    ]
    cannot = [
        f"- **{client}**, {name}: {entry['cannot']}."
        for client in CLIENTS
        for row in seen[client].values()
        for name, entry in row.items()
        if entry["cannot"]
    ]
    return "\n".join([*lines, "", "## What clients cannot do", "", *cannot, ""])


def _cells(row: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name in COLUMNS:
        entry = row.get(name)
        if entry is None:
            yield "not needed" if name == COLUMNS[-1] else "not tried"
        else:
            yield "no" if entry["cannot"] else "yes"


def _version(lock: str) -> str:
    path, _, package = lock.partition(":")
    text = (_ROOT / "scripts" / path).read_text(encoding="utf-8")
    if path.endswith(".json"):
        return str(json.loads(text)["packages"][f"node_modules/{package}"]["version"])
    pinned: list[str] = re.findall(rf"^{re.escape(package)}==(\S+)$", text, re.MULTILINE)
    return pinned[0]
