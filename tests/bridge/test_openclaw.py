"""What OpenClaw writes around its user's words is told apart from them."""

from typing import Any

import pytest

from bridge.runs.sessions.openclaw import (
    auxiliary,
    clean_user_text,
    is_continue_instruction,
    is_filler,
    is_internal_context,
    is_summary,
    last_user_index,
    runtime_line,
)
from tests.bridge.transcripts import (
    CONTEXT,
    CONTINUE,
    QUEUED,
    RUNTIME,
    SESSION,
    SUMMARY,
    SYSTEM,
    answer,
    calls,
    first,
    own,
    result,
    user,
)

BLOCK = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nsecret\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Please list my files", "Please list my files"),
        ("[Fri 2026-11-20 23:56 UTC] Please", "Please"),
        ("[Fri 2026-11-20 23:56 GMT+2] Please", "Please"),
        (f"[Fri 2026-11-20 23:56 UTC] Please\n\n{RUNTIME}", "Please"),
        (f"Please\n{RUNTIME}\n", "Please"),
        (f"Please\n\n{BLOCK}", "Please"),
        (f"{BLOCK}\n\nPlease\n\n{BLOCK}\n{RUNTIME}", "Please"),
        ("Please\n<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnever closed", "Please"),
        (f"{QUEUED}\nPlease\n\n{CONTINUE}", "Please"),
        (f"[Fri 2026-11-20 23:56 UTC] {QUEUED}\nPlease\n\nnow\n\n{CONTINUE}\n\n{RUNTIME}", "Please\n\nnow"),
        (f"{QUEUED}\n{QUEUED}\nPlease\n\n{CONTINUE}\n\n{CONTINUE}", "Please"),
        (f"{QUEUED}\n[Fri 2026-11-20 23:56 UTC] Please\n\n{CONTINUE}", "Please"),
        (f"{QUEUED}\nThe old one\n\nThe new one", "The old one\n\nThe new one"),
        (f"{CONTINUE} If a tool failed, say so.", f"{CONTINUE} If a tool failed, say so."),
        ("", ""),
    ],
)
def test_what_the_user_meant_is_what_goes_to_dify(written: str, meant: str) -> None:
    assert clean_user_text(written) == meant


@pytest.mark.parametrize(
    "words",
    [
        "[1] is a footnote",
        "[2026-11-20] diary",
        "the log says [Fri 2026-11-20 23:56 UTC] failed",
        "Runtime: 3 h\nis too long",
        "What does this mean?\nRuntime: node",
        "Where does <<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> come from?",
        "Continue the current task",
        f"Somebody wrote: {QUEUED}",
        f"What does this mean?\n\n{CONTINUE}",
    ],
)
def test_words_that_only_look_like_openclaws_stay(words: str) -> None:
    assert clean_user_text(words) == words


def test_a_message_that_nobody_wrote_is_known_in_all_its_forms() -> None:
    assert is_internal_context(CONTEXT)
    assert is_internal_context({"role": "user", "content": BLOCK})
    assert is_internal_context({"role": "user", "content": f"[Fri 2026-11-20 23:56 UTC] {BLOCK}"}) is False
    assert is_internal_context({"role": "user", "content": f"{BLOCK}\n\n{RUNTIME}"})
    for spoken in (first("hi"), user(f"hi\n{BLOCK}"), {"role": "user", "content": ""}, {"role": "tool"}):
        assert not is_internal_context(spoken)
    assert not is_internal_context({"role": "assistant", "content": BLOCK})


def test_an_instruction_to_try_again_is_known_and_a_wrapped_message_is_none() -> None:
    assert is_continue_instruction({"role": "user", "content": CONTINUE})
    assert is_continue_instruction(user(f"{CONTINUE} If a tool failed, say so."))
    assert is_continue_instruction(user("The previous attempt did not produce a user-visible answer. Continue."))
    assert not is_continue_instruction(user(f"{QUEUED}\nhi\n\n{CONTINUE}"))
    assert not is_continue_instruction(user("Continue the current task, please"))
    assert not is_continue_instruction({"role": "assistant", "content": CONTINUE})


