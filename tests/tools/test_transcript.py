"""A transcript that goes upstream has no orphans, and holds every turn once."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tools.fingerprint import text_digest
from tools.results import Message
from tools.transcript import NO_RESULT, merge, repair


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def said(text: str) -> Message:
    return {"role": "assistant", "content": text}


def asks(*ids: str) -> Message:
    calls = [{"id": i, "type": "function", "function": {"name": "read", "arguments": "{}"}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call_id: str, content: Any = "ok") -> Message:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


class TestRepair:
    def test_a_sound_transcript_stays_as_it_is(self) -> None:
        sound = [system("s"), user("u"), asks("a", "b"), result("a"), result("b"), said("done")]
        assert repair(sound) == sound

    def test_an_id_that_is_too_long_for_openai_is_shortened_in_the_call_and_in_its_result(self) -> None:
        call, answer = repair([asks("x" * 41), result("x" * 41)])
        assert call["tool_calls"][0]["id"] == answer["tool_call_id"]
        assert len(answer["tool_call_id"]) <= 40
        assert answer["content"] == "ok"

    def test_a_call_without_a_result_gets_one_that_says_so(self) -> None:
        assert repair([user("u"), asks("a", "b"), result("b"), user("v")]) == [
            user("u"),
            asks("a", "b"),
            result("a", NO_RESULT),
            result("b"),
            user("v"),
        ]

    def test_a_result_without_a_call_is_dropped(self) -> None:
        assert repair([user("u"), result("x"), said("hi")]) == [user("u"), said("hi")]

    def test_results_are_put_in_call_order_directly_after_their_calls(self) -> None:
        mixed = [asks("a", "b"), user("steer"), result("b", "2"), result("a", "1")]
        assert repair(mixed) == [asks("a", "b"), result("a", "1"), result("b", "2"), user("steer")]

    def test_an_id_that_an_earlier_turn_used_is_renamed_with_its_result(self) -> None:
        repaired = repair([asks("a"), result("a", "1"), asks("a"), result("a", "2")])
        assert repaired[0]["tool_calls"][0]["id"] == "a"
        second = repaired[2]["tool_calls"][0]["id"]
        assert second != "a"
        assert repaired[3] == result(second, "2")

    def test_two_calls_of_one_message_with_one_id_get_a_result_each(self) -> None:
        repaired = repair([asks("a", "a"), result("a", "1"), result("a", "2")])
        ids = [call["id"] for call in repaired[0]["tool_calls"]]
        assert len(set(ids)) == 2
        assert repaired[1:] == [result(ids[0], "1"), result(ids[1], "2")]

    def test_of_two_results_for_one_call_the_first_counts(self) -> None:
        assert repair([asks("a"), result("a", "1"), result("a", "2")]) == [asks("a"), result("a", "1")]

    def test_the_content_of_a_tool_message_becomes_a_string(self) -> None:
        parts = [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]
        assert repair([asks("a"), result("a", parts)])[1] == result("a", "x\ny")

    def test_an_assistant_message_without_content_and_calls_is_dropped(self) -> None:
        assert repair([user("u"), {"role": "assistant", "content": None, "tool_calls": []}]) == [user("u")]

    @given(
        st.lists(
            st.one_of(
                st.builds(user, st.text(max_size=3)),
                st.builds(said, st.text(max_size=3)),
                st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda ids: asks(*ids)),
                st.builds(result, st.sampled_from("abcx")),
            ),
            max_size=12,
        )
    )
    def test_any_transcript_comes_out_sound(self, messages: list[Message]) -> None:
        repaired = repair(messages)
        seen: set[str] = set()
        expected: list[str] = []
        for message in repaired:
            if message["role"] == "tool":
                assert message["tool_call_id"] == expected.pop(0)
                continue
            assert not expected
            expected = [call["id"] for call in message.get("tool_calls", [])]
            assert not seen & set(expected)
            seen |= set(expected)
        assert not expected
        assert [m for m in repaired if m["role"] == "user"] == [m for m in messages if m["role"] == "user"]
        assert repair(repaired) == repaired


class TestMerge:
    def test_the_nodes_system_message_comes_first_then_the_clients(self) -> None:
        merged = merge([system("node"), user("q")], [system("client"), user("q")], 1, "q")
        assert merged == [system("node"), system("client"), user("q")]

    def test_the_clients_message_stays_where_the_template_did_not_change_the_query(self) -> None:
        client = [user("[Fri] q\n\nRuntime: x")]
        assert merge([user("q")], client, 0, "q") == client

    def test_the_nodes_message_replaces_the_clients_where_the_template_changed_it(self) -> None:
        client = [user("before"), said("yes"), user("q"), user("context")]
        merged = merge([system("s"), user("Plan: x\nTask: q")], client, 2, "q")
        assert merged == [system("s"), user("before"), said("yes"), user("Plan: x\nTask: q"), user("context")]

    def test_images_of_the_client_go_along_with_the_nodes_text(self) -> None:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        client = [{"role": "user", "content": [{"type": "text", "text": "q"}, image]}]
        assert merge([user("changed")], client, 0, "q") == [
            {"role": "user", "content": [{"type": "text", "text": "changed"}, image]}
        ]

    def test_turns_of_difys_memory_are_dropped_and_examples_of_the_template_are_kept(self) -> None:
        node = [system("s"), user("example"), said("shown"), user("old"), said("old answer"), user("q")]
        client = [user("old"), said("old"), said("answer"), user("q")]
        merged = merge(node, client, 3, "q", past_queries=[text_digest("old")])
        assert merged == [system("s"), user("example"), said("shown"), *client]

    def test_a_memory_turn_that_the_client_compacted_away_does_not_come_back(self) -> None:
        node = [user("long ago"), said("x"), user("q")]
        assert merge(node, [user("<summary>"), user("q")], 1, "q", [text_digest("long ago")]) == [
            user("<summary>"),
            user("q"),
        ]

    def test_a_node_without_a_user_message_leaves_the_transcript_alone(self) -> None:
        assert merge([system("Answer: q")], [user("q")], 0, "q") == [system("Answer: q"), user("q")]

    def test_without_a_client_the_nodes_prompt_is_all(self) -> None:
        assert merge([system("s"), user("q")], [], None, "") == [system("s"), user("q")]
