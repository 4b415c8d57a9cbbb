"""Both languages say everything, and say it where it is asked for."""

import re
import string
import time

import pytest

from bridge.page.rendering import LANGUAGES, _environment, texts
from bridge.page.views.views import STATES
from bridge.runs.tickets.moves import UNCERTAIN
from bridge.runs.tickets.policy import Policy, Question
from bridge.server.figures import clock, day, duration
from tests.bridge.executor.conftest import Bridge
from tests.page.conftest import Person
from tools.ticket_states import CallEvent, CallState, TicketState

ENGLISH, CHINESE = texts("en").texts, texts("zh-Hans").texts


def test_both_languages_have_the_same_texts() -> None:
    assert {key.removesuffix(".one") for key in ENGLISH} == set(CHINESE)


def test_both_say_it_with_the_same_values() -> None:
    def names(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

    for key, text in CHINESE.items():
        assert text, key
        assert names(ENGLISH[key]) == names(text), key


def test_every_text_that_a_template_names_is_there() -> None:
    environment = _environment()
    named = set()
    for template in environment.list_templates():
        source, _, _ = environment.loader.get_source(environment, template)  # type: ignore[union-attr]
        named |= set(re.findall(r'\bt(?:\.count)?\(["\']([\w.]+)["\']\s*[,)]', source))
    assert len(named) > 80
    assert named <= set(CHINESE)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("call", CallState),
        ("event", set(CallEvent) - {CallEvent.REPEAT, CallEvent.CONTRADICT}),
        ("ticket", TicketState),
        ("state", STATES),
        ("end", ("finished", "failed", "cancelled")),
        ("line", ("ok", "failed", "skipped")),
    ],
)
def test_every_state_has_its_word(group: str, words: set[str]) -> None:
    assert {f"{group}.{word}" for word in words} <= set(CHINESE)


def test_every_verdict_is_told_in_the_reader_s_language() -> None:
    policy = Policy.parse('[[rules]]\ntool = "exec"\naction = "ask"', "policy.toml")
    by_client, changes = Question("write", "{}", "endpoint"), Question("write", "{}", "executor")
    reads = Question("look", "{}", "executor", read_only=True)
    for question in (by_client, changes, reads):
        assert f"verdict.{policy.judge(question).rule}" in CHINESE
    assert f"verdict.{UNCERTAIN}" in CHINESE
    rule = policy.judge(Question("exec", "{}", "executor")).rule
    assert texts("zh-Hans").verdict(rule) == "规则 1"
    assert texts("en").verdict(rule) == rule


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("", "en"),
        ("fr", "en"),
        ("en-GB,zh;q=0.5", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("zh-Hans-CN", "zh-Hans"),
        ("fr,zh", "zh-Hans"),
    ],
)
def test_the_browsers_language_is_taken(bridge: Bridge, asked: str, code: str) -> None:
    page = Person(bridge).get("/login", **{"Accept-Language": asked}).text
    assert f'<html lang="{code}"' in page


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_switch_outweighs_the_browser(ann: Person, code: str) -> None:
    assert ann.post("/preferences", {"language": code, "back": "/health"}).location == "/health"
    for path in ("/", "/approvals", "/executors", "/health"):
        page = ann.get(path, **{"Accept-Language": "zh" if code == "en" else "en"}).text
        assert f'<html lang="{code}"' in page
        assert texts(code)("nav.logout") in page


@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_the_colours_are_switched(ann: Person, theme: str) -> None:
    ann.post("/preferences", {"theme": theme})
    assert f'data-theme="{theme}"' in ann.get("/").text


def test_what_cannot_be_chosen_changes_nothing(ann: Person) -> None:
    answer = ann.post("/preferences", {"theme": '"><script>', "language": "xx", "back": "//evil.example"})
    assert "Set-Cookie" not in answer.headers
    assert answer.location == "/"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-1, "0.00 s"),
        (0.994, "0.99 s"),
        (0.996, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h 00 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_as_short_as_it_can_be_read(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_a_time_has_its_day_where_that_is_another() -> None:
    now = time.time()
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock(now))
    assert clock(now - 100_000).startswith(f"{day(now - 100_000)} ")
