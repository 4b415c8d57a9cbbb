"""One session is one Dify conversation; what is not its user's turn does not touch it."""

import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, insert, update

from bridge.runs.sessions.sessions import past_of
from bridge.store import schema
from demo.client import session_headers
from demo.stack import Stack
from tests.e2e.conftest import MakeClient, MakeStack, call, upstream_log, workflow_runs
from tools.fingerprint import text_digest

PNG = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
SYSTEM = "<!-- openclaw:attempt:STABLE -->\nYou are a personal assistant running inside OpenClaw."


def post(stack: Stack, messages: list[dict[str, Any]], session: str | None = None, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.client_token}", **(session_headers(session) if session else {})}
    body = {"model": "minimal", "messages": messages, **more}
    response = httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    return response


def say(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answered(response: httpx.Response) -> dict[str, Any]:
    return {"role": "assistant", "content": response.json()["choices"][0]["message"]["content"]}


def conversation(stack: Stack, response: httpx.Response) -> str:
    store = stack.store()
    try:
        run = store.run(response.headers["x-clawback-run"])
    finally:
        store.close()
    assert run is not None
    return run.conversation_id


def test_a_session_keeps_its_conversation_over_turns_and_compactions(stack: Stack, make_client: MakeClient) -> None:
    first = post(stack, [say("One.")], "keeps:0")
    second = post(stack, [say("One."), answered(first), say("Two.")], "keeps:0")
    third = post(stack, [say("<summary>…</summary>"), say("Three.")], "keeps:1")
    other = post(stack, [say("One.")], "keeps-not:0")
    assert conversation(stack, first) == conversation(stack, second) == conversation(stack, third)
    assert conversation(stack, other) != conversation(stack, first)


def test_difys_memory_and_the_transcript_are_not_both_sent(stack: Stack) -> None:
    first = post(stack, [say("Remember the number seven.")], "memory")
    post(stack, [say("Remember the number seven."), answered(first), say("Which number was it?")], "memory")
    (asked,) = upstream_log(stack, "Which number was it?")
    assert str(asked["request"]["messages"]).count("Remember the number seven.") == 2  # the user's words, and the echo


ODD_WORDS: dict[str, Any] = {
    "a NUL": "a\x00b",
    "white space around": " \r\n a \u00a0\n",
    "a picture alone": [{"type": "image_url", "image_url": {"url": PNG}}],
    "a picture with blanks": [{"type": "text", "text": "  "}, {"type": "image_url", "image_url": {"url": PNG}}],
    "a marker in a marker": "see [[clawback:[[clawback:abcdefgh]]abcdefgh]] x",
}


@pytest.mark.parametrize("words", ODD_WORDS.values(), ids=ODD_WORDS)
def test_difys_memory_of_odd_words_is_not_sent_beside_the_transcript(stack: Stack, words: Any) -> None:
    session = f"odd {text_digest(repr(words))}"
    transcript = [{"role": "user", "content": words}]
    transcript += [answered(post(stack, transcript, session)), say(f"Next to {words!r:.30}.")]
    post(stack, transcript, session)
    *_, asked = upstream_log(stack, "Next to ")
    assert [message["role"] for message in asked["request"]["messages"]] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("session", ["long-lived", None])
def test_of_turns_that_are_older_than_keep_days_nothing_is_told_twice_and_nothing_that_was_edited_away(
    make_stack: MakeStack, session: str | None
) -> None:
    stack = make_stack(apps=["minimal"])

    def told_after(words: str) -> list[dict[str, Any]]:
        asked = say(f"{words}\n!say Fine, {words} {session}")
        response = post(stack, [*transcript, asked], session)
        (log,) = upstream_log(stack, f"Fine, {words} {session}")
        assert log["request"]["messages"][1:] == [*transcript, asked]
        forget(stack, response.headers["x-clawback-run"])
        return [*transcript, asked, answered(response)]

    transcript: list[dict[str, Any]] = []
    for words in ("My PIN is 1111.", "Second.", "Third."):
        transcript = told_after(words)
    before = transcript[2:]
    transcript = [say("My PIN is hidden."), {"role": "assistant", "content": "I see."}, *before]
    told_after("Edited.")


def forget(stack: Stack, run_id: str) -> None:
    """Let the store forget this run, as if it had ended keep_days ago."""
    stack.bridge.stop()
    store = stack.store()
    try:
        with store.transaction() as connection:
            connection.execute(update(schema.runs).where(schema.runs.c.id == run_id).values(updated_at=1.0))
        assert store.forget_before(2.0) == 1
    finally:
        store.close()
        stack.bridge.start()


def test_a_client_without_a_session_name_is_known_by_its_transcript(stack: Stack) -> None:
    first = post(stack, [say("Anonymous hello.")])
    second = post(stack, [say("Anonymous hello."), answered(first), say("And on.")])
    stranger = post(stack, [say("Anonymous hello."), {"role": "assistant", "content": "no"}, say("And on.")])
    assert conversation(stack, first) == conversation(stack, second) != conversation(stack, stranger)


def test_openclaws_own_calls_do_not_touch_the_sessions_conversation(stack: Stack) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("read", "write")]
    first = post(stack, [{"role": "system", "content": SYSTEM}, say("Turn.")], "aux:0", tools=tools)
    flush = say("Pre-compaction memory flush. Store durable memories only in memory/2026-11-21.md.")
    flushed = post(
        stack, [{"role": "system", "content": SYSTEM}, say("Turn."), answered(first), flush], "aux:0", tools=tools
    )
    summary = post(
        stack,
        [
            {"role": "system", "content": "You are a context summarization assistant. …"},
            say("<conversation>…</conversation>"),
        ],
        "aux",
    )
    second = post(
        stack,
        [{"role": "system", "content": SYSTEM}, say("Turn."), answered(first), say("Next.")],
        "aux:0",
        tools=tools,
    )
    assert conversation(stack, first) == conversation(stack, second)
    assert len({conversation(stack, response) for response in (first, flushed, summary)}) == 3


