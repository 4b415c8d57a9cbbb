"""What the page shows of a run: everything that happened, and of its content only what the configuration allows."""

import html
import time

import pytest

from bridge.store.rows import ClientRow
from tests.bridge.executor.conftest import READ, Bridge, MakeBridge
from tests.page.conftest import MakePerson, Person, words
from tools.tokens import hash_token, new_token

ALLOW = '[[rules]]\naction = "allow"\n'
SCRIPT = "<script>alert('run')</script><img src=x onerror=alert(1)>"


def played(bridge: Bridge) -> str:
    """A run with a call whose result holds a script."""
    executor = bridge.register("laptop <b>", tools=[READ])
    ticket = bridge.open(("read", '{"path": "/secret/\\u202eplan"}'))
    [call] = executor.claim()
    assert executor.post(call, f"{SCRIPT} a secret result", is_error=False).status == 200
    return str(ticket.request["run_id"])


@pytest.mark.parametrize("path", ["/runs/{run}", "/", "/?text=secret"])
def test_content_is_hidden_unless_it_was_turned_on(make_bridge: MakeBridge, visit: MakePerson, path: str) -> None:
    bridge = make_bridge(ALLOW)
    run = played(bridge)
    page = visit(bridge).get(path.format(run=run)).text
    assert "secret result" not in page
    assert "/secret" not in page
    assert "plan" not in page


def test_what_is_hidden_cannot_be_searched_for(make_bridge: MakeBridge, visit: MakePerson) -> None:
    bridge = make_bridge(ALLOW)
    run = played(bridge)
    ann = visit(bridge)
    assert run not in ann.get("/?text=secret").text
    assert run in ann.get("/?text=rEa").text


def test_with_content_it_is_shown_as_text(make_bridge: MakeBridge, visit: MakePerson) -> None:
    bridge = make_bridge(ALLOW, log_content=True)
    run = played(bridge)
    ann = visit(bridge)
    page = ann.get(f"/runs/{run}").text
    assert SCRIPT not in page
    assert html.escape(SCRIPT).replace("&#x27;", "&#39;") in page
    assert "secret result" in words(page)
    assert "laptop <b>" not in page
    assert "U+202E" in page
    assert "\u202e" not in page
    assert run in ann.get("/?text=secret result").text


def test_a_run_tells_its_steps_in_order(make_bridge: MakeBridge, visit: MakePerson) -> None:
    bridge = make_bridge(ALLOW)
    page = words(visit(bridge).get(f"/runs/{played(bridge)}").text)
    rest = page
    for told in ("A node of a Dify app asks", "Round", "read done", "claimed", "result"):
        assert told in rest, f"{told} is not there, or too early"
        rest = rest.partition(told)[2]
    assert "1 call · ticket resolved" in page


def test_there_is_no_such_run(ann: Person) -> None:
    answer = ann.get("/runs/none")
    assert answer.status_code == 404
    assert answer.content_type.startswith("text/html")
    assert "there is no run none" in words(answer.text)


def test_the_list_is_filtered(make_bridge: MakeBridge, visit: MakePerson) -> None:
    bridge = make_bridge('[[rules]]\ntool = "exec"\naction = "ask"\n\n[[rules]]\naction = "allow"\n')
    run = played(bridge)
    waiting = str(bridge.open(("exec", "{}"), attached=bridge.attach("f2")).request["run_id"])
    ann = visit(bridge)
    for query, found in {
        "": {run, waiting},
        "?state=running": {run, waiting},
        "?state=finished": set(),
        "?state=undecided": {waiting},
        "?state=nonsense": {run, waiting},
        "?tool=EXE": {waiting},
        "?tool=%25": set(),
        "?app=none": set(),
        f"?text={waiting[2:12]}": {waiting},
        "?text=read&tool=exec": set(),
        "?page=2": set(),
        "?page=-1": {run, waiting},
        "?page=x": {run, waiting},
        "?page=99999999999999999999": {run, waiting},
    }.items():
        page = ann.get(f"/{query}").text
        assert {each for each in (run, waiting) if f'href="/runs/{each}"' in page} == found, query


