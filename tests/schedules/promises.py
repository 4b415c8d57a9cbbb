"""The promises, checked in what is left of a schedule: the store, the upstream's log, the diary, and what was seen."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from bridge.store.rows import EventRow, TicketRow
from tests.schedules.parts import NAME, Parts
from tests.schedules.record import Played, Record
from tests.schedules.trail import breaks_in_trail
from tools.ticket_states import CallEvent, CallState

SLACK = 0.05
"""Seconds between an upstream's and the bridge's look at the clock."""


def breaches(parts: Parts, record: Record) -> Iterator[str]:
    """Yield every promise that was not kept."""
    yield from record.broken
    log = parts.upstream_log(record.name)
    given_up = parts.plugin_was_killed(record.began) or record.given_up
    runs = parts.runs_of(record.name)
    with parts.reading() as store:
        tickets = [ticket for run in runs for ticket in store.tickets_of_run(run)]
        events = [event for run in runs for event in store.events_of_run(run)]
    for played in record.turns:
        yield from _executed_once(played)
        yield from _not_asked_after_it_was_run(played, log)
        yield from _answered(played, dify_stopped=given_up)
        yield from _told_the_model(played, log, tickets)
        # Whether an executors' run is still served, nobody knows whom Dify did not tell: it is begun again.
        if not (played.chats and given_up):
            yield from _not_asked_twice(played, log, tickets)
    yield from _in_order(log)
    yield from parts.unfinished(runs, given_up=given_up)
    yield from breaks_in_trail(tickets, events)
    yield from _one_at_a_time(parts, tickets, events)


def breaches_of_nobody(parts: Parts) -> Iterator[str]:
    """Yield what is there and belongs to no schedule."""
    yield from (f"run {run} belongs to no schedule" for run in parts.nobodys_runs())
    yield from _in_order([entry for entry in parts.upstream_log() if not NAME.search(json.dumps(entry["request"]))])


def counts(parts: Parts, record: Record) -> Counter[str]:
    """Count calls and how often they were executed, rounds (a turn's answer is one, too) and how often each was asked.

    Clients tell of their own executions, and executors' diaries of theirs; the upstream's log tells of requests.
    """
    found: Counter[str] = Counter()
    log = parts.upstream_log(record.name)
    begun = Counter(note["key"] for note in _diary(parts) if note["what"] == "begin")
    for played in record.turns:
        keys = [key for number in range(len(played.turn.rounds)) for key in played.turn.keys(played.name, number)]
        whose = "executors" if played.chats else "clients"
        found[f"calls of {whose}"] += len(keys)
        found[f"executions by {whose}"] += sum(
            begun[key] if played.chats else len(played.executed.get(key, ())) for key in keys
        )
        asked = Counter(_number(played, entry) for entry in _requests(played, log) if entry["status"] == 200)
        found["rounds"] += len(played.turn.rounds) + 1
        found["upstream requests"] += asked.total()
        found += Counter(f"rounds asked {times} times" for times in asked.values())
    return found


def _executed_once(played: Played) -> Iterator[str]:
    """A client ran no call twice, by its own record."""
    for key, ids in played.executed.items():
        if len(ids) != 1:
            yield f"{played.name} ran {key} {len(ids)} times, as {ids}"


def _not_asked_after_it_was_run(played: Played, log: list[dict[str, Any]]) -> Iterator[str]:
    """The upstream was not asked, by its own log, for a round whose calls the client had run by then.

    An invocation that Dify gave up knows nothing of that, and may ask once.
    """
    late = []
    for entry in _requests(played, log):
        number = _number(played, entry)
        run_at = played.run_at.get(number)
        if entry["status"] == 200 and run_at is not None and run_at + SLACK < entry["at"]:
            late.append(
                f"round {number} of {played.name} was asked for {entry['at'] - run_at:.2f} s after its calls were run"
            )
    if len(late) > played.times_given_up:
        yield from late


def _answered(played: Played, *, dify_stopped: bool) -> Iterator[str]:
    """Every turn ends with the right answer."""
    if not played.answered:
        yield f"{played.name} has no answer: it was told {played.troubles[-3:]}"
        return
    expected = [played.turn.said(played.name, number) for number in range(len(played.turn.rounds))]
    told = "".join(played.said)
    if played.chats or played.troubles or dify_stopped:
        # What was told before a fault is not always told again with what comes after it. Calls wait for the text before
        # them, but not for as long as Dify may be stopped: it comes with what is told next, if its workflow goes on.
        right = told.endswith(played.turn.answer(played.name))
    else:
        right = "".join(told.split()) == "".join("".join([*expected, played.turn.answer(played.name)]).split())
    if not right:
        yield f"{played.name} was answered {played.said}"


def _told_the_model(played: Played, log: list[dict[str, Any]], tickets: list[TicketRow]) -> Iterator[str]:
    """The model that gave the answer has had every result, each once, as it was accepted."""
    asked = _requests(played, log)
    if not asked:
        yield f"{played.name} was answered, and the upstream was never asked"
        return
    known = {call.id: call.output for ticket in tickets for call in ticket.calls}
    # A person who was told of an error asks again, and may be answered by the run that was begun first. A part of the
    # results may begin a run of its own, which nobody waits for.
    whole = [entry for entry in asked if _number(played, entry) == len(played.turn.rounds)]
    several = "in_parts" in played.turn.requests
    answering = whole if several else whole[-1:] if played.chats else []
    yield from min(([*_told_wrong(played, each, known)] for each in answering or asked[-1:]), key=len)


def _told_wrong(played: Played, asked: dict[str, Any], known: dict[str, str | None]) -> Iterator[str]:
    given = _after(played, asked["request"]["messages"])
    results = {m["tool_call_id"]: m["content"] for m in given if m["role"] == "tool"}
    made = [json.loads(c["function"]["arguments"])["key"] for m in given for c in m.get("tool_calls") or ()]
    expected = [key for number in range(len(played.turn.rounds)) for key in played.turn.keys(played.name, number)]
    if made != expected:
        yield f"the model that answered {played.name} had made the calls {made}, not {expected}"
    for call_id, output in results.items():
        right = played.results.get(call_id, known.get(call_id)) if not played.chats else known.get(call_id)
        if output != right:
            yield f"the model was told {output!r} of {call_id}, whose result is {right!r}"


def _not_asked_twice(played: Played, log: list[dict[str, Any]], tickets: list[TicketRow]) -> Iterator[str]:
    """No round whose ticket is in the store is asked for again."""
    stored: dict[int, list[TicketRow]] = defaultdict(list)
    for ticket in tickets:
        key = json.loads(ticket.calls[0].arguments)["key"]
        name, number, _ = key.rsplit("-", 2)
        if name == played.name:
            stored[int(number)].append(ticket)
    for entry in _requests(played, log):
        if entry["status"] != 200:
            continue
        for ticket in stored[_number(played, entry)]:
            # A round that nobody has answered when its workflow fails, or its client is gone, is over: whoever asks
            # then begins anew.
            over = ("the workflow run failed", "the client went away")
            if "in_parts" in played.turn.requests:
                over += ("the client began a new turn",)
            failed = ticket.state == "cancelled" and (ticket.reason or "").startswith(over)
            if ticket.created_at + SLACK < entry["at"] and not failed:
                yield (
                    f"round {_number(played, entry)} of {played.name} was asked for "
                    f"{entry['at'] - ticket.created_at:.2f} s after "
                    f"its ticket {ticket.id} was stored (now {ticket.state}: {ticket.reason})"
                )


def _requests(played: Played, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the upstream was asked in this turn, oldest first."""
    return [
        entry
        for entry in log
        if isinstance(entry["request"], dict) and _last_question(entry["request"]).startswith(f"Turn {played.name}.")
    ]


def _number(played: Played, entry: dict[str, Any]) -> int:
    """Return which of the turn's rounds a request asks for, from 0."""
    return sum(bool(m.get("tool_calls")) for m in _after(played, entry["request"]["messages"]))


def _last_question(request: dict[str, Any]) -> str:
    questions = [m["content"] for m in request.get("messages", ()) if m["role"] == "user"]
    return _text(questions[-1]) if questions else ""


def _after(played: Played, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What follows the turn's question."""
    places = [
        n for n, m in enumerate(messages) if m["role"] == "user" and f"Turn {played.name}." in _text(m["content"])
    ]
    return messages[places[-1] + 1 :]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _in_order(log: list[dict[str, Any]]) -> Iterator[str]:
    """Nothing went upstream that a strict server refuses: no call without its result, no result without its call."""
    for entry in log:
        if entry["status"] >= 400:
            yield f"the upstream refused a request: {entry['status']} {json.dumps(entry['answer'])[:500]}"


def _one_at_a_time(parts: Parts, tickets: list[TicketRow], events: list[EventRow]) -> Iterator[str]:
    """A call is in one executor's hands at a time, and what was accepted is what one of them brought."""
    claims: dict[str, int] = defaultdict(int)
    for event in events:
        if event.event == CallEvent.CLAIM and event.call_id:
            claims[event.call_id] += 1
    begun: dict[str, int] = defaultdict(int)
    ended: dict[str, set[str]] = defaultdict(set)
    for note in _diary(parts):
        begun[note["key"]] += note["what"] == "begin"
        if note["what"] == "end":
            ended[note["key"]].add(note["output"])
    handed_out: dict[str, int] = defaultdict(int)
    for ticket in tickets:
        for call in ticket.calls:
            key = json.loads(call.arguments)["key"]
            handed_out[key] += claims[call.id]
            if claims[call.id] and call.state == CallState.RESOLVED and call.output not in ended[key]:
                yield f"call {call.id} has the result {call.output!r}, which no executor brought"
    for key, count in handed_out.items():
        if begun[key] > count:
            yield f"{key} was begun {begun[key]} times, and handed out {count} times"


def _diary(parts: Parts) -> list[dict[str, Any]]:
    return [json.loads(line) for line in parts.diary.read_text().splitlines()]
