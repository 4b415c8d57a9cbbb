"""What other pages, and other names, cannot do."""

import pytest

from tests.bridge.executor.conftest import Bridge, MakeBridge
from tests.page.conftest import ASK, ORIGIN, MakePerson, Person, form_token

FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:9"},
    {"Origin": "https://localhost"},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("path", ["/login", "/logout", "/health", "/preferences", "/calls/x/decision"])
def test_a_foreign_form_is_refused(ann: Person, path: str) -> None:
    form = {
        "token": ann.bridge.tokens["operator"],
        "theme": "dark",
        "form_token": form_token(ann.get("/").text, "/logout"),
    }
    for headers in FOREIGN:
        answer = ann.client.post(path, data=form, headers=headers)
        assert answer.status_code == 403, headers
        assert "Set-Cookie" not in answer.headers
    assert ann.get("/").status_code == 200


def test_a_form_of_no_origin_is_refused(ann: Person) -> None:
    assert ann.client.post("/logout").status_code == 403


def test_a_form_without_its_token_or_with_another_forms_is_refused(ann: Person) -> None:
    ticket = _waiting(ann.bridge)
    action = f"/calls/{ticket}/decision"
    other = form_token(ann.get("/").text, "/logout")
    for token in ("", "x", other, "é"):
        answer = ann.post(action, {"form_token": token, "decision": "approve"})
        assert answer.status_code == 403
    assert ann.bridge.store.call(ticket)[1].state == "awaiting_approval"  # type: ignore[index]


def test_one_logins_form_is_no_good_for_another(ann: Person, visit: MakePerson) -> None:
    ticket = _waiting(ann.bridge)
    action = f"/calls/{ticket}/decision"
    token = form_token(visit(ann.bridge).get("/approvals").text, action)
    assert ann.post(action, {"form_token": token, "decision": "approve"}).status_code == 403


def test_a_foreign_name_is_refused(ann: Person) -> None:
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "bridge"):
        for path in ("/", "/login", "/page/page.js"):
            assert ann.get(path, Host=host).status_code == 403, host


def test_an_address_and_the_machines_own_names_are_taken(bridge: Bridge) -> None:
    for host in ("localhost:8765", "127.0.0.1:1", "[::1]:8765", "192.168.1.7:8765", "x.localhost"):
        assert Person(bridge).get("/login", Host=host).status_code == 200, host


def test_a_configured_name_is_taken(make_bridge: MakeBridge) -> None:
    bridge = make_bridge(ASK)
    bridge.config.page.hosts = ["Bridge.example"]
    bridge.config.bridge_url = "https://tunnel.example/x"
    for host in ("bridge.example:8765", "tunnel.example"):
        assert Person(bridge).get("/login", Host=host).status_code == 200


@pytest.mark.parametrize("path", ["/", "/login", "/runs/none", "/page/page.css", "/page/none"])
def test_every_answer_tells_the_browser_to_run_and_keep_nothing_foreign(ann: Person, path: str) -> None:
    headers = ann.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    cached = headers["Cache-Control"]
    assert cached == ("private, max-age=31536000, immutable" if path == "/page/page.css" else "no-store")


def test_the_page_has_no_script_or_style_of_its_own_in_it(ann: Person) -> None:
    ticket = _waiting(ann.bridge)
    run = ann.bridge.store.call(ticket)[0].run_id  # type: ignore[index]
    for path in ("/login", "/", "/approvals", f"/runs/{run}", "/executors", "/health"):
        page = ann.get(path).text
        assert page.count("<script") == page.count('<script src="/page/page.js')
        for inline in (" style=", "<style", " onclick", " onload", "javascript:"):
            assert inline not in page


def test_other_audiences_routes_are_as_they_were(bridge: Bridge) -> None:
    answer = bridge.app.test_client().get("/v1/models", headers={"Host": "evil.example"})
    assert answer.status_code == 401
    assert answer.is_json


def _waiting(bridge: Bridge) -> str:
    bridge.register()
    return bridge.open(("exec", '{"command": "ls"}')).calls[0]
