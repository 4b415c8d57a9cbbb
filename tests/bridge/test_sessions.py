"""A request finds its conversation and is told apart from every other turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sessions import Session, identify, transcript_key_after, transcript_keys, turn_key
from tests.bridge.transcripts import (
    CONTEXT,
    CONTINUE,
    QUEUED,
    SESSION,
    SUMMARY,
    SYSTEM,
    Message,
    answer,
    calls,
    first,
    result,
    user,
)

OPENCLAW = [SYSTEM, first("hi"), CONTEXT]
PLAIN: list[Message] = [{"role": "system", "content": "You help."}, {"role": "user", "content": "hi"}]


# Who names the session


@pytest.mark.parametrize("name", ["x-session-affinity", "X-Session-Affinity", "session_id", "Session-Id"])
@pytest.mark.parametrize("suffix", [":0", ":12", ""])
def test_openclaw_names_its_session_in_a_header_over_all_compactions(name: str, suffix: str) -> None:
    session = identify({name: f"{SESSION}{suffix}", "x-client-request-id": f"{SESSION}{suffix}"}, PLAIN, {})
    assert session == Session(SESSION, "header")


def test_a_request_id_alone_is_no_session() -> None:
    assert identify({"X-Client-Request-Id": "7f0c"}, PLAIN, {}) == Session(None, "transcript")


def test_openclaw_names_the_same_session_in_each_of_its_places() -> None:
    header = identify({"session_id": f"{SESSION}:3"}, OPENCLAW, {})
    line = identify({}, OPENCLAW, {})
    cache_key = identify({}, PLAIN, {"prompt_cache_key": f"{SESSION}:3"})
    assert [found.key for found in (header, line, cache_key)] == [SESSION] * 3
    assert [found.source for found in (header, line, cache_key)] == ["header", "runtime_line", "prompt_cache_key"]


def test_the_most_exact_name_counts() -> None:
    body = {"prompt_cache_key": "cache", "user": "ada"}
    assert identify({"session_id": "s:0"}, OPENCLAW, body).key == "s"
    assert identify({}, OPENCLAW, body).key == SESSION
    assert identify({}, PLAIN, body).key == "cache"
    assert identify({}, PLAIN, {"user": "ada"}) == Session("user:ada", "user")


@pytest.mark.parametrize("body", [{}, {"user": None}, {"user": " "}, {"user": 7}, {"prompt_cache_key": ""}])
def test_without_a_name_only_the_transcript_tells(body: dict[str, object]) -> None:
    assert identify({"session_id": " "}, PLAIN, body) == Session(None, "transcript")


# By the transcript


def say(text: str) -> Message:
    return {"role": "user", "content": text}


def test_a_conversation_is_continued_by_whoever_holds_all_of_it() -> None:
    transcript: list[Message] = [PLAIN[0]]
    known = ""
    for number in range(4):
        transcript.append(say(f"question {number}"))
        assert transcript_keys(transcript) == ([known] if known else [])
        known = transcript_key_after(transcript, f"answer {number}")
        transcript.append(answer(f"answer {number}"))


def test_tools_steers_and_openclaws_own_messages_do_not_change_whose_conversation_it_is() -> None:
    asked = [SYSTEM, first("list"), CONTEXT]
    at_the_end = [SYSTEM, first("list"), calls("a", text="I look."), result("a"), user(CONTINUE), CONTEXT]
    later = [
        SYSTEM,
        first("list"),
        calls("a", text="I look."),
        result("a"),
        answer("One file."),
        user("which?", "Sat 2026-11-21 08:00 UTC"),
        CONTEXT,
    ]
    assert transcript_key_after(at_the_end, "One file.") == transcript_key_after(asked, "I look.\n\nOne file.")
    assert transcript_keys(later) == [transcript_key_after(at_the_end, "One file.")]
    follow_up = [*later, calls("b"), result("b"), CONTEXT]
    assert transcript_keys(follow_up) == transcript_keys(later)


def test_what_clients_change_on_the_way_does_not_count() -> None:
    known = transcript_key_after([PLAIN[0], say("hi  there")], "<think>hm</think>\nHello,\n\nyou! ")
    changed: list[Message] = [
        {"role": "developer", "content": "the time is now 12:01"},
        {"role": "user", "content": [{"type": "text", "text": "hi there"}]},
        answer("Hello, you!"),
        say("and?"),
    ]
    assert transcript_keys(changed) == [known]


def test_an_edited_or_another_history_starts_a_conversation_of_its_own() -> None:
    known = transcript_key_after([say("hi")], "Hello")
    longer = transcript_key_after([say("hi"), answer("Hello"), say("more")], "Here")
    others: list[list[Message]] = [
        [say("hey"), answer("Hello"), say("more")],
        [say("hi"), answer("Hello, Ada"), say("more")],
        [answer("Hello"), say("hi"), say("more")],
        [say("hiHello"), say("more")],
        [say("more")],
    ]
    for other in others:
        assert known not in transcript_keys(other)
        assert longer not in transcript_keys(other)
    edited = [say("hi"), answer("Hello"), say("something else")]
    assert transcript_keys(edited) == [known]


def test_a_question_without_an_answer_belongs_to_the_next() -> None:
    assert transcript_keys([say("hi"), say("hello?")]) == []
    known = transcript_key_after([say("hi"), say("hello?")], "Yes")
    assert transcript_keys([say("hi"), say("hello?"), answer("Yes"), say("fine")]) == [known]


# The same turn


def key(messages: list[Message], session: str | None = SESSION, model: str = "desk") -> str:
    return turn_key(session, model, messages)


HISTORY = [SYSTEM, first("one"), calls("a"), result("a"), answer("1")]


def test_a_retry_is_the_same_turn_in_both_of_its_shapes() -> None:
    asked = [*HISTORY, user("two"), CONTEXT]
    rewritten = [*HISTORY, user(f"{QUEUED}\ntwo\n\n{CONTINUE}", "Sat 2026-11-21 00:13 UTC"), CONTEXT]
    assert key(asked) == key(rewritten)
    with_results = [*HISTORY, user("two"), calls("b"), result("b"), CONTEXT]
    inserted = [*HISTORY, user("two"), calls("b"), result("b"), user(CONTINUE), CONTEXT]
    assert key(with_results) == key(inserted)
    assert len({key(asked), key(with_results)}) == 2


def test_a_retry_of_the_first_turn_is_the_same_turn() -> None:
    assert key([SYSTEM, first("one"), CONTEXT]) == key([SYSTEM, first(f"{QUEUED}\none\n\n{CONTINUE}"), CONTEXT])


def test_a_retry_after_a_broken_answer_is_the_same_turn() -> None:
    assert key([*HISTORY, user("two"), CONTEXT]) == key(
        [*HISTORY, user("two"), answer("2, or"), user(CONTINUE), CONTEXT]
    )
    nudged = user("The previous attempt did not produce a user-visible answer. Continue from the current state.")
    assert key([*HISTORY, user("two"), CONTEXT]) == key([*HISTORY, user("two"), nudged, CONTEXT])


def test_a_new_turn_is_another_turn_even_in_the_same_words() -> None:
    turns = [
        [SYSTEM, first("yes"), CONTEXT],
        [SYSTEM, first("yes"), answer("ok"), user("yes"), CONTEXT],
        [SYSTEM, first("yes"), answer("ok"), user("yes"), answer("ok"), user("yes"), CONTEXT],
        [SYSTEM, first("yes"), answer("no"), user("yes"), CONTEXT],
        [SYSTEM, first("yes"), user("yes"), CONTEXT],
        [SYSTEM, first(SUMMARY), user("yes"), CONTEXT],
        [SYSTEM, first(f"{QUEUED}\nyes\n\nyes please"), CONTEXT],
    ]
    assert len({key(turn) for turn in turns}) == len(turns)


def test_results_that_came_are_progress_and_not_the_same_request() -> None:
    asked = [SYSTEM, first("one"), CONTEXT]
    one = [SYSTEM, first("one"), calls("a"), result("a"), CONTEXT]
    two = [SYSTEM, first("one"), calls("a"), result("a"), calls("b"), result("b"), CONTEXT]
    assert len({key(asked), key(one), key(two)}) == 3


def test_other_sessions_and_models_and_personas_are_other_turns() -> None:
    asked = [SYSTEM, first("one"), CONTEXT]
    assert len({key(asked), key(asked, "other"), key(asked, None), key(asked, model="other")}) == 4
    assert key(PLAIN, None) != key([{"role": "system", "content": "You are Ada's."}, PLAIN[1]], None)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text()), max_size=6), st.text(min_size=1))
def test_any_turn_keeps_its_key_when_openclaw_tries_it_again(said: list[tuple[str, str]], words: str) -> None:
    history: list[Message] = [{"role": role, "content": text} for role, text in said]
    asked = [*history, say(f"ask {words}"), CONTEXT]
    again = [*history, say(f"{QUEUED}\nask {words}\n\n{CONTINUE}"), CONTEXT]
    assert key(asked) == key(again)
    assert key(asked) != key([*history, say(f"ask {words}"), answer("done"), say(f"ask {words}"), CONTEXT])


def picture(url: str) -> Message:
    return {
        "role": "user",
        "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}],
    }


def test_the_same_words_about_another_picture_are_another_turn() -> None:
    for session in (SESSION, None):
        assert key([SYSTEM, picture("data:image/png;base64,AA")], session) != key(
            [SYSTEM, picture("data:image/png;base64,BB")], session
        )
        assert key([SYSTEM, picture("data:image/png;base64,AA")], session) == key(
            [SYSTEM, picture("data:image/png;base64,AA"), CONTEXT], session
        )


def test_conversations_of_one_user_with_other_instructions_are_other_turns() -> None:
    french = [{"role": "system", "content": "Translate into French."}, say("hello")]
    dutch = [{"role": "system", "content": "Translate into Dutch."}, say("hello")]
    assert key(french, "user:ada") != key(dutch, "user:ada")
    assert key(french, "user:ada") == key([*french], "user:ada")
