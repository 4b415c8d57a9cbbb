"""Plays conversations of many people whose requests have names, words and headers in common.

Each conversation has secrets of its own: in what its user says and in what its tools answer. The oracle is what went
over the wire: each request that the upstream got may hold the secrets of one conversation only, and so may each answer
that a client got; no call id is given to two conversations.
"""

import json
import random
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from demo.stack import ROOT, Stack

APP = "shared"
_SECRET = re.compile(r"SECRET-(\d+)-\d+x")
_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("read", "look")
]
_SYSTEMS = (None, "You are the agent.", "You are another agent.")
_WORDS = ("Hi", "go on", "daily report", "ok")
_ANSWERS = ("fine", "Hello! How can I help?", "done")
_CALL = '!call read {"path":"a"}\n!then\n'
Message = dict[str, Any]


def export(folder: Path) -> Path:
    """Write the example of several nodes, with Dify's memory at the one without callbacks."""
    app = yaml.safe_load((ROOT / "examples" / "pipeline.yml").read_text())
    window = {"enabled": False, "size": 50}
    for node in app["workflow"]["graph"]["nodes"]:
        parameters = node["data"].get("model", {}).get("completion_params", {})
        if node["data"]["type"] == "llm" and not parameters.get("external_tool_callback_enabled"):
            prefix = {"assistant": "", "user": ""}
            node["data"]["memory"] = {
                "query_prompt_template": "{{#sys.query#}}",
                "role_prefix": prefix,
                "window": window,
            }
    path = folder / f"{APP}.yml"
    path.write_text(yaml.safe_dump(app, allow_unicode=True))
    return path


@dataclass
class Conversation:
    """One person's transcript, as their client keeps it. `pending` is the answer whose calls are to be run."""

    number: int
    name: dict[str, str]
    headers: dict[str, str]
    keeps: int
    system: str | None
    messages: list[Message] = field(default_factory=list)
    pending: Message | None = None
    secrets: int = 0

    def secret(self) -> str:
        """Return a word that no other conversation has."""
        self.secrets += 1
        return f"SECRET-{self.number}-{self.secrets}x"

    def body(self) -> dict[str, Any]:
        """Return the request that sends the transcript, or the end of it that this client keeps."""
        kept = self.messages[-self.keeps :]
        while kept and kept[0]["role"] != "user":
            kept = kept[1:]
        kept = kept or self.messages
        system = [{"role": "system", "content": self.system}] if self.system else []
        return {"model": APP, "messages": [*system, *kept], "tools": _TOOLS, **self.name}


@dataclass
class Outcome:
    """What was seen of one set of conversations. `breaches` are sentences."""

    conversations: int = 0
    requests: int = 0
    upstream_requests: int = 0
    breaches: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


class Play:
    """One set of conversations at one bridge."""

    def __init__(self, stack: Stack, seed: int, first: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        self._http = httpx.Client(timeout=60, headers={"Authorization": f"Bearer {stack.client_token}"})
        self._calls: dict[str, int] = {}
        self._conversations = [self._person(first + number) for number in range(self._random.randint(3, 7))]
        self.outcome = Outcome(conversations=len(self._conversations))

    def _person(self, number: int) -> Conversation:
        pick = self._random.choice
        names = ({}, {"prompt_cache_key": "agent"}, {"user": "ada"}, {"prompt_cache_key": "agent", "user": "ada"})
        headers = (
            {},
            {"X-Session-Affinity": "process"},
            {"X-Stainless-Retry-Count": "1"},
            {"Idempotency-Key": f"always the same for {number}"},
        )
        return Conversation(number, pick(names), pick(headers), pick((4, 10, 1000)), pick(_SYSTEMS))

    def run(self, steps: int) -> Outcome:
        """Play so many steps, some of them two at a time, and say what was seen."""
        known = len(httpx.get(self._stack.log_url, timeout=60).json())
        with ThreadPoolExecutor(2) as pool:
            left = steps
            while left > 0:
                together = self._random.sample(self._conversations, self._random.choice((1, 1, 2)))
                plans = [(each, self._plan(each)) for each in together]
                list(pool.map(lambda plan: self._send(*plan), plans))
                left -= len(together)
        self._look_at_upstream(known)
        self._http.close()
        return self.outcome

    def _plan(self, one: Conversation) -> bool:
        """Let the user or the client of a conversation do something; say whether an old connection is sent again."""
        chance = self._random.random()
        if one.pending and chance < 0.6:
            for call in one.pending["tool_calls"]:
                output = self._random.choice(("the same file", one.secret()))
                one.messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})
            one.pending = None
        elif one.pending and chance < 0.7:
            return True
        elif not one.pending and one.messages and chance < 0.1:
            # The user takes back what was said last, and says something else.
            while one.messages and one.messages[-1]["role"] != "user":
                one.messages.pop()
            one.messages.pop()
            self._says(one, anew=True)
        elif not one.pending and len(one.messages) > 2 and chance < 0.2:
            earlier = self._random.choice([message for message in one.messages if message["role"] == "user"])
            earlier["content"] = f"{earlier['content']} {one.secret()}"
            self._says(one)
        else:
            if one.pending:
                one.messages.pop()
                one.pending = None
            self._says(one)
        return False

    def _says(self, one: Conversation, *, anew: bool = False) -> None:
        words = [self._random.choice(_WORDS)]
        # The same request under the same Idempotency-Key would get the same calls, whose results would be others now.
        if self._random.random() < 0.4 or (anew and "Idempotency-Key" in one.headers):
            words.append(one.secret())
        call = _CALL if self._random.random() < 0.4 else ""
        words.append(f"\n{call}!say {self._random.choice(_ANSWERS)}")
        one.messages.append({"role": "user", "content": " ".join(words)})

    def _send(self, one: Conversation, _again: bool) -> None:
        body = one.body()
        answer = self._http.post(f"{self._stack.base_url}/chat/completions", json=body, headers=one.headers)
        self.outcome.requests += 1
        self.outcome.statuses[answer.status_code] += 1
        self._look_at(one, answer.text, "was told")
        if answer.status_code != 200:
            self.outcome.breaches.append(f"{one.number} got {answer.status_code}: {answer.text[:300]}")
            one.messages, one.pending = [], None
            return
        message = answer.json()["choices"][0]["message"]
        for call in message.get("tool_calls") or ():
            if self._calls.setdefault(call["id"], one.number) != one.number:
                self.outcome.breaches.append(f"{one.number} was given {call['id']} of {self._calls[call['id']]}")
        if one.pending is None:
            one.messages.append(
                {key: value for key, value in message.items() if key in {"role", "content", "tool_calls"}}
            )
            one.pending = one.messages[-1] if message.get("tool_calls") else None

    def _look_at(self, one: Conversation, text: str, what: str) -> None:
        others = {int(number) for number in _SECRET.findall(text)} - {one.number}
        if others:
            self.outcome.breaches.append(f"{one.number} {what} words of {sorted(others)}: {text[:500]}")

    def _look_at_upstream(self, known: int) -> None:
        entries = httpx.get(self._stack.log_url, timeout=60).json()[known:]
        self.outcome.upstream_requests = len(entries)
        for entry in entries:
            text = json.dumps(entry.get("request", ""))
            whose = {int(number) for number in _SECRET.findall(text)}
            if len(whose) > 1:
                self.outcome.breaches.append(
                    f"one request to the upstream holds words of {sorted(whose)}: {text[:800]}"
                )
