"""A client of the endpoint that behaves as its schedule says, and tries again whenever something broke."""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from bridge.store.rows import RunRow, TicketRow
from demo.client import session_headers
from tests.schedules.parts import Parts
from tests.schedules.plan import Behaviour, Party, Turn
from tests.schedules.record import Played, Record

TOOL = "fetch"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": TOOL,
            "description": "Fetch something.",
            "parameters": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
        },
    }
]
TRY_SECONDS = 180
LATE_SECONDS = 2.0
AWAY_SECONDS = 2.5
NEVER = {400, 401, 402, 403, 404, 409, 413, 422}
"""What a request that is in order is never answered with."""


@dataclass
class Said:
    """A whole response."""

    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = ""

    @property
    def identity(self) -> tuple[str, list[str]]:
        """What is the same in two responses that are the same."""
        return self.text, [call["id"] for call in self.calls]


class Broken(Exception):
    """There was no whole response; asking again may bring one."""


class Client:
    """One session. `play` raises nothing: what it sees goes into the record."""

    def __init__(self, parts: Parts, party: Party, name: str, record: Record) -> None:
        self._parts, self._party, self._name, self._record = parts, party, name, record
        self._messages: list[dict[str, Any]] = []
        self._dice = random.Random(name)
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {parts.stack.client_token}", **session_headers(name)},
            timeout=httpx.Timeout(10, read=60),
        )

    def play(self) -> None:
        """Take all turns."""
        with self._http:
            for number, turn in enumerate(self._party.turns):
                played = Played(f"{self._name}{chr(97 + number)}", turn, chats=False)
                self._record.begin(played)
                try:
                    self._take(turn, played)
                except Exception as error:
                    self._record.breach(f"{played.name} came to no end: {type(error).__name__}: {error}")
                    return

    def _take(self, turn: Turn, played: Played) -> None:
        self._messages.append({"role": "user", "content": turn.script(played.name, TOOL)})
        said = self._persist(turn.requests[0], played)
        for number in range(len(turn.rounds)):
            keys = [json.loads(call["function"]["arguments"]).get("key") for call in said.calls]
            if again := [key for key in keys if key in played.executed]:
                for call in said.calls:
                    self._result(call, played)
                self._record.breach(f"{played.name} was given {again} once more in round {number}")
                return
            if keys != turn.keys(played.name, number):
                self._record.breach(f"{played.name} was given {keys} in round {number}")
                return
            played.said.append(said.text)
            self._messages.append({"role": "assistant", "content": said.text or None, "tool_calls": said.calls})
            said = self._answer(turn, number, played)
        if said.calls:
            self._record.breach(f"{played.name} was given calls after its last round")
            for call in said.calls:
                self._result(call, played)
        played.said.append(said.text)
        played.answered = not said.calls and said.finish_reason == "stop"
        self._messages.append({"role": "assistant", "content": said.text})

    # One request

    def _url(self) -> str:
        """Return where this request goes: to either of two bridges."""
        return f"{self._dice.choice(self._parts.base_urls)}/chat/completions"

    def _answer(self, turn: Turn, number: int, played: Played) -> Said:
        """Send the results of the calls that came last, as the schedule says."""
        calls = self._messages[-1]["tool_calls"]
        results = [self._result(call, played) for call in calls]
        played.run_at[number] = time.time()
        behaviour = turn.requests[number + 1]
        match behaviour:
            case "late":
                time.sleep(LATE_SECONDS)
            case "reordered":
                results.reverse()
            case "in_parts" if len(results) > 1:
                self._post([*self._messages, results[-1]])
        self._messages += results
        said = self._persist(behaviour, played)
        if turn.contradicts:
            self._contradict(results)
        return said

    def _result(self, call: dict[str, Any], played: Played) -> dict[str, Any]:
        key = json.loads(call["function"]["arguments"])["key"]
        output = f"what {key} found"
        played.results[call["id"]] = output
        played.executed.setdefault(key, []).append(call["id"])
        return {"role": "tool", "tool_call_id": call["id"], "content": output}

    def _persist(self, behaviour: Behaviour, played: Played) -> Said:
        """Ask until there is a whole response."""
        said = self._first_try(behaviour, played)
        end = time.monotonic() + TRY_SECONDS
        pause = 0.2
        while said is None:
            if time.monotonic() > end:
                raise TimeoutError(f"asked for {TRY_SECONDS} s, and was told {played.troubles[-3:]}")
            time.sleep(pause)
            pause = min(2 * pause, 2)
            said = self._try(played)
        if behaviour == "asks_again":
            again = self._try(played)
            if again and again.identity != said.identity and not self._parts.faults_since(self._record.began):
                self._record.breach(f"{played.name} asked the same again and was told {again}, not {said}")
        return said

    def _first_try(self, behaviour: Behaviour, played: Played) -> Said | None:
        if behaviour == "vanishes":
            self._vanish()
            return None
        if behaviour != "twice":
            return self._try(played)
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda _: self._try(played), range(2))
        if first and second and first.identity != second.identity:
            self._record.breach(f"{played.name} asked twice at once and was told {first} and {second}")
        return first or second

    def _try(self, played: Played) -> Said | None:
        try:
            return self._ask()
        except (Broken, httpx.HTTPError) as error:
            self._record.count("retries")
            played.troubles.append(f"{type(error).__name__}: {error}")
            return None

    def _ask(self) -> Said:
        body = {"model": self._party.app, "messages": self._messages, "tools": TOOLS, "stream": self._party.streams}
        if not self._party.streams:
            response = self._http.post(self._url(), json=body)
            self._check(response)
            choice = response.json()["choices"][0]
            message = choice["message"]
            return Said(message.get("content") or "", message.get("tool_calls") or [], choice["finish_reason"])
        with self._http.stream("POST", self._url(), json=body) as response:
            self._check(response)
            return self._read(response)

    def _read(self, response: httpx.Response) -> Said:
        said = Said()
        calls: dict[int, dict[str, Any]] = {}
        end = time.monotonic() + TRY_SECONDS
        for line in response.iter_lines():
            if time.monotonic() > end:
                self._record.breach(f"a response to {self._name} did not end within {TRY_SECONDS} s")
                raise Broken("the stream has no end")
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if "error" in chunk:
                raise Broken(self._clear(chunk))
            for choice in chunk["choices"]:
                said.finish_reason = choice["finish_reason"] or said.finish_reason
                said.text += choice["delta"].get("content") or ""
                for part in choice["delta"].get("tool_calls", ()):
                    call = calls.setdefault(
                        part["index"], {"type": "function", "function": {"name": "", "arguments": ""}}
                    )
                    call["id"] = part.get("id") or call["id"]
                    call["function"]["name"] += part["function"].get("name", "")
                    call["function"]["arguments"] += part["function"].get("arguments", "")
        if not said.finish_reason:
            raise Broken("the stream ended without a finish_reason")
        said.calls = [calls[index] for index in sorted(calls)]
        return said

    def _check(self, response: httpx.Response) -> None:
        if response.status_code == 200:
            return
        try:
            body = json.loads(response.read())
        except ValueError:
            what = f"answered {response.status_code} and no JSON: {response.text[:300]!r}"
            self._record.breach(f"{self._name} was {what}")
            raise Broken(what) from None
        message = self._clear(body)
        if response.status_code in NEVER:
            self._record.breach(f"{self._name}'s request was answered {response.status_code}: {message}")
        raise Broken(f"HTTP {response.status_code}: {message}")

    def _clear(self, body: dict[str, Any]) -> str:
        """Return what an error says. An error that says nothing is a broken promise."""
        message = str(body["error"].get("message") or "")
        if not message:
            self._record.breach(f"{self._name} was told an error without a message: {body}")
        return message

    def _vanish(self) -> None:
        """Go away in the middle of the response, and come back when the run may be given up."""
        self._record.count("vanished")
        body = {"model": self._party.app, "messages": self._messages, "tools": TOOLS, "stream": True}
        try:
            with self._http.stream("POST", self._url(), json=body) as response:
                next(response.iter_lines(), None)
        except httpx.HTTPError:
            return
        time.sleep(AWAY_SECONDS if len(self._messages) % 2 else 0.1)

    # Other ways in

    def _ticket(self, call_id: str) -> TicketRow | None:
        with self._parts.reading() as store:
            return next(iter(store.tickets_of_calls([call_id])), None)

    def _run(self, run_id: str) -> RunRow | None:
        with self._parts.reading() as store:
            return store.run(run_id)

    def _post(self, messages: list[dict[str, Any]]) -> httpx.Response | None:
        body = {"model": self._party.app, "messages": messages, "tools": TOOLS}
        try:
            return self._http.post(self._url(), json=body, timeout=10)
        except httpx.HTTPError:
            return None

    def _contradict(self, results: list[dict[str, Any]]) -> None:
        """Give a call that is resolved another result: it is refused, and nothing changes."""
        result = results[0]
        before = self._ticket(result["tool_call_id"])
        run = self._run(before.run_id) if before else None
        # A run that is cancelled takes no results: its client's transcript is the truth for another one.
        if before is None or before.state != "resolved" or run is None or run.state == "cancelled":
            return
        asked = self._messages[: -len(results)]
        response = self._post([*asked, {**result, "content": "something else"}, *results[1:]])
        if response is None or response.status_code >= 500:
            return
        self._record.count("contradictions")
        if response.status_code != 409:
            self._record.breach(f"another result for a resolved call was answered {response.status_code}")
        if _results(self._ticket(result["tool_call_id"])) != _results(before):
            self._record.breach(f"another result for {result['tool_call_id']} changed something")


def _results(ticket: TicketRow | None) -> Any:
    return ticket and (ticket.state, [(call.output, call.state) for call in ticket.calls])