def test_openclaws_own_calls_are_known_in_the_language_of_responses_too(stack: Stack) -> None:
    def respond(*items: dict[str, Any]) -> httpx.Response:
        tools = [{"type": "function", "name": "write"}]
        body = {"model": "minimal", "input": [{"role": "system", "content": SYSTEM}, *items], "tools": tools}
        headers = {"Authorization": f"Bearer {stack.client_token}", **session_headers("in-responses:0")}
        response = httpx.post(f"{stack.base_url}/responses", json=body | {"store": False}, headers=headers, timeout=60)
        assert response.status_code == 200, response.text
        return response

    first = respond(say("Turn."))
    told = {"role": "assistant", "content": "Turn."}
    flushed = respond(say("Turn."), told, say("Pre-compaction memory flush. Store durable memories only."))
    second = respond(say("Turn."), told, say("Next."))
    assert conversation(stack, first) == conversation(stack, second) != conversation(stack, flushed)


def test_a_second_run_of_a_busy_session_gets_a_conversation_of_its_own(stack: Stack) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(post, stack, [say("Slow one.\n!sleep 1.5\n!say slow")], "busy")
        quick = pool.submit(post, stack, [say("Quick one.\n!sleep 1\n!say quick")], "busy")
        responses = [slow.result(), quick.result()]
    assert [answered(response)["content"] for response in responses] == ["slow", "quick"]
    assert len({conversation(stack, response) for response in responses}) == 2
    assert all(len(workflow_runs(stack, r.headers["x-clawback-run"])) >= 1 for r in responses)


def asked(stack: Stack, messages: list[dict[str, Any]], headers: dict[str, str], **more: Any) -> httpx.Response:
    """Ask under any headers; the answer may be an error."""
    body = {"model": "minimal", "messages": messages, **more}
    headers = {"Authorization": f"Bearer {stack.client_token}", **headers}
    return httpx.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=60)


TOOLS = [{"type": "function", "function": {"name": "exec"}}]
SHARED: list[dict[str, Any]] = [
    {"user": "shared-user"},
    {"prompt_cache_key": "shared-key"},
    {"user": "shared-user", "prompt_cache_key": "shared-key"},
    {},
]


