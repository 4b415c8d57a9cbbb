"""Tool calls come out of their deltas as they were, in whatever manner a server writes and cuts them."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.calls import ToolCallAssembler

Call = tuple[str, dict[str, Any]]
Delta = dict[str, Any]

NAMES = st.sampled_from(["read", "write_file", "ls"])
VALUES = st.recursive(st.text(max_size=6) | st.integers() | st.booleans(), lambda inner: st.lists(inner, max_size=2))
# A piece that begins like an object may be one, or go on with a name or a list.
KEYS = st.text(min_size=1, max_size=4) | st.sampled_from(["{", "a"])
ARGUMENTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=3)
# Of two calls of a tool without ids nobody can say whether the second is the first once more, or that and more.
CALLS = st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=4).filter(
    lambda calls: (
        not any(
            one[0] == other[0] and (one[1].items() <= other[1].items() or other[1].items() <= one[1].items())
            for number, one in enumerate(calls)
            for other in calls[:number]
        )
    )
)
CUTS = st.lists(st.integers(1, 5), min_size=1, max_size=8)


def delta(index: int | None = None, id_: str = "", name: str | None = None, arguments: str | None = None) -> Delta:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"index": index, "id": id_, "function": function}


def pieces(text: str, cuts: Sequence[int]) -> Iterator[str]:
    number = 0
    while text:
        size = cuts[number % len(cuts)]
        yield text[:size]
        text, number = text[size:], number + 1


def usual(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    for index, (name, arguments) in enumerate(calls):
        yield delta(index, f"call{index}", name, "")
        yield from (delta(index, arguments=piece) for piece in pieces(json.dumps(arguments), cuts))


def interleaved(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    rows = [list(pieces(json.dumps(arguments), cuts)) for _, arguments in calls]
    yield from (delta(index, f"call{index}", name, "") for index, (name, _) in enumerate(calls))
    for turn in range(max(map(len, rows))):
        yield from (delta(index, arguments=row[turn]) for index, row in enumerate(rows) if turn < len(row))


def whole_without_id(calls: Sequence[Call], _: Sequence[int], index: int | None = 0) -> Iterator[Delta]:
    yield from (delta(index, "", name, json.dumps(arguments)) for name, arguments in calls)


def whole_without_index(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    yield from whole_without_id(calls, cuts, None)


def whole_with_one_id(calls: Sequence[Call], _: Sequence[int]) -> Iterator[Delta]:
    yield from (delta(0, "call_0", name, json.dumps(arguments)) for name, arguments in calls)


def without_index(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    yield from ({**each, "index": None} for each in usual(calls, cuts))


def a_new_id_each(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    yield from ({**each, "id": f"id{number}"} for number, each in enumerate(usual(calls, cuts)))


def numbers_for_ids(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    yield from ({**each, "id": each["id"] and 100 + each["index"]} for each in usual(calls, cuts))


def names_in_pieces(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    for each in usual(calls, cuts):
        name = each["function"].get("name")
        if name is None:
            yield each
            continue
        yield delta(each["index"], each["id"], name[:1], "")
        yield delta(each["index"], "", name[1:])


def names_late(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    for index, (name, arguments) in enumerate(calls):
        first, *rest = pieces(json.dumps(arguments), cuts)
        yield delta(index, f"call{index}", arguments=first)
        yield delta(index, name=name)
        yield from (delta(index, arguments=piece) for piece in rest)


def arguments_once_more(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    for index, (name, arguments) in enumerate(calls):
        yield delta(index, f"call{index}", name, "")
        yield from (delta(index, arguments=piece) for piece in pieces(json.dumps(arguments), cuts))
        yield delta(index, arguments=json.dumps(arguments))


def empty_first(calls: Sequence[Call], _: Sequence[int]) -> Iterator[Delta]:
    for index, (name, arguments) in enumerate(calls):
        yield delta(index, f"call{index}", name, "{}")
        yield delta(index, arguments=json.dumps(arguments))


def the_message_behind(calls: Sequence[Call], cuts: Sequence[int]) -> Iterator[Delta]:
    yield from usual(calls, cuts)
    for position, each in enumerate(whole_without_id(calls, cuts)):
        yield {**each, "position": position}


MANNERS: list[Callable[[Sequence[Call], Sequence[int]], Iterator[Delta]]] = [
    usual,
    interleaved,
    whole_without_id,
    whole_without_index,
    whole_with_one_id,
    without_index,
    a_new_id_each,
    numbers_for_ids,
    names_in_pieces,
    names_late,
    arguments_once_more,
    empty_first,
    the_message_behind,
]


@pytest.mark.parametrize("manner", MANNERS)
@given(calls=CALLS, cuts=CUTS)
def test_calls_come_back_as_they_were(
    manner: Callable[[Sequence[Call], Sequence[int]], Iterator[Delta]], calls: list[Call], cuts: list[int]
) -> None:
    assembler = ToolCallAssembler()
    for each in manner(calls, cuts):
        assembler.feed(each)
    assert [(call.name, json.loads(call.arguments)) for call in assembler.calls()] == calls
    assert all(draft.complete for draft in assembler.drafts())


@pytest.mark.parametrize("cumulative", [['{"a":', '{"a": 1', '{"a": 1, "b": 2}'], ['{"a": 1}', '{"a": 1, "b": 2}']])
def test_arguments_that_are_told_from_their_beginning_each_time(cumulative: list[str]) -> None:
    assembler = ToolCallAssembler()
    assembler.feed(delta(0, "a", "read", ""))
    for piece in cumulative:
        assembler.feed(delta(0, arguments=piece))
    assert [json.loads(call.arguments) for call in assembler.calls()] == [{"a": 1, "b": 2}]


@pytest.mark.parametrize(("pieces", "told"), [(["{}"], "{"), (["{}", '{"a": 1}'], '{"a": 1}'), (['{}{"a": 1}'], "{")])
def test_an_empty_object_is_not_told_as_a_whole_call_while_arguments_may_follow(pieces: list[str], told: str) -> None:
    assembler = ToolCallAssembler()
    for piece in pieces:
        assembler.feed(delta(0, "a", "read", piece))
        assert assembler.drafts()[0].arguments in {"{", told}
    assert assembler.drafts()[0].arguments == told


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (['{"', '{"', ": []}"], {"{": []}),
        (['{"a": [', '{"a": [', "1]}]}"], {"a": [{"a": [1]}]}),
        (['{"a": [', '{"a": [', '{"a": [1]}'], {"a": [1]}),
        (['{"', '{"', '{"a": 1', '{"a": 1}'], {"a": 1}),
        (['{"a": [', '{"a": [1]}'], {"a": [1]}),
        (["{", '{"a"', '{"a": "{"}'], {"a": "{"}),
    ],
)
def test_a_piece_that_may_be_all_of_it_is_known_by_what_follows(written: list[str], meant: dict[str, Any]) -> None:
    assembler = ToolCallAssembler()
    assembler.feed(delta(0, "call0", "read", ""))
    for piece in written:
        assembler.feed(delta(0, arguments=piece))
    assert [json.loads(call.arguments) for call in assembler.calls()] == [meant]
