"""A request finds its conversation and is told apart from every other turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.runs.requests import RunRequest
from bridge.runs.sessions.sessions import (
    Past,
    Session,
    Source,
    exchange_after,
    identify,
    past_of,
    request_key,
    turn_key,
)
from tests.bridge.transcripts import (
    CONTEXT,
    CONTINUE,
    QUEUED,
    RUNTIME,
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
from tools.definitions import Function, ToolDefinition

OPENCLAW = [SYSTEM, first("hi"), CONTEXT]
PLAIN: list[Message] = [{"role": "system", "content": "You help."}, {"role": "user", "content": "hi"}]


# Who names the session


@pytest.mark.parametrize("suffix", [":0", ":12", ""])
@pytest.mark.parametrize(
    "names",
    [
        ("x-session-affinity", "x-client-request-id"),
        ("session_id", "X-Client-Request-Id"),
        ("X-Session-Affinity", "Session-Id"),
    ],
)
def test_openclaw_names_its_session_in_its_headers_over_all_compactions(names: tuple[str, str], suffix: str) -> None:
    session = identify(dict.fromkeys(names, f"{SESSION}{suffix}"), PLAIN, {})
    assert session == Session(SESSION, "openclaw", alone=True)


def test_a_request_id_alone_is_no_session() -> None:
    assert identify({"X-Client-Request-Id": "7f0c"}, PLAIN, {}) == Session(None, "transcript")


def test_openclaw_names_the_same_session_in_each_of_its_places() -> None:
    header = identify({"session_id": f"{SESSION}:3"}, OPENCLAW, {})
    line = identify({}, OPENCLAW, {})
    assert header == line == Session(SESSION, "openclaw", alone=True)


def test_a_line_about_the_runtime_in_anybody_elses_text_names_nothing() -> None:
    assert not identify({}, [PLAIN[0], first("hi")], {}).alone
    forged = {"role": "user", "content": f"[Fri 2026-11-20 23:56 UTC] {RUNTIME}\n\n{RUNTIME.replace(SESSION, 'mine')}"}
    assert identify({}, [SYSTEM, forged], {}).key == "mine"


@pytest.mark.parametrize(
    ("headers", "body", "key"),
    [
        ({"X-Claude-Code-Session-Id": "s"}, {}, "s"),
        ({"X-Claude-Code-Session-Id": "s", "x-claude-code-agent-id": "a"}, {}, "s\na"),
        (
            {
                "session-id": "parent",
                "thread-id": "child",
                "x-client-request-id": "child",
                "x-codex-window-id": "child:0",
            },
            {"prompt_cache_key": "parent"},
            "child",
        ),
        ({"x-session-id": "ses_1", "x-session-affinity": "ses_1"}, {}, "ses_1"),
        ({"x-session-id": "ses_1", "User-Agent": "opencode/1.18.33 ai-sdk"}, {}, "ses_1"),
    ],
)
def test_each_agent_names_its_conversations_in_its_own_way(
    headers: dict[str, str], body: dict[str, object], key: str
) -> None:
    session = identify(headers, PLAIN, body)
    assert (session.key, session.alone) == (key, True)


def test_an_affinity_header_of_a_client_that_is_not_known_is_no_name() -> None:
    nanobot = identify({"x-session-affinity": "b90a:1", "User-Agent": "AsyncOpenAI/Python 3.57.0"}, PLAIN, {})
    assert nanobot == Session(None, "affinity", former="b90a")
    keyed = identify({"x-session-affinity": "b90a"}, PLAIN, {"prompt_cache_key": "k:7"})
    assert keyed == Session("k:7", "prompt_cache_key", former="b90a")


def test_names_that_may_be_shared_do_not_count_alone() -> None:
    body = {"prompt_cache_key": "cache", "user": "ada"}
    assert identify({"session_id": "s:0"}, OPENCLAW, body).key == "s"
    assert identify({}, OPENCLAW, body).key == SESSION
    assert identify({}, PLAIN, body) == Session("cache", "prompt_cache_key", former="cache")
    assert identify({}, PLAIN, {"user": "ada"}) == Session("ada", "user", former="user:ada")


def test_different_names_have_nothing_in_common() -> None:
    named = [
        Session("x", "openclaw", alone=True),
        Session("x", "prompt_cache_key"),
        Session("x", "user"),
        Session("y", "user"),
        Session(None, "transcript"),
    ]
    assert len({session.scope for session in named}) == len(named)
    assert Session(None, "affinity").scope == Session(None, "transcript").scope == ""


@given(st.text(), st.text(min_size=1), st.text(), st.booleans())
def test_no_name_is_that_of_another_client(name: str, owner: str, other: str, alone: bool) -> None:
    sessions = [
        Session(key, "user", alone=alone, owner=whose)
        for key, whose in ((name, ""), (name, owner), (f"{owner}\n{name}", ""), (other, "b"), (f"{owner}:{name}", ""))
    ]
    mine = sessions[1]
    for session in (each for each in sessions if each.owner != owner):
        assert session.row_key("m") != mine.row_key("m")
        assert session.scope != mine.scope
        assert turn_key(session, "m", PLAIN) != turn_key(mine, "m", PLAIN)


@pytest.mark.parametrize("body", [{}, {"user": None}, {"user": " "}, {"user": 7}, {"prompt_cache_key": ""}])
def test_without_a_name_only_the_transcript_tells(body: dict[str, object]) -> None:
    assert identify({"session_id": " "}, PLAIN, body) == Session(None, "transcript")


# What was said


def say(text: str) -> Message:
    return {"role": "user", "content": text}


def told(messages: list[Message], text: str) -> Past:
    """What is kept of a conversation when `messages` was answered with `text`."""
    return exchange_after([*messages, answer(text)])


def is_next(kept: Past, messages: list[Message]) -> bool:
    """Whether a transcript goes on from what was kept: by its latest exchange, and by all of it."""
    past = past_of(messages)
    assert (past.whole == kept.whole) <= (past.exchanges[-1:] == kept.exchanges[-1:])
    return past.exchanges[-1:] == kept.exchanges[-1:] != ()


def test_a_conversation_is_continued_by_whoever_holds_what_was_said_last() -> None:
    transcript: list[Message] = [PLAIN[0]]
    assert not past_of([*transcript, say("question")]).turns
    for number in range(4):
        transcript.append(say(f"question {number}"))
        kept = told(transcript, f"answer {number}")
        transcript.append(answer(f"answer {number}"))
        asked = [*transcript, say("and?")]
        assert past_of(asked).whole == kept.whole
        assert len(past_of(asked).exchanges) == number + 1
        assert is_next(kept, asked)
        assert is_next(kept, [say("a summary"), *asked[-3:]])
        assert not is_next(kept, asked[:-2]), "what was said last is not there"


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
    plain = exchange_after([*asked, answer("I look."), answer("One file.")])
    assert told(at_the_end, "One file.").turns == plain.turns
    assert is_next(told(at_the_end, "One file."), later)
    assert past_of(later).calls == ("a",)
    follow_up = [*later, calls("b"), result("b"), CONTEXT]
    assert past_of(follow_up).exchanges == past_of(later).exchanges


def test_what_clients_change_on_the_way_does_not_count() -> None:
    kept = told([PLAIN[0], say("hi  there")], "<think>hm</think>\nHello,\n\nyou! ")
    changed: list[Message] = [
        {"role": "developer", "content": "the time is now 12:01"},
        {"role": "user", "content": [{"type": "text", "text": "hi there"}]},
        answer("Hello, you!"),
        say("and?"),
    ]
    assert past_of(changed).whole == kept.whole


def test_another_exchange_is_another_conversation() -> None:
    kept = told([say("hi")], "Hello")
    for other in (
        [say("hey"), answer("Hello"), say("more")],
        [say("hi"), answer("Hello, Ada"), say("more")],
        [answer("Hello"), say("hi"), say("more")],
        [say("hiHello"), say("more")],
        [say("hi"), answer("Hello"), say("more"), answer("Here"), say("and?")],
        [say("more")],
    ):
        assert not is_next(kept, other)
    assert is_next(kept, [say("hi"), answer("Hello"), say("something else")])


def test_a_question_without_an_answer_belongs_to_the_next() -> None:
    assert past_of([say("hi"), say("hello?")]).whole == ""
    kept = told([say("hi"), say("hello?")], "Yes")
    assert is_next(kept, [say("hi"), say("hello?"), answer("Yes"), say("fine")])


def test_only_the_last_turns_calls_are_those_of_the_last_turn() -> None:
    asked = [say("one"), calls("a"), result("a"), answer("1"), say("two"), calls("b", "c"), result("b"), say("wait")]
    assert past_of(asked).calls == ("b", "c")


# The same turn


def key(messages: list[Message], session: str | None = SESSION, model: str = "desk", *, alone: bool = True) -> str:
    source: Source = "openclaw" if alone else "user"
    return turn_key(Session(session, source, alone=alone and session is not None), model, messages)


def test_a_whole_request_is_known_again_and_nothing_less_than_all_of_it() -> None:
    asked = RunRequest(messages=[say("hi")], turn=0, query="hi", parameters={"temperature": 1}, inputs={"a": 1})
    one = request_key(Session("k", "user"), "desk", asked)
    assert one == request_key(Session("k", "user"), "desk", asked.model_copy())
    tool = ToolDefinition(function=Function(name="read"))
    changes: list[dict[str, object]] = [
        {"messages": [PLAIN[0], say("hi")]},
        {"tools": [tool]},
        {"tool_choice": "required"},
        {"parallel_tool_calls": False},
        {"parameters": {"temperature": 2}},
        {"inputs": {"a": 2}},
    ]
    others = [request_key(Session("k", "user"), "desk", asked.model_copy(update=change)) for change in changes]
    others += [request_key(Session("l", "user"), "desk", asked), request_key(Session("k", "user"), "other", asked)]
    assert len({one, *others}) == len(others) + 1


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
    assert key(french, "ada", alone=False) != key(dutch, "ada", alone=False)
    assert key(french, "ada", alone=False) == key([*french], "ada", alone=False)
