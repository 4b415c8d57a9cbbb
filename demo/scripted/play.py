"""What the model does next: the script's next round, or what a model without a script would do."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby

from demo.scripted.answer import Answer, Piece, Reasoning, Text, ToolCall, length_of, shorten
from demo.scripted.classifier import classify, find_question
from demo.scripted.example import example_of
from demo.scripted.memory import Memory
from demo.scripted.quirks import thought_of
from demo.scripted.request import Request
from demo.scripted.script import Action, Call, Cut, Fail, Round, Say, Script, Sleep, without_directives
from demo.scripted.text_formats import Format
from demo.scripted.tokens import count_text
from demo.scripted.transcript import Place, Result, find_place, last_question, last_results, may_call, text_of

_REASONING = "The request is plain. I know what to do next: what the script says, or else an echo."
_LONGEST_QUOTE = 2000  # characters of a tool's result


def play(request: Request, memory: Memory) -> Answer:
    """The answer to a request. Raises `Refusal` for a malformed script."""
    if question := find_question(text_of(request.messages[-1])):
        return _answer(request, memory, Round([Say(classify(question))]), None)
    place = find_place(request)
    if place is None:
        return _answer(request, memory, _improvise(request, f"echo: {last_question(request.messages)}"), None)
    round_ = _failing(_next_round(request, place), place, memory)
    return _answer(request, memory, round_, place.script.delta)


def _next_round(request: Request, place: Place) -> Round:
    rounds = _rounds(request, place.script)
    results = last_results(request, place)
    if place.rounds_done >= len(rounds):
        return _improvise(request, _summary(results, place.text))
    now = rounds[place.rounds_done]
    if now.calls and not may_call(request, place):
        return Round([Say(_plan(rounds[place.rounds_done :], results))])
    if now.calls:
        return now
    if now.speaks:
        return Round([*now.actions, *_forced_call(request)], now.usage, now.finish_reason)
    closing = _improvise(request, _summary(results, place.text))
    return Round([*now.actions, *closing.actions], now.usage, now.finish_reason)


def _rounds(request: Request, script: Script) -> Sequence[Round]:
    """The script's rounds, those with parallel calls taken apart where only one call at a time is possible."""
    format_ = request.model.text_format
    if request.parallel and not (format_ and format_.one_call_only):
        return script.rounds
    rounds: list[Round] = []
    for round_ in script.rounds:
        rounds.append(Round([], round_.usage, round_.finish_reason))
        for action in round_.actions:
            if isinstance(action, Call) and rounds[-1].calls:
                rounds.append(Round([], round_.usage, round_.finish_reason))
            rounds[-1].actions.append(action)
    return rounds


def _improvise(request: Request, text: str) -> Round:
    """A call where tool_choice forces one, JSON where response_format does, else the text."""
    if forced := _forced_call(request) or _wanted_call(request):
        return Round(list(forced))
    if colour := _seen_colour(request):
        return Round([Say(colour)])
    kind = request.response_format["type"]
    if kind == "json_schema":
        value = example_of(request.response_format["json_schema"]["schema"])
        return Round([Say(json.dumps(value, ensure_ascii=False))])
    return Round([Say(json.dumps({"text": text}, ensure_ascii=False) if kind == "json_object" else text)])


def _forced_call(request: Request) -> Sequence[Call]:
    if request.tool_choice in ("auto", "none"):
        return ()
    name = request.tool_choice.removeprefix("=") if request.tool_choice != "required" else request.tool_names[0]
    function = next(tool["function"] for tool in request.tools if tool["function"]["name"] == name)
    return (Call(name, json.dumps(example_of(function.get("parameters", {})), ensure_ascii=False)),)


def _wanted_call(request: Request) -> Sequence[Call]:
    """A call of the first tool where the user asks for one in so many words and no tool has answered yet."""
    asked = "call the tool" in last_question(request.messages).lower() and request.tool_choice != "none"
    if not asked or not request.tools or any(message["role"] == "tool" for message in request.messages):
        return ()
    function = request.tools[0]["function"]
    return (Call(function["name"], json.dumps(example_of(function.get("parameters", {})), ensure_ascii=False)),)


def _seen_colour(request: Request) -> str | None:
    """What a model says of the red square that is shown to find out whether it sees."""
    content = request.messages[-1].get("content")
    if not isinstance(content, list) or "Which colour" not in text_of(request.messages[-1]):
        return None
    sees = "image" not in request.model.quirks.overlooks and any(part.get("type") == "image_url" for part in content)
    return "Red." if sees else "I see no image."


def _summary(results: Sequence[Result], script: str) -> str:
    if not results:
        return f"echo: {without_directives(script)}"
    return f"The tools answered: {_quote(results)}"


def _plan(rounds: Iterable[Round], results: Sequence[Result]) -> str:
    """What to do, in one line without a directive in it: it may become part of the next prompt."""
    known = f" Known so far: {_quote(results)}." if results else ""
    steps = [
        f"{number}. call " + " and ".join(f"{call.name} with {call.arguments}" for call in round_.calls) + "."
        for number, round_ in enumerate(rounds, 1)
        if round_.calls
    ]
    return f"No tools are offered here, so nothing was called.{known} Plan: {' '.join([*steps, 'Then answer.'])}"


