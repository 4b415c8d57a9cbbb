"""Who may come in."""

import time

import pytest

from bridge.page.links import LINK_SECONDS
from bridge.page.logins import MOST_FAILURES, Attempts
from tests.bridge.executor.conftest import Bridge, MakeBridge
from tests.page.conftest import ASK, Person, words

PAGES = ["/", "/runs/x", "/approvals", "/executors", "/health"]


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_asked_to_log_in(bridge: Bridge, path: str) -> None:
    answer = Person(bridge).get(path)
    assert (answer.status_code, answer.location.partition("?")[0]) == (303, "/login")


@pytest.mark.parametrize("path", PAGES)
def test_a_strangers_stream_is_refused(bridge: Bridge, path: str) -> None:
    assert Person(bridge).get(path, Accept="text/event-stream").status_code == 401


def test_after_the_login_comes_the_page_that_was_asked_for(bridge: Bridge) -> None:
    ann = Person(bridge)
    asked = ann.get("/?state=running")
    assert ann.get(asked.location).status_code == 200
    assert ann.log_in(back="/?state=running").location == "/?state=running"
    assert ann.get("/").status_code == 200


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/x\r\nSet-Cookie: a"]
)
def test_a_login_leads_nowhere_else(bridge: Bridge, back: str) -> None:
    assert Person(bridge).log_in(back=back).location == "/"


def test_the_cookie_is_for_this_page_alone(bridge: Bridge) -> None:
    cookie = Person(bridge).log_in().headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert bridge.tokens["operator"] not in cookie


def test_with_https_the_cookie_is_secure(bridge: Bridge) -> None:
    form = {"token": bridge.tokens["operator"]}
    answer = bridge.app.test_client().post(
        "/login", base_url="https://localhost", data=form, headers={"Origin": "https://localhost"}
    )
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-")
    assert "; Secure" in cookie


@pytest.mark.parametrize("audience", ["client", "plugin", "executor"])
def test_another_audiences_token_is_wrong(bridge: Bridge, audience: str) -> None:
    ann = Person(bridge)
    answer = ann.log_in(token=bridge.tokens[audience])
    assert answer.status_code == 401
    assert "not the operator's token" in words(answer.text)
    assert "Set-Cookie" not in answer.headers
    assert bridge.tokens[audience] not in answer.text


def test_who_tries_too_often_has_to_wait(bridge: Bridge) -> None:
    stranger = Person(bridge)
    for _ in range(MOST_FAILURES):
        assert stranger.log_in(token="guess").status_code == 401
    answer = stranger.log_in(token="guess")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert stranger.log_in().status_code == 303, "nobody who has the token is kept out"


def test_only_failures_of_the_same_address_count_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(most=2, seconds=60)
    attempts.failed("a")
    attempts.failed("a")
    assert attempts.wait("a") > 0
    assert attempts.wait("b") == 0
    later = time.monotonic() + 61
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert attempts.wait("a") == 0


def test_without_an_operators_token_nobody_comes_in(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(ASK)
    bridge.config.tokens.operator = ""
    assert "clawback token operator" in words(Person(bridge).get("/login").text)
    assert Person(bridge).log_in(token="").status_code == 401


def test_a_login_ends(ann: Person) -> None:
    with ann.bridge.store.transaction() as connection:
        connection.exec_driver_sql("UPDATE logins SET expires_at = ?", (time.time(),))
    assert ann.get("/").status_code == 303
    assert ann.get("/", Accept="text/event-stream").status_code == 401


def test_logging_out_ends_the_login_everywhere(ann: Person) -> None:
    [cookie] = [cookie for cookie in [ann.client.get_cookie("clawback_login")] if cookie]
    assert ann.send("/", "/logout").location == "/login"
    assert ann.get("/").status_code == 303
    ann.client.set_cookie("clawback_login", cookie.value)
    assert ann.get("/").status_code == 303


def test_a_login_survives_a_restart_and_ends_with_its_token(make_bridge: MakeBridge) -> None:
    first = Person(make_bridge(ASK))
    first.log_in()
    again = Person(make_bridge(ASK))
    cookie = first.client.get_cookie("clawback_login")
    assert cookie
    again.client.set_cookie("clawback_login", cookie.value)
    assert again.get("/").status_code == 200
    again.bridge.config.tokens.operator = "sha256:" + "0" * 64
    assert again.get("/").status_code == 303


def test_the_store_holds_nothing_to_log_in_with(ann: Person) -> None:
    cookie = ann.client.get_cookie("clawback_login")
    assert cookie
    with ann.bridge.store.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM logins").all()
    assert len(rows) == 1
    assert cookie.value not in str(rows)
    assert ann.bridge.tokens["operator"] not in str(rows)


def link(bridge: Bridge, token: str = "operator") -> str:
    answer = bridge.ask(token, "POST", "/login_links", {"by": "ann"})
    assert answer.status == 200, answer.body
    return str(answer.body["path"])


def test_a_link_logs_in_once(bridge: Bridge) -> None:
    path, ann, bob = link(bridge), Person(bridge), Person(bridge)
    assert ann.get(path).location == "/"
    assert ann.get("/").status_code == 200
    assert bob.get(path).status_code == 401
    assert bob.get("/").status_code == 303


def test_a_link_ends_after_a_minute(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = link(bridge), time.time()
    monkeypatch.setattr(time, "time", lambda: now + LINK_SECONDS)
    assert Person(bridge).get(path).status_code == 401


@pytest.mark.parametrize(
    ("address", "said"),
    [("192.0.2.7", {}), ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}), ("127.0.0.1", {"Forwarded": "for=192.0.2.7"})],
)
def test_a_link_is_for_the_bridges_own_machine(bridge: Bridge, address: str, said: dict[str, str]) -> None:
    path, far = link(bridge), bridge.app.test_client()
    assert far.get(path, environ_base={"REMOTE_ADDR": address}, headers=said).status_code == 401
    assert Person(bridge).get(path).status_code == 303, "somebody else's try ended it"
