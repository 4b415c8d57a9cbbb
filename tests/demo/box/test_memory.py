"""Memory holds what Dify's would hold."""

from collections.abc import Sequence

from graphon.model_runtime.entities.message_entities import PromptMessage

from demo.box.memory import ConversationMemory
from demo.box.store import Message


def message(query: str, answer: str = "", **fields: object) -> Message:
    return Message(conversation_id="c", query=query, answer=answer, inputs={}, **fields)  # type: ignore[arg-type]


def remembered(
    messages: list[Message], *, tokens_each: int = 0, max_token_limit: int = 2000, message_limit: int | None = None
) -> list[tuple[str, object]]:
    def count(prompt: Sequence[PromptMessage]) -> int:
        return tokens_each * len(prompt)

    memory = ConversationMemory(lambda: messages, count)
    found = memory.get_history_prompt_messages(max_token_limit, message_limit)
    return [(each.role.value, each.content) for each in found]


def test_turns_come_oldest_first() -> None:
    assert remembered([message("1", "one"), message("2", "two")]) == [
        ("user", "1"),
        ("assistant", "one"),
        ("user", "2"),
        ("assistant", "two"),
    ]


def test_the_turn_being_answered_is_left_out() -> None:
    assert remembered([message("1", "one"), message("now")]) == [("user", "1"), ("assistant", "one")]


def test_an_earlier_turn_without_an_answer_stays() -> None:
    turns = [message("failed"), message("2", "two"), message("now")]
    assert remembered(turns)[:2] == [("user", "failed"), ("assistant", "")]


def test_a_newest_turn_that_cost_tokens_stays() -> None:
    assert remembered([message("spent", answer_tokens=3)]) == [("user", "spent"), ("assistant", "")]


def test_only_so_many_messages_are_looked_at() -> None:
    """The window counts the turn being answered too."""
    turns = [message(str(number), f"a{number}") for number in range(5)]
    assert remembered([*turns, message("now")], message_limit=2) == [("user", "4"), ("assistant", "a4")]


def test_the_oldest_goes_first_when_tokens_run_out() -> None:
    turns = [message("1", "one"), message("2", "two")]
    assert remembered(turns, tokens_each=10, max_token_limit=25) == [("user", "2"), ("assistant", "two")]


def test_one_message_always_stays() -> None:
    assert remembered([message("1", "one")], tokens_each=10, max_token_limit=1) == [("assistant", "one")]


def test_a_thread_ends_where_it_was_started_anew() -> None:
    """A message without a parent begins a thread; what was before it is another one."""
    turns = [message("old", "o"), message("anew", "a", parent_message_id=""), message("now", "n")]
    assert [text for _, text in remembered(turns)] == ["anew", "a", "now", "n"]


def test_no_turns_no_memory() -> None:
    assert remembered([]) == []