def test_a_summary_and_a_filler_are_known() -> None:
    assert is_summary(first(SUMMARY))
    assert not is_summary(user("write a <summary>"))
    assert is_filler(answer("I have processed the tool results."))
    assert not is_filler(user("I have processed the tool results."))


def test_the_runtime_line_names_the_session() -> None:
    fields = runtime_line([SYSTEM, first("hi"), answer("hello")])
    assert fields["sessionId"] == SESSION
    assert (fields["session"], fields["os"]) == ("agent:main:main", "Linux 6.1.0 (x64)")


def test_the_runtime_line_may_be_a_part_of_its_own_or_stand_in_the_system_prompt() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "look"}, image, {"type": "text", "text": RUNTIME}]
    assert runtime_line([SYSTEM, {"role": "user", "content": parts}])["sessionId"] == SESSION
    old = {"role": "system", "content": f"You are...\n## Runtime\n{RUNTIME}\nReasoning=off"}
    assert runtime_line([old, user("hi")])["sessionId"] == SESSION


def test_what_tools_and_models_and_later_messages_say_names_no_session() -> None:
    assert runtime_line([SYSTEM, user("hi"), calls("a"), result("a", RUNTIME), answer(RUNTIME), user(RUNTIME)]) == {}
    assert runtime_line([user(f"{RUNTIME}\nwhat is this?")]) == {}
    assert runtime_line([]) == {}


FLUSH = own(
    "Pre-compaction memory flush. Store durable memories only in memory/2026-11-21.md (create memory/ if needed)."
)
REVIEW = user("Skill review. Distill new durable learning from the full retained conversation.")
TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]


def kind(*messages: Any, tools: Any = TOOLS, headers: dict[str, str] | None = None) -> str | None:
    return auxiliary(headers or {}, {"model": "desk", "messages": list(messages), "tools": tools})


def internal(session: str) -> Any:
    line = f"Runtime: agent=main | session=agent:main:internal-session-effects:{session} | host=box | model=x"
    return {"role": "user", "content": f"[Fri 2026-11-20 23:56 UTC] an old question\n\n{line}"}


def test_a_users_turn_is_no_auxiliary_call() -> None:
    assert kind(SYSTEM, first("hi"), CONTEXT) is None
    assert kind(SYSTEM, first("hi"), calls("a"), result("a"), user(CONTINUE), CONTEXT) is None
    assert kind(SYSTEM, first("hi"), CONTEXT, tools=None) is None
    assert kind({"role": "system", "content": "You are a helpful assistant"}, user("hi"), tools=None) is None


def test_openclaws_own_calls_are_known() -> None:
    old = (first("an old question"), answer("an old answer"))
    assert kind(SYSTEM, *old, FLUSH) == "memory_flush"
    assert kind(SYSTEM, internal("skill-workshop-review_1"), answer("ok"), REVIEW, CONTEXT) == "skill_review"
    assert kind(SYSTEM, *old, user("[OpenClaw heartbeat poll]"), CONTEXT) == "heartbeat"
    assert (
        kind(SYSTEM, *old, user("Follow the heartbeat monitor scratch context when provided. Recurring")) == "heartbeat"
    )
    summarizer = {"role": "system", "content": "You are a context summarization assistant. Your task is to read"}
    conversation = {
        "role": "user",
        "content": [{"type": "text", "text": "<conversation>\n[User]: hi\n</conversation>"}],
    }
    assert kind(summarizer, conversation, tools=None) == "compaction_summary"
    probe = {"role": "system", "content": "Current model identity: clawback/desk. If asked what model you are"}
    assert kind(probe, {"role": "user", "content": "ping"}, tools=None) == "model_run"