@pytest.mark.parametrize("name", SHARED[:2])
def test_two_conversations_of_one_name_do_not_end_each_others_calls(stack: Stack, name: dict[str, str]) -> None:
    waiting = say(f"Mine, by {name}.\n{call('exec', command='x')}\n!then\n!say still mine")
    first = post(stack, [waiting], tools=TOOLS, **name)
    other = post(stack, [say(f"Another's, by {name}.\n!say hello")], tools=TOOLS, **name)
    assert answered(other)["content"] == "hello"
    assert conversation(stack, other) != conversation(stack, first)
    made = first.json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": "ok"}
    done = post(stack, [waiting, made, result], tools=TOOLS, **name)
    assert answered(done)["content"] == "still mine"
    assert done.headers["x-clawback-run"] == first.headers["x-clawback-run"]


@pytest.mark.parametrize("name", SHARED)
def test_who_says_the_same_while_another_waits_for_tools_gets_a_run_of_their_own(
    stack: Stack, name: dict[str, str]
) -> None:
    words = [say(f"The daily report, by {name}.\n{call('exec', command='x')}\n!then\n!say done")]
    first, second = (post(stack, words, tools=TOOLS, **name) for _ in range(2))
    made = [response.json()["choices"][0]["message"] for response in (first, second)]
    assert first.headers["x-clawback-run"] != second.headers["x-clawback-run"]
    assert made[0]["tool_calls"][0]["id"] != made[1]["tool_calls"][0]["id"]
    for message, mine in zip(made, (first, second), strict=True):
        result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "of my own"}
        done = post(stack, [*words, message, result], tools=TOOLS, **name)
        assert done.headers["x-clawback-run"] == mine.headers["x-clawback-run"]
        assert conversation(stack, done) == conversation(stack, mine)
    assert conversation(stack, first) != conversation(stack, second)


@pytest.mark.parametrize("name", SHARED)
def test_two_people_who_both_begin_with_hi_go_on_in_conversations_of_their_own(
    stack: Stack, name: dict[str, str]
) -> None:
    begun = [post(stack, [say(f"Hi, {name}.\n!say Hello!")], **name) for _ in range(2)]
    history = [say(f"Hi, {name}.\n!say Hello!"), answered(begun[0])]
    secrets = [[*history, say(f"I am {who}, by {name}.\n!say noted")] for who in ("Alice", "Bob")]
    told = [post(stack, messages, **name) for messages in secrets]
    later = [
        post(stack, [*messages, answered(response), say("And?\n!say ok")], **name)
        for messages, response in zip(secrets, told, strict=True)
    ]
    places = [conversation(stack, response) for response in (*told, *later)]
    assert places[0] == places[2] != places[1] == places[3]
    assert {conversation(stack, response) for response in begun} == set(places)


@pytest.mark.parametrize("name", SHARED)
def test_a_client_that_keeps_its_last_messages_stays_in_its_conversation(stack: Stack, name: dict[str, str]) -> None:
    messages: list[dict[str, Any]] = []
    places = set()
    for number in range(8):
        messages.append(say(f"Step {number}, by {name}.\n!say done {number} {name}"))
        response = post(stack, messages[-10:], **name)
        messages.append(answered(response))
        places.add(conversation(stack, response))
    assert len(places) == 1
    summary = [say("A summary of all that was said."), *messages[-4:], say(f"On, {name}.")]
    assert conversation(stack, post(stack, summary, **name)) in places


@pytest.mark.parametrize("name", SHARED)
def test_a_transcript_from_elsewhere_that_ends_in_the_same_few_words_leads_nowhere(
    stack: Stack, name: dict[str, str]
) -> None:
    ends = say(f"thanks, {name}\n!say welcome")
    alice = [say(f"I am Alice, {name}\n!say noted")]
    alice += [answered(post(stack, alice, **name)), ends]
    hers = post(stack, alice, **name)
    welcome = {"role": "assistant", "content": "welcome"}
    for before in ([], [say("I am Bob"), {"role": "assistant", "content": "noted"}]):
        bob = post(stack, [*before, ends, welcome, say("Who am I?")], **name)
        assert conversation(stack, bob) != conversation(stack, hers)
    assert conversation(stack, post(stack, [*alice, welcome, say("Who am I?")], **name)) == conversation(stack, hers)