def _quote(results: Iterable[Result]) -> str:
    quotes = []
    for result in results:
        short = result.text if len(result.text) <= _LONGEST_QUOTE else f"{result.text[:_LONGEST_QUOTE]}…"
        quotes.append(f"{result.name or 'a tool'}: {json.dumps(short, ensure_ascii=False)}")
    return ", ".join(quotes)


def _failing(round_: Round, place: Place, memory: Memory) -> Round:
    """The round with the failures that are still to be played: it ends at the first of them."""
    actions: list[Action] = []
    for position, action in enumerate(round_.actions):
        if not isinstance(action, Fail | Cut):
            actions.append(action)
        elif memory.fails_now(place.text, place.rounds_done, position, action.times):
            actions.append(action)
            if isinstance(action, Cut) and not any(isinstance(each, Say | Call) for each in actions):
                actions.extend(each for each in round_.actions[position + 1 :] if isinstance(each, Say | Call))
            break
    return Round(actions, round_.usage, round_.finish_reason)


def _answer(request: Request, memory: Memory, round_: Round, delta: int | None) -> Answer:
    delay, actions = _split_delay(round_.actions)
    pieces = _pieces(request, memory, actions)
    if request.stream and "streamed calls" in request.model.quirks.overlooks:
        pieces = [piece for piece in pieces if not isinstance(piece, ToolCall)]
    quirks = request.model.quirks
    names = [piece.name for piece in pieces if isinstance(piece, ToolCall)]
    if request.model.reasons and pieces and not isinstance(pieces[0], Fail):
        pieces.insert(0, Reasoning(thought_of(names) if quirks.thought else _REASONING))
    finish_reason = "tool_calls" if names and "calls end with stop" not in quirks.writes else "stop"
    if request.max_tokens is not None and length_of(pieces) > 4 * request.max_tokens:
        pieces, finish_reason = shorten(pieces, 4 * request.max_tokens), "length"
    named = sum(map(count_text, names))
    prompt_tokens, completion_tokens = round_.usage or (request.prompt_tokens, None)
    return Answer(
        pieces=_cut_midway(pieces),
        finish_reason=round_.finish_reason or finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=-(-length_of(pieces) // 4) + named if completion_tokens is None else completion_tokens,
        delay=delay,
        delta=delta,
        writes=quirks.writes,
    )


def _split_delay(actions: Sequence[Action]) -> tuple[float, Sequence[Action]]:
    delay = 0.0
    for index, action in enumerate(actions):
        if not isinstance(action, Sleep):
            return delay, actions[index:]
        delay += action.seconds
    return delay, ()


def _pieces(request: Request, memory: Memory, actions: Iterable[Action]) -> list[Piece]:
    pieces: list[Piece] = []
    calls_made = 0
    for _, group in groupby(actions, lambda action: isinstance(action, Call)):
        calls: list[Call] = []
        for action in group:
            if isinstance(action, Call):
                calls.append(action)
            else:
                pieces.append(Text(action.text) if isinstance(action, Say) else action)
        if calls and (format_ := request.model.text_format):
            spoken = any(isinstance(piece, Text) for piece in pieces)
            pieces.append(Text(("\n" if spoken else "") + _written(calls, format_)))
        else:
            pieces.extend(
                ToolCall(index, _new_id(request, memory, call.name, index), call.name, call.arguments)
                for index, call in enumerate(calls, calls_made)
            )
            calls_made += len(calls)
    return _stopped(pieces, request.stop)


def _new_id(request: Request, memory: Memory, name: str, index: int) -> str:
    writes = request.model.quirks.writes
    if "ids of nine" in writes:
        return memory.new_id("")[:9]
    if "ids by name" in writes:
        made = sum(len(message.get("tool_calls") or ()) for message in request.messages)
        return f"functions.{name}:{made + index}"
    return memory.new_id("call_")


def _written(calls: Iterable[Call], format_: Format) -> str:
    bodies = ((call, call.arguments if call.broken else format_.body(json.loads(call.arguments))) for call in calls)
    return format_.write([(call.name, body) for call, body in bodies])


def _stopped(pieces: list[Piece], stop: Sequence[str]) -> list[Piece]:
    """The pieces without what follows a stop sequence in their text."""
    text = "".join(piece.text for piece in pieces if isinstance(piece, Text))
    ends = [end for sequence in stop if sequence and (end := text.find(sequence)) >= 0]
    return shorten(pieces, min(ends)) if ends else pieces


def _cut_midway(pieces: list[Piece]) -> list[Piece]:
    """A cut in first place moves to the middle of what would follow it."""
    for position, piece in enumerate(pieces):
        if isinstance(piece, Cut):
            after = pieces[position + 1 :]
            return [*pieces[:position], *shorten(after, length_of(after) // 2), piece]
    return pieces
