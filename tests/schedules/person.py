"""Someone who chats with the Dify app itself, and asks again when it shows an error. Executors run the calls.

Where the app says that its run is suspended, the answer comes into the conversation later, and is looked for there.
"""

import time
from collections.abc import Iterator
from typing import Any

import httpx

from tests.schedules.parts import Parts
from tests.schedules.plan import Party
from tests.schedules.record import Played, Record

TOOL = "dig"
TRY_SECONDS = 180
LOOK_SECONDS = 40


class Person:
    """One Dify user. `play` raises nothing: what the person sees goes into the record."""

    def __init__(self, parts: Parts, party: Party, name: str, record: Record) -> None:
        self._parts, self._party, self._name, self._record = parts, party, name, record

    def play(self) -> None:
        """Take all turns."""
        for number, turn in enumerate(self._party.turns):
            played = Played(f"{self._name}{chr(97 + number)}", turn, chats=True)
            self._record.begin(played)
            try:
                self._take(turn.script(played.name, TOOL), played)
            except Exception as error:
                self._record.breach(f"{played.name} came to no end: {type(error).__name__}: {error}")
                return

    def _take(self, words: str, played: Played) -> None:
        end = time.monotonic() + TRY_SECONDS
        pause = 0.3
        while (answer := self._say(words, played) or self._find(words, played)) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"asked for {TRY_SECONDS} s, and was told {played.troubles[-3:]}")
            self._record.count("retries")
            time.sleep(pause)
            pause = min(2 * pause, 2)
        played.said.append(answer)
        played.answered = True

    def _find(self, words: str, played: Played) -> str | None:
        """Look into the conversations for an answer that came after all, if one is to come."""
        if "is suspended" not in played.troubles[-1]:
            return None
        self._record.count("suspended")
        end = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < end:
            for message in self._messages():
                if message["query"] == words and message["answer"]:
                    return str(message["answer"])
            time.sleep(0.3)
        return None

    def _messages(self) -> Iterator[dict[str, Any]]:
        stack = self._parts.stack
        headers = {"Authorization": f"Bearer {stack.app_key(self._party.app)}"}
        try:
            with httpx.Client(base_url=stack.dify_url, headers=headers, params={"user": self._name}) as client:
                for conversation in client.get("/conversations").json()["data"]:
                    yield from client.get("/messages", params={"conversation_id": conversation["id"]}).json()["data"]
        except httpx.HTTPError:
            return

    def _say(self, words: str, played: Played) -> str | None:
        stack = self._parts.stack
        try:
            response = httpx.post(
                f"{stack.dify_url}/chat-messages",
                headers={"Authorization": f"Bearer {stack.app_key(self._party.app)}"},
                json={"inputs": {}, "query": words, "user": self._name, "response_mode": "blocking"},
                timeout=httpx.Timeout(10, read=60),
            )
        except httpx.HTTPError as error:
            played.troubles.append(f"{type(error).__name__}: {error}")
            return None
        if response.status_code == 200:
            return str(response.json()["answer"])
        played.troubles.append(f"HTTP {response.status_code}: {response.text[:300]}")
        if not response.json().get("message"):
            self._record.breach(f"{played.name} was told an error without a message: {response.text[:300]}")
        return None