@pytest.mark.parametrize("name", SHARED)
def test_an_edited_message_begins_a_new_conversation_where_what_was_said_last_is_gone(
    stack: Stack, name: dict[str, str]
) -> None:
    first = post(stack, [say(f"Before, by {name}.\n!say one")], **name)
    history = [say(f"Before, by {name}.\n!say one"), answered(first)]
    second = post(stack, [*history, say(f"Unwise words, by {name}.\n!say two")], **name)
    edited = post(stack, [*history, say(f"Wise words, by {name}.\n!say three")], **name)
    assert conversation(stack, first) == conversation(stack, second) != conversation(stack, edited)
    on = [*history, say(f"Unwise words, by {name}.\n!say two"), answered(second), say("And on.")]
    assert conversation(stack, post(stack, on, **name)) == conversation(stack, second)


@pytest.mark.parametrize("name", SHARED)
def test_new_words_behind_a_runs_calls_go_on_with_its_conversation(stack: Stack, name: dict[str, str]) -> None:
    words = say(f"Never mind, by {name}.\n{call('exec', command='x')}\n!then\n!say done")
    first = post(stack, [words], tools=TOOLS, **name)
    made = first.json()["choices"][0]["message"]
    moved_on = post(stack, [words, made, say(f"Something else, by {name}.\n!say else")], tools=TOOLS, **name)
    assert answered(moved_on)["content"] == "else"
    assert moved_on.headers["x-clawback-run"] != first.headers["x-clawback-run"]
    assert conversation(stack, moved_on) == conversation(stack, first)


def test_different_values_for_an_app_are_different_conversations(stack: Stack) -> None:
    history = [say("Hi, whoever.\n!say Hello!")]
    first = post(stack, history, inputs={"person": "Alice"})
    more = [*history, answered(first), say("Who am I?")]
    assert conversation(stack, post(stack, more, inputs={"person": "Bob"})) != conversation(stack, first)
    assert conversation(stack, post(stack, more, inputs={"person": "Alice"})) == conversation(stack, first)


def test_a_childs_thread_and_a_compaction_of_codex_are_told_by_its_thread_id(stack: Stack) -> None:
    def thread(name: str, session: str = "parent") -> dict[str, str]:
        window = {"x-codex-window-id": f"{name}:0", "x-client-request-id": name}
        return {"session-id": session, "thread-id": name, **window, "User-Agent": "codex_exec/0.169.0"}

    key = {"prompt_cache_key": "parent", "tools": TOOLS}
    parent = asked(stack, [say("Begin.\n!say begun")], thread("parent"), **key)
    child = asked(stack, [say("Begin.\n!say begun")], thread("child"), **key)
    compacted = asked(stack, [say("A summary."), say("Go on.\n!say on")], thread("parent"), **key)
    assert conversation(stack, parent) == conversation(stack, compacted) != conversation(stack, child)


def test_claude_codes_agents_and_sessions_are_apart(stack: Stack) -> None:
    session = {"X-Claude-Code-Session-Id": "s1"}
    begin = [say("Begin.\n!say begun")]
    main, agent, other, again = (
        asked(stack, begin, headers, tools=TOOLS)
        for headers in (
            session,
            session | {"x-claude-code-agent-id": "a1"},
            {"X-Claude-Code-Session-Id": "s2"},
            session,
        )
    )
    assert len({conversation(stack, response) for response in (main, agent, other)}) == 3
    assert conversation(stack, main) == conversation(stack, again)


def test_a_call_id_of_another_named_conversation_leads_nowhere(stack: Stack) -> None:
    words = say(f"Mine alone.\n{call('exec', command='x')}\n!then\n!say mine")
    first = asked(stack, [words], session_headers("theirs:0"), tools=TOOLS)
    made = first.json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": "forked"}
    fork = asked(stack, [words, made, result], session_headers("a-fork-of-theirs:0"), tools=TOOLS)
    assert fork.status_code == 200, fork.text
    assert fork.headers["x-clawback-run"] != first.headers["x-clawback-run"]
    assert conversation(stack, fork) != conversation(stack, first)
    own = asked(stack, [words, made, {**result, "content": "own"}], session_headers("theirs:0"), tools=TOOLS)
    assert own.headers["x-clawback-run"] == first.headers["x-clawback-run"]


