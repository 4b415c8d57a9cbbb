"""What a node is told of executors' calls that its client knows nothing of, where its rounds are not found again."""

from typing import Any

from bridge.runs.requests import RunRequest, with_executors_rounds
from bridge.store.rows import CallRow, TicketRow
from tools.ticket_states import CallState
from tools.transcript import repair


def call(call_id: str, place: str | None, output: str | None = None) -> CallRow:
    state = CallState.RESOLVED if output else CallState.LEASED
    return CallRow(call_id, "t", f"tool_{call_id}", "{}", output, False, state=state, place=place)


def ticket(number: int, *calls: CallRow) -> TicketRow:
    return TicketRow(
        id=f"t{number}",
        run_id="run",
        invocation_id="first",
        round=number,
        state="open",
        content=f"round {number}",
        shown="",
        segment=None,
        reply=None,
        reason=None,
        created_at=float(number),
        expires_at=9e9,
        calls=list(calls),
    )


def asks(*ids: str) -> dict[str, Any]:
    made = [{"id": each, "type": "function", "function": {"name": f"tool_{each}", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": made}


def answer(call_id: str, said: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": said}


def shown(messages: list[dict[str, Any]]) -> list[str]:
    """Who said or was asked what, as an upstream gets it."""
    lines = []
    for message in repair(messages):
        calls = ",".join(each["id"] for each in message.get("tool_calls") or ())
        lines.append(f"{message['role']}: {calls or message['content']}")
    return lines


def test_they_stand_with_the_client_s_calls_of_the_same_round_and_else_in_their_order() -> None:
    said = [{"role": "user", "content": "go"}, asks("own"), answer("own", "mine")]
    request = RunRequest(messages=said, turn=0, query="go")
    rounds = [
        ticket(3, call("last", "*")),
        ticket(1, call("before", "dify", "sent")),
        ticket(2, call("own", None, "mine"), call("beside", "laptop", "theirs")),
    ]
    assert shown(with_executors_rounds(request, rounds)) == [
        "user: go",
        "assistant: before",
        "tool: sent",
        "assistant: own,beside",
        "tool: mine",
        "tool: theirs",
        "assistant: last",
        "tool: (no result: this call was given to its tool, and it is not known what became of it)",
    ]
    assert len(said[1]["tool_calls"]) == 1, "the client's own message stays as it is"


def test_a_transcript_without_any_call_gains_them_behind_the_user_s_words() -> None:
    said = [{"role": "user", "content": "before"}, {"role": "assistant", "content": "yes"}]
    request = RunRequest(messages=[*said, {"role": "user", "content": "go"}], turn=2, query="go")
    told = shown(with_executors_rounds(request, [ticket(1, call("one", "dify", "sent"))]))
    assert told == ["user: before", "assistant: yes", "user: go", "assistant: one", "tool: sent"]
