"""A session that grows: `python -m bench.long_session [--language chat] [--turns 500] [--kilobytes 200] [--begin 0]`.

Each turn has one tool round, so two client requests, each with the whole transcript, which has `--kilobytes` at the
end. With `--begin N` the first N turns are only said to have been, in `chat` alone. Languages are `chat`, `messages`
and `responses`; in `messages` the last one is marked for the prompt cache, as Claude Code does. Prints a JSON line for
every tenth part: the turns so far, the transcript's bytes, the bridge's CPU milliseconds per turn, and how many bytes
its store has.
"""

import argparse
import json
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.turn import cpu
from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import Stack

APP = "minimal"
WARM_UP = 10
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--language", choices=SESSIONS, default="chat")
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--begin", type=int, default=0)
    options = parser.parse_args()
    words = "word " * (options.kilobytes * 1024 // options.turns // 10)
    with tempfile.TemporaryDirectory() as name, Stack(Path(name), apps=[APP]) as stack:
        for number in range(WARM_UP):
            SESSIONS[options.language](stack, f"warm-{number}").ask(number, "")
        session = SESSIONS[options.language](stack, "long")
        if isinstance(session, Chat):
            session.begin(options.begin, words)
        used = cpu(stack)["bridge"]
        part = max(1, (options.turns - options.begin) // 10)
        for number in range(options.begin, options.turns):
            session.ask(number, words)
            if (number + 1 - options.begin) % part == 0:
                before, used = used, cpu(stack)["bridge"]
                figures = {"turns": number + 1, "transcript": len(json.dumps(session.said))}
                spent = {"bridge_ms": round(1000 * (used - before) / part, 1), "store_bytes": stored(stack)}
                print(json.dumps(figures | spent), flush=True)


def asked(number: int, words: str) -> str:
    """Return what the user says: the scripted upstream answers as it is told here."""
    return f'Turn {number}. {words}\n!call exec {{"command": "echo {number}"}}\n!then\n!say {number} {words}'


class Chat:
    """A session in chat completions."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._client = Client(stack.base_url, stack.client_token, APP, LocalTools(stack.folder), session=name)
        self.said = self._client.messages

    def begin(self, turns: int, words: str) -> None:
        """Say that so many turns have been."""
        for number in range(turns):
            self.said.append({"role": "user", "content": f"Turn {number}. {words}"})
            self.said.append({"role": "assistant", "content": f"{number} {words}"})

    def ask(self, number: int, words: str) -> None:
        """Have a turn."""
        ask(self._client, number, words)


def ask(client: Client, number: int, words: str) -> None:
    """Have a turn in chat completions."""
    outcome = client.ask(asked(number, words))
    if outcome.http_requests != 2:
        raise SystemExit(f"turn {number} took {outcome.http_requests} requests: {outcome.reply.text}")


class Messages:
    """A session in Anthropic's language."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack, self._headers = stack, {"X-Claude-Code-Session-Id": name}
        self.said: list[dict[str, Any]] = []

    def ask(self, number: int, words: str) -> None:
        """Have a turn."""
        uses = self._answer({"type": "text", "text": asked(number, words)})
        self._answer(*({"type": "tool_result", "tool_use_id": use["id"], "content": str(number)} for use in uses))

    def _answer(self, *blocks: dict[str, Any]) -> list[dict[str, Any]]:
        marked = {"role": "user", "content": [*blocks[:-1], blocks[-1] | {"cache_control": {"type": "ephemeral"}}]}
        tool = {"name": "exec", "description": "Runs a command.", "input_schema": SCHEMA}
        body = {"model": APP, "max_tokens": 1000, "messages": [*self.said, marked], "tools": [tool]}
        content = post(self._stack, "/v1/messages", body, self._headers)["content"]
        self.said += [{"role": "user", "content": list(blocks)}, {"role": "assistant", "content": content}]
        return [block for block in content if block["type"] == "tool_use"]


class Responses:
    """A session in the language of responses, which sends all items again."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack, self._headers = stack, {"Thread-Id": name, "User-Agent": "codex_exec"}
        self.said: list[dict[str, Any]] = []

    def ask(self, number: int, words: str) -> None:
        """Have a turn."""
        text = {"type": "input_text", "text": asked(number, words)}
        calls = self._answer({"type": "message", "role": "user", "content": [text]})
        self._answer(*({"type": "function_call_output", "call_id": call, "output": str(number)} for call in calls))

    def _answer(self, *items: dict[str, Any]) -> list[str]:
        self.said += items
        tool = {"type": "function", "name": "exec", "description": "Runs a command.", "parameters": SCHEMA}
        body = {"model": APP, "store": False, "input": self.said, "tools": [tool]}
        output = post(self._stack, "/v1/responses", body, self._headers)["output"]
        self.said += output
        return [item["call_id"] for item in output if item["type"] == "function_call"]


SESSIONS: dict[str, type[Chat | Messages | Responses]] = {"chat": Chat, "messages": Messages, "responses": Responses}


def post(stack: Stack, path: str, body: object, headers: Mapping[str, str]) -> dict[str, Any]:
    url = urlsplit(stack.base_url)
    given = {"Content-Type": "application/json", "Authorization": f"Bearer {stack.client_token}", **headers}
    with closing(HTTPConnection(str(url.hostname), url.port)) as connection:
        connection.request("POST", path, json.dumps(body), given)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    if response.status != 200:
        raise SystemExit(f"{path} answered {response.status}: {answer}")
    return answer


def stored(stack: Stack) -> int:
    """Return the bytes of the store, what stands in its log included."""
    with closing(sqlite3.connect(stack.store_url.removeprefix("sqlite:///"))) as store:
        pages, size = (store.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


if __name__ == "__main__":
    main()