# What an earlier version began


def made_old(stack: Stack, response: httpx.Response, key: str, transcript: str | None) -> None:
    """Write a turn as versions before 0.2 did: no exchange, and a session by its name or by its whole transcript."""
    store = stack.store()
    run = store.run(response.headers["x-clawback-run"])
    assert run is not None
    session = store.session(run.session_key)
    assert session is not None
    store.save_session(replace(session, key=key, scope=None))
    store.update_run(run.id, session_key=key)
    with store.transaction() as connection:
        of_session = schema.pieces.c.session_key == run.session_key
        connection.execute(update(schema.pieces).where(of_session).values(session_key=key))
        connection.execute(delete(schema.exchanges).where(schema.exchanges.c.session_key == run.session_key))
        if transcript:
            connection.execute(
                insert(schema.transcripts).values(digest=transcript, session_key=key, updated_at=time.time())
            )
    store.close()


@pytest.mark.parametrize(
    ("name", "old"),
    [({"user": "ada-of-old"}, "user:ada-of-old"), ({"prompt_cache_key": "key-of-old:3"}, "key-of-old"), ({}, None)],
)
def test_a_conversation_that_an_earlier_version_began_goes_on(
    stack: Stack, name: dict[str, str], old: str | None
) -> None:
    messages = [say(f"Of old, by {name}.\n!say old")]
    first = post(stack, messages, **name)
    messages += [answered(first), say("And now?\n!say new")]
    if old:
        made_old(stack, first, text_digest(f"minimal\n{old}"), None)
    else:
        made_old(stack, first, "anonymous-of-old", past_of(messages).whole)
    stranger = post(stack, [say("Someone else."), {"role": "assistant", "content": "no"}, say("And now?")], **name)
    second = post(stack, messages, **name)
    third = post(stack, [*messages, answered(second), say("And on.")], **name)
    assert conversation(stack, first) == conversation(stack, second) == conversation(stack, third)
    assert conversation(stack, stranger) != conversation(stack, first)


# The same request again


def test_an_idempotency_key_tells_the_same_answer_again_and_says_nothing_of_another_body(stack: Stack) -> None:
    key = {"Idempotency-Key": "the same for ever"}
    words = [say(f"Once.\n{call('exec', command='x')}\n!then\n!say done")]
    first, second = (asked(stack, words, key, tools=TOOLS) for _ in range(2))
    assert first.json()["choices"] == second.json()["choices"]
    assert first.headers["x-clawback-run"] == second.headers["x-clawback-run"]
    others = [
        asked(stack, words, key),
        asked(stack, words, key, tools=TOOLS, temperature=0.5),
        asked(stack, words, key, tools=TOOLS, user="another"),
        asked(stack, words, {"Idempotency-Key": "another"}, tools=TOOLS),
        asked(stack, words, {}, tools=TOOLS),
    ]
    assert all(other.status_code == 200 for other in others)
    assert len({other.headers["x-clawback-run"] for other in (first, *others)}) == len(others) + 1


@pytest.mark.parametrize("streams", [True, False])
def test_who_was_cut_off_gets_the_same_answer_whether_it_streams_or_not(stack: Stack, streams: bool) -> None:
    words = [say(f"Cut off, {streams}.\n!say one\n!sleep 0.6\n{call('exec', command='x')}\n!then\n!say two")]
    body = {"model": "minimal", "messages": words, "tools": TOOLS}
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    with httpx.stream(
        "POST", f"{stack.base_url}/chat/completions", json=body | {"stream": True}, headers=headers, timeout=60
    ) as cut:
        next(line for line in cut.iter_lines() if "one" in line)
    time.sleep(0.9 if streams else 0)
    again = asked(stack, words, {}, tools=TOOLS, stream=streams)
    assert again.headers["x-clawback-run"] == cut.headers["x-clawback-run"]
    third = asked(stack, words, {}, tools=TOOLS)
    assert third.headers["x-clawback-run"] != cut.headers["x-clawback-run"], "it was told whole by then"
    assert len(upstream_log(stack, f"Cut off, {streams}.")) == 2
