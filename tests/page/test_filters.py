"""Which runs are listed, and what they come to by day and app."""

import re
import time
from typing import Any

import pytest
from sqlalchemy import insert

from bridge.store import schema as t
from tests.bridge.executor.conftest import Bridge
from tests.page.conftest import Person, words

HOUR, DAY = 3600.0, 86_400.0


def noon() -> float:
    """The middle of this day by the clock of this machine, which no run of a test leaves."""
    now = time.localtime()
    return time.mktime((now.tm_year, now.tm_mon, now.tm_mday, 12, 0, 0, 0, 0, -1))


def day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


@pytest.fixture
def bridge(bridge: Bridge) -> Bridge:
    """One with four runs: of two apps, two clients, two sessions, and of today and days before."""
    write(bridge, "quick", noon(), lasted=1, tokens=(10, 5))
    write(bridge, "slow", noon(), lasted=300, client="cara", session="s2", tokens=(9000, 1000))
    write(bridge, "broken", noon() - DAY, lasted=3, state="failed", tokens=(100, 0))
    write(bridge, "other", noon() - 3 * DAY, lasted=5, model="helper", tokens=(7, 7))
    return bridge


def write(bridge: Bridge, run_id: str, at: float, *, lasted: float, tokens: tuple[int, int], **more: Any) -> None:
    row: dict[str, Any] = dict.fromkeys(("turn_key", "dify_user", "query_digest"), "x")
    row |= {"id": run_id, "model": more.get("model", "assistant"), "state": more.get("state", "finished")}
    row |= {"session_key": more.get("session", "s1"), "client": more.get("client", "default"), "expires_at": at}
    row |= {"request": '{"messages": [], "turn": null, "query": ""}', "created_at": at, "updated_at": at + lasted}
    usage = f'{{"prompt_tokens": {tokens[0]}, "completion_tokens": {tokens[1]}}}'
    segment = {"run_id": run_id, "number": 0, "text": "", "finish_reason": "stop", "usage": usage, "created_at": at}
    with bridge.store.transaction() as connection:
        connection.execute(insert(t.runs).values(row))
        connection.execute(insert(t.segments).values(segment))


def listed(ann: Person, query: str) -> set[str]:
    return set(re.findall(r'href="/runs/(\w+)"', ann.get(f"/?{query}").text))


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        ("", {"quick", "slow", "broken", "other"}),
        ("client=cara", {"slow"}),
        ("client=nobody", set()),
        ("session=s1", {"quick", "broken", "other"}),
        ("longer=4", {"slow", "other"}),
        ("tokens=100", {"slow", "broken"}),
        ("tokens=100&client=default", {"broken"}),
        ("tokens=10001", set()),
        ("within=month&app=helper", {"other"}),
        ("longer=soon&tokens=&within=ever&day=today", {"quick", "slow", "broken", "other"}),
    ],
)
def test_runs_are_found_by_client_session_duration_and_tokens(ann: Person, query: str, runs: set[str]) -> None:
    assert listed(ann, query) == runs


def test_runs_are_found_by_when_they_began(ann: Person) -> None:
    assert listed(ann, f"day={day(noon())}") == {"quick", "slow"}
    assert listed(ann, f"day={day(noon() - DAY)}") == {"broken"}
    assert "other" not in listed(ann, "within=day")
    assert "other" in listed(ann, "within=week")


def test_what_is_asked_for_stays_in_the_form_and_in_the_pages(ann: Person, bridge: Bridge) -> None:
    for number in range(60):
        write(bridge, f"more{number}", noon() - number, lasted=9, client="cara", tokens=(1, 1))
    page = ann.get("/?client=cara&longer=5&within=month").text
    assert "<option selected>cara</option>" in page
    assert 'name="longer" value="5"' in page
    assert "/?client=cara&amp;within=month&amp;longer=5&amp;page=2" in page


def test_a_run_names_its_client_and_leads_to_the_others_of_its_session(ann: Person) -> None:
    page = ann.get("/runs/slow").text
    assert 'href="/?client=cara"' in page
    assert 'href="/?session=s2"' in page
    assert '<span class="tag">cara</span>' in ann.get("/").text


def test_the_days_are_summed_by_app(ann: Person) -> None:
    page = ann.get("/statistics").text
    said = words(page)
    assert f"{day(noon())} assistant 2 0 2 min 30 s 10 015" in said
    assert f"{day(noon() - DAY)} assistant 1 1 3.0 s 100" in said
    assert f"{day(noon() - 3 * DAY)} helper 1 0 5.0 s 14" in said
    assert page.count('<rect class="failed" x=') == 14
    assert f"{day(noon())}: 2 runs, 0 failed, 2 min 30 s" in page
    assert f'href="/?day={day(noon() - DAY)}&amp;state=failed&amp;app=assistant"' in page
    only = words(ann.get("/statistics?client=cara").text)
    assert f"{day(noon())} assistant 1 0 5 min 00 s 10 000" in only
    assert "helper 1" not in only