def test_executors_and_their_tools(ann: Person) -> None:
    ann.bridge.register("laptop", tools=[READ], patterns=["re*"])
    page = words(ann.get("/executors").text)
    assert "laptop connected 0 of 4 calls" in page
    assert "takes re*" in page
    assert "read read-only reads" in page
    ann.bridge.config.limits.executor_seconds = 60
    with ann.bridge.store.transaction() as connection:
        connection.exec_driver_sql("UPDATE executors SET seen_at = seen_at - 1000")
    assert "laptop disconnected" in words(ann.get("/executors").text)


def test_the_page_of_executors_lists_the_tokens_and_when_each_was_last_seen(bridge: Bridge, ann: Person) -> None:
    token = new_token("executor")
    laptop = ClientRow("laptop", hash_token(token), "[]", time.time(), kind="executor", expires_at=4e9)
    bridge.store.clients.add(laptop)
    assert "laptop an executor never" in words(ann.get("/executors").text)
    bridge.tokens["executor"] = token
    bridge.register("laptop")
    ann.bridge.core.store.clients.spent_today("laptop")  # what was noted is written
    page = words(ann.get("/executors").text)
    assert "laptop an executor" in page
    assert "laptop an executor never" not in page


def test_nothing_that_anybody_writes_becomes_markup(make_bridge: MakeBridge) -> None:
    bridge = make_bridge('[[rules]]\naction = "ask"\n', log_content=True)
    mark = "\"'><x-mark>"
    bridge.register(f"laptop {mark}", tools=[READ], patterns=[f"read{mark}", "read"])
    ticket = bridge.open((f"read{mark}", f'{{"{mark[1:]}": "{mark[1:]}"}}'), (f"read{mark}", mark))
    run, action = ticket.request["run_id"], f"/calls/{ticket.calls[0]}/decision"
    bridge.store.nodes.started(run, 1, "e", mark, mark)
    bridge.store.update_run(run, model=mark, workflow_run_id=mark, conversation_id=mark, error=mark)
    ann = Person(bridge)
    ann.log_in(mark)
    answers = [ann.get(path) for path in ("/", f"/runs/{run}", "/approvals", "/executors", "/health")]
    answers += [
        ann.get("/", **{"Accept-Language": mark}),
        ann.get(f"/runs/{mark}"),
        ann.get(f"/?text={mark}&tool={mark}"),
    ]
    answers.append(Person(bridge).log_in(mark, "wrong", back=f"/{mark}"))
    answers += [ann.send("/approvals", action, decision=way, text=mark) for way in ("edit", mark)]
    assert "x-mark" in "".join(answer.text for answer in answers[:2])
    for answer in answers:
        assert "<x-mark" not in answer.text
        assert f'value="{mark[0]}' not in answer.text.replace('value=""', "")


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("content", [True, False])
def test_images_of_a_result_are_shown_as_images_and_nothing_else_is(
    make_bridge: MakeBridge, visit: MakePerson, *, content: bool
) -> None:
    bridge = make_bridge('[[rules]]\naction = "allow"\n', log_content=content)
    executor = bridge.register(tools=[READ])
    ticket = bridge.open(("read", "{}"))
    [call] = executor.claim()
    urls = [f"data:image/png;base64,{PNG}", "https://example.com/a.png"]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    assert executor.post(call, [{"type": "text", "text": "seen"}, *parts], is_error=False).status == 200
    ann = visit(bridge)
    page = ann.get(f"/runs/{ticket.request['run_id']}").text
    images = f"/calls/{ticket.calls[0]}/images"
    assert page.count('<img class="shown"') == content
    assert ("https://example.com/a.png" in page) == content
    shown = ann.get(f"{images}/0")
    assert (shown.status_code, shown.content_type) == (
        (200, "image/png") if content else (404, "text/html; charset=utf-8")
    )
    if content:
        assert shown.data.startswith(b"\x89PNG")
        assert shown.headers["X-Content-Type-Options"] == "nosniff"
    for number in (1, 2):
        assert ann.get(f"{images}/{number}").status_code == 404
    assert bridge.app.test_client().get(f"{images}/0").status_code == 303