def test_an_auxiliary_call_stays_one_while_its_tools_run_and_when_it_is_tried_again() -> None:
    old = (first("an old question"), answer("an old answer"))
    assert kind(SYSTEM, *old, FLUSH, calls("a"), result("a")) == "memory_flush"
    review = (internal("skill-workshop-review_1"), REVIEW, calls("a"), result("a"), user(CONTINUE), CONTEXT)
    assert kind(SYSTEM, *review) == "skill_review"
    wrapped = user(f"{QUEUED}\nPre-compaction memory flush. Store durable memories\n\n{CONTINUE}")
    assert kind(SYSTEM, *old, wrapped) == "memory_flush"


def test_a_session_that_openclaw_keeps_from_its_user_is_internal_whatever_is_said_in_it() -> None:
    assert kind(SYSTEM, internal("skill-workshop-review_772f"), answer("yes"), user("go on")) == "skill_review"
    assert kind(SYSTEM, internal("b588996c"), answer("yes"), user("something of the future")) == "internal"
    affinity = {"X-Session-Affinity": "internal-session-effects-b588:0"}
    assert kind(SYSTEM, user("something of the future"), headers=affinity) == "internal"


def test_a_user_who_writes_openclaws_words_is_still_a_user() -> None:
    other = {"role": "system", "content": "You are a context-aware assistant"}
    about = "What is a Pre-compaction memory flush. And a Skill review. Distill new durable learning"
    assert kind(SYSTEM, first(about)) is None
    assert kind(SYSTEM, first("Skill review\n\nPlease review my skills")) is None
    assert kind(other, {"role": "user", "content": "Pre-compaction memory flush. What is that?"}) is None
    assert kind(other, {"role": "user", "content": "[OpenClaw heartbeat poll]"}, tools=None) is None
    assert kind({"role": "user", "content": "You are a context summarization assistant."}, tools=None) is None
    assert kind(SYSTEM, FLUSH, answer("done"), user("and now?")) is None
    assert kind(SYSTEM, first("hi"), answer("yes"), user("Pre-compaction memory flush. Tell me about it.")) is None
    assert kind(SYSTEM, first("hi"), answer("yes"), REVIEW) is None
    assert kind(SYSTEM, first("hi"), calls("a"), result("a", "Pre-compaction memory flush.")) is None


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": [{"role": "user"}]}])
def test_a_malformed_body_is_no_auxiliary_call(body: dict[str, Any]) -> None:
    assert auxiliary({}, body) is None


def test_the_users_last_words_are_found_behind_openclaws() -> None:
    assert last_user_index([SYSTEM, first("hi"), CONTEXT]) == 1
    assert last_user_index([SYSTEM, first("hi"), calls("a"), result("a"), user(CONTINUE), CONTEXT]) == 1
    assert last_user_index([SYSTEM, first(SUMMARY), user("kept"), answer("x"), user(CONTINUE), CONTEXT]) == 2
    assert last_user_index([SYSTEM, first(SUMMARY), user(CONTINUE), CONTEXT]) == 2
    assert last_user_index([SYSTEM, first(SUMMARY), calls("a"), result("a"), CONTEXT]) == 1
    assert last_user_index([SYSTEM, CONTEXT]) == 1
    assert last_user_index([SYSTEM, answer("x")]) is None


def test_a_hostile_text_takes_no_longer_than_its_length() -> None:
    for hostile in ("\n" * 300_000, " " * 300_000, "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\n" * 20_000):
        clean_user_text(f"x{hostile}x")
    assert clean_user_text(f"{QUEUED}\n" * 20_000 + "x").endswith("x")
    for hostile in ("Runtime: agent=" + " | " * 100_000, "Runtime: agent=a\n" * 50_000, "<think>" * 50_000):
        clean_user_text(hostile)
        runtime_line([{"role": "system", "content": hostile}])
