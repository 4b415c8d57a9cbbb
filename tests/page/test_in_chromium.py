"""The page as people use it: in a real browser, on the real parts."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from bridge.page.rendering import texts
from tests.e2e.conftest import call
from tests.e2e.executors import SECONDS, Chat
from tests.levels import starts
from tests.page.chromium import Parts, parts_in

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(300)]

SCRIPT = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
VIEWS = ["/", "/statistics", "/try", "/runs/{run}", "/approvals", "/executors", "/health"]


@pytest.fixture(scope="module")
@starts("e2e")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with parts_in(tmp_path_factory.mktemp("page")) as running:
        expect.set_options(timeout=SECONDS * 1000 / 2)
        yield running


@pytest.fixture(scope="module")
def run(parts: Parts) -> str:
    """A run whose tool result holds a script."""
    return parts.ask("script", "Print it.", call("exec", command=f"echo {json.dumps(SCRIPT)}"))


def until(path: Path) -> str:
    """A command that ends as soon as this file is there."""
    return f"for _ in $(seq 600); do [ -e {path} ] && break; sleep 0.1; done"


@contextmanager
def waiting(parts: Parts, user: str, path: Path, text: str = "x", then: str = "It is written.") -> Iterator[None]:
    """Somebody chats with the Dify app, whose call waits for a person until this is left."""
    lines = ["Write it down.", call("note", path=str(path), text=text), "!then", f"!say {then}"]
    answer = parts.pool.submit(Chat(parts.stack, "minimal", user).say, *lines)
    yield
    assert answer.result(SECONDS)


def card(page: Page, path: Path) -> str:
    """The selector of the call's card."""
    return f"article:has-text({json.dumps(path.name)})"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("locale", "code"), [("en-GB", "en"), ("zh-CN", "zh-Hans")])
def test_watch_a_run_appear_then_approve_deny_and_edit(
    parts: Parts, tmp_path: Path, locale: str, code: str, scheme: str
) -> None:
    t, name = texts(code), f"{code}-{scheme}"
    with parts.page(locale, scheme) as page:
        expect(page.locator("html")).to_have_attribute("lang", code)
        ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert ground == ("rgb(251, 250, 249)" if scheme == "light" else "rgb(20, 21, 23)")
        expect(page.locator("[data-link=on]")).to_be_visible()

        # A run appears by itself, and its page tells each step as it happens.
        asked = parts.pool.submit(parts.ask, name, f"Appear {name}.", call("exec", command="echo appeared"))
        page.click(f"text=Appear {name}.")
        expect(page.locator(".step.call pre", has_text="appeared")).to_be_visible()
        expect(page.locator(".step.end")).to_contain_text(t("end.finished"))
        expect(page.locator(".lane.node")).to_have_count(3)
        assert asked.result(SECONDS) in page.url

        approved, denied, edited = (tmp_path / f"{name}-{each}.txt" for each in ("approved", "denied", "edited"))
        page.click(f"nav >> text={t('approvals.title')}")

        with waiting(parts, f"approve-{name}", approved):
            expect(page.locator(card(page, approved))).to_contain_text(t("decision.approve"))
            assert not approved.exists()
            page.click(f"{card(page, approved)} >> button:has-text('{t('decision.approve')}')")
            expect(page.locator(".notice.good")).to_have_text(t("done.approve"))
        assert approved.read_text() == "x"

        with waiting(parts, f"deny-{name}", denied):
            page.fill(f"{card(page, denied)} >> .deny input[name=text]", "Not on a Friday.")
            page.click(f"{card(page, denied)} >> button:has-text('{t('decision.deny')}')")
            expect(page.locator(".notice.good")).to_have_text(t("done.deny"))
        assert not denied.exists()

        with waiting(parts, f"edit-{name}", edited):
            page.click(f"{card(page, edited)} >> [data-name=edit] > summary")
            area = page.locator(f"{card(page, edited)} >> textarea")
            area.fill('{"path": 1}')
            page.click(f"{card(page, edited)} >> button:has-text('{t('decision.run_edited')}')")
            expect(page.locator(".notice.bad")).to_contain_text("text is required")
            page.locator("textarea").fill(json.dumps({"path": str(edited), "text": "mended"}))
            page.click(f"button:has-text('{t('decision.run_edited')}')")
            expect(page.locator(".notice.good")).to_have_text(t("done.edit"))
        assert edited.read_text() == "mended"


def test_a_wrong_token_is_refused(parts: Parts) -> None:
    with parts.page(log_in=False) as page:
        parts.log_in(page, "clawback-operator-guess")
        expect(page.get_by_role("alert")).to_have_text("This is not the operator's token.")
        assert page.context.cookies() == []


def test_an_expired_login_leads_back_to_the_login(parts: Parts, run: str) -> None:
    with parts.page() as page:
        page.goto(f"{parts.url}/runs/{run}")
        expect(page.locator("[data-link=on]")).to_be_visible()
        store = parts.stack.store()
        with store.transaction() as connection:
            connection.exec_driver_sql("UPDATE logins SET expires_at = 0")
        store.close()
        page.click("nav >> text=Executors")
        expect(page.locator("form.login")).to_be_visible()
        parts.log_in(page)
        expect(page.locator("h1")).to_have_text("Executors")


def test_a_foreign_page_can_neither_decide_nor_read(parts: Parts, tmp_path: Path) -> None:
    path = tmp_path / "foreign.txt"
    with waiting(parts, "foreign", path), parts.page() as page:
        page.goto(f"{parts.url}/approvals")
        action = page.locator(card(page, path)).locator("form").first.get_attribute("action")
        token = page.locator(card(page, path)).locator("[name=form_token]").first.get_attribute("value")
        body = (
            f'<form method="post" action="{parts.url}{action}"><input name="form_token" value="{token}">'
            '<button name="decision" value="approve">x</button></form>'
        )
        with _foreign_page(body) as foreign:
            page.goto(foreign)
            read = f"fetch('{parts.url}/approvals', {{credentials: 'include'}}).then(() => 'read', () => 'refused')"
            assert page.evaluate(read) == "refused"
            page.click("button")
            expect(page.locator("body")).to_contain_text("this form was not sent by the bridge's own page")
        assert not path.exists()
        page.goto(f"{parts.url}/approvals")
        page.click(f"{card(page, path)} >> button:has-text('Deny')")


@contextmanager
def _foreign_page(body: str) -> Iterator[str]:
    """Serve a page of another origin. Its port alone makes it one, though cookies know no ports."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def test_a_script_in_a_result_is_text(parts: Parts, run: str) -> None:
    with parts.page() as page:
        page.goto(f"{parts.url}/runs/{run}")
        expect(page.locator(".step.call pre")).to_contain_text("<script>document.title='run'</script>")
        expect(page.locator("[data-link=on]")).to_be_visible()
        assert page.locator("main img, main script").count() == 0
        assert page.title() != "run"


def test_the_waterfall_draws_a_clients_tools_on_one_axis(parts: Parts) -> None:
    with parts.page() as page:
        asked = parts.pool.submit(parts.ask, "lanes", "Look at the lanes.", call("exec", command="sleep 2"))
        page.click("text=Look at the lanes.")
        tool = page.locator(".lane.call rect.tool")
        # The bar grows by itself for as long as the tool runs, and the axis with it.
        expect(tool).to_be_visible()
        first = page.locator(".ticks span").last.text_content()
        expect(page.locator(".ticks span").last).not_to_have_text(first or "")
        expect(page.locator(".axis[data-end]")).to_be_visible()
        assert float((tool.get_attribute("width") or "").rstrip("%")) > 30
        page.click(".lane.call a")
        expect(page.locator("li:target .step.call")).to_be_visible()
        assert asked.result(SECONDS) in page.url


def test_the_chatflow_is_lit_as_it_runs(parts: Parts, tmp_path: Path) -> None:
    with parts.page("zh-CN", "dark") as page:
        seen = tmp_path / "seen"
        asked = parts.pool.submit(parts.ask, "lit", "Light it.", call("exec", command=until(seen)))
        page.click("text=Light it.")
        # The export names all nodes: the one that has not been reached yet is there, too.
        expect(page.locator(".flow-node")).to_have_count(3)
        expect(page.locator(".flow-node.busy")).to_contain_text("Assistant")
        expect(page.locator(".flow-node.ahead")).to_contain_text("Answer")
        expect(page.locator(".edge.taken")).to_have_count(1)
        seen.touch()
        expect(page.locator(".flow-node.good")).to_have_count(3)
        expect(page.locator(".edge.taken")).to_have_count(2)
        expect(page.locator(".flow-node", has_text="Assistant")).to_contain_text("1 次调用")
        asked.result(SECONDS)


def test_runs_are_cancelled_one_by_one_and_together(parts: Parts, tmp_path: Path) -> None:
    seen = tmp_path / "seen"

    def ask(name: str) -> None:
        with suppress(Exception):
            parts.ask(name, f"Cancel {name}.", call("exec", command=until(seen)))

    with parts.page() as page:
        for name in ("first", "second", "third"):
            parts.pool.submit(ask, name)
        for name in ("first", "second"):
            line = page.locator(".runs li", has_text=f"Cancel {name}.")
            expect(line.locator(".state")).to_have_text("waits for its client")
            expect(page.locator(".bulk")).to_be_visible(visible=name == "second")
            line.locator("input").check()
        page.click("text=Cancel the chosen runs")
        for name in ("first", "second"):
            line = page.locator(".runs li", has_text=f"Cancel {name}.")
            expect(line.locator(".state.cancelled")).to_be_visible()
            expect(line.locator("input")).not_to_be_checked()
        page.click("text=Cancel third.")
        page.click("text=Cancel this run")
        expect(page.locator(".title .state.cancelled")).to_be_visible()
        seen.touch()
        colour = page.locator(".title .state").evaluate("each => getComputedStyle(each).color")
        assert colour == page.locator(".legend").evaluate("each => getComputedStyle(each).color")
        with page.expect_download() as download:
            page.click("text=As JSON")
        document = json.loads(Path(download.value.path()).read_text())
        assert document["run"]["state"] == "cancelled"
        assert "Cancel third." in document["request"]["messages"][-1]["content"]


def test_what_waits_is_told_in_the_title_and_by_the_browser(parts: Parts, tmp_path: Path) -> None:
    first, second = tmp_path / "title.txt", tmp_path / "notice.txt"
    with parts.page() as page:
        page.context.grant_permissions(["notifications"])
        page.goto(f"{parts.url}/approvals")
        expect(page).to_have_title("Approvals · Clawback")
        button = page.get_by_role("button", name="Notify me in this browser")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        # The browser would show it; what it is asked to show is all that can be seen of that here.
        page.evaluate(
            """() => {
              window.shown = [];
              window.Notification = class {
                static permission = "granted";
                constructor(title, options) { window.shown.push(options.body); }
              };
              Object.defineProperty(document, "hidden", { get: () => true });
            }"""
        )
        with waiting(parts, "title", first):
            expect(page).to_have_title("(1) Approvals · Clawback")
            page.wait_for_function("window.shown.length === 1")
            assert page.evaluate("window.shown") == ["1 call or form waits for you"]
            with waiting(parts, "notice", second):
                expect(page).to_have_title("(2) Approvals · Clawback")
                page.click(f"{card(page, second)} >> button:has-text('Deny')")
            page.click(f"{card(page, first)} >> button:has-text('Deny')")
        expect(page).to_have_title("Approvals · Clawback")


def test_always_allow_and_the_keys_of_a_card(parts: Parts, tmp_path: Path) -> None:
    first, second = tmp_path / "by-key.txt", tmp_path / "by-rule.txt"
    with parts.page() as page:
        page.goto(f"{parts.url}/approvals")
        with waiting(parts, "by-key", first):
            page.locator(card(page, first)).focus()
            page.keyboard.press("a")
            expect(page.locator(".notice.good")).to_have_text("Approved.")
        with waiting(parts, "by-rule", second):
            page.locator(card(page, second)).focus()
            page.keyboard.press("d")
            page.keyboard.type("aa")
            expect(page.locator(f"{card(page, second)} >> .deny input[name=text]")).to_have_value("aa")
            page.fill(f"{card(page, second)} >> .deny input[name=text]", "")
            page.click(f"{card(page, second)} >> text=Always allow this")
            expect(page.locator(f"{card(page, second)} >> pre")).to_contain_text(str(second))
            page.click("text=Add this rule and approve")
            expect(page.locator(".notice.good")).to_contain_text("The rule was added")
        # The same once more waits for nobody.
        lines = ["Write it down.", call("note", path=str(second), text="x"), "!then", "!say Done."]
        assert parts.pool.submit(Chat(parts.stack, "minimal", "by-rule-2").say, *lines).result(SECONDS)


def test_a_step_has_an_address_and_its_texts_are_copied(parts: Parts, run: str) -> None:
    with parts.page() as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(f"{parts.url}/runs/{run}")
        page.locator(".step.call .copy").click()
        assert page.evaluate("navigator.clipboard.readText()").strip() == SCRIPT
        page.locator(".step.round a.offset").click()
        expect(page.locator("li:target .step.round")).to_be_visible()
        page.reload()
        expect(page.locator("li:target .step.round")).to_be_visible()


def test_axe_finds_nothing_serious(parts: Parts, run: str, tmp_path: Path) -> None:
    path = tmp_path / "axe.txt"
    with waiting(parts, "axe", path), parts.page(log_in=False) as page:
        _check(page, "/login")
        parts.log_in(page)
        for view in VIEWS:
            page.goto(parts.url + view.format(run=run))
            if page.locator("[data-live]").count():
                expect(page.locator("[data-link=on]")).to_be_visible()
            for _ in range(min(3, page.locator("details:not([open]) > summary").count())):
                page.locator("details:not([open]) > summary").first.click()
            _check(page, view)
        page.goto(f"{parts.url}/approvals")
        page.click("[data-name=edit] > summary")
        page.fill("textarea", "{")
        page.click("text=Run with these arguments")
        _check(page, "a decision that failed")
        page.click("button:has-text('Deny')")


def _check(page: Page, view: str) -> None:
    """Let axe look at the page; and at its contrasts in the dark, too."""
    _run_axe(page, view)
    page.emulate_media(color_scheme="dark")
    _run_axe(page, f"{view} in the dark", runOnly=["color-contrast"])
    page.emulate_media(color_scheme="light")


def _run_axe(page: Page, view: str, **options: object) -> None:
    found = Axe().run(page, options=options).response["violations"]
    serious = [each for each in found if each["impact"] in {"serious", "critical"}]
    told = [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in serious]
    assert not serious, f"{view}: {told}"


@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_a_phone_need_not_scroll_sideways(parts: Parts, run: str, tmp_path: Path, locale: str) -> None:
    path = tmp_path / ("a-long-name-" * 20)
    with waiting(parts, f"phone-{locale}", path, "long " * 50), parts.page(locale, phone=True) as page:
        for view in VIEWS:
            page.goto(parts.url + view.format(run=run))
            expect(page.locator("h1")).to_be_visible()
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{view} is {wide} pixels too wide"
        page.goto(f"{parts.url}/approvals")
        page.click(f"{card(page, path)} >> button.bad")


def test_without_a_script_everything_works_but_the_watching(parts: Parts, tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    with waiting(parts, "plain", path), parts.page(script=False) as page:
        page.goto(f"{parts.url}/approvals")
        for _ in range(SECONDS):
            if page.locator(card(page, path)).count():
                break
            page.wait_for_timeout(100)
            page.reload()
        page.click(f"{card(page, path)} >> text=run")
        page.click("button:has-text('Approve')")
        expect(page.locator(".step.call")).to_contain_text(str(path))
    assert path.read_text() == "x"


def test_keys_alone_are_enough_and_what_is_written_stays(parts: Parts, tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    with parts.page() as page, waiting(parts, "keys-1", first):
        page.goto(f"{parts.url}/approvals")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(card(page, first))).to_be_visible()
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == "text":
                break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.type("I am still writ")
        with waiting(parts, "keys-2", second):
            expect(page.locator(card(page, second))).to_be_visible()
            page.keyboard.type("ing.")
            expect(page.locator(f"{card(page, first)} >> .deny input[name=text]")).to_have_value("I am still writing.")
            page.keyboard.press("Enter")
            expect(page.locator(".notice.good")).to_contain_text("Denied")
            page.click(f"{card(page, second)} >> button:has-text('Deny')")
    assert not first.exists()


@pytest.mark.parametrize(("locale", "code", "phone"), [("en-GB", "en", False), ("zh-CN", "zh-Hans", True)])
def test_an_app_is_tried_and_a_run_is_run_again(parts: Parts, locale: str, code: str, *, phone: bool) -> None:
    t = texts(code)
    with parts.page(locale, phone=phone) as page:
        page.click(f"nav >> text={t('try.title')}")
        page.fill("textarea", "\n".join(["Shout it.", call("shout", text="hello"), "!then", "!say So loud."]))
        page.click(f"button:has-text('{t('try.send')}')")
        # The answer comes by itself, and the run's page tells what the app and its model did.
        expect(page.locator(".turn .said").last).to_have_text("So loud.")
        page.click("main .note a")
        expect(page.locator(".step.call")).to_contain_text("HELLO")
        expect(page.locator(".step.model")).to_have_count(2)
        page.locator(".sent > summary").first.click()
        expect(page.locator(".sent .messages").first).to_contain_text("Shout it.")
        run = parts.ask(f"again-{code}", f"Once more {code}.", "!say Twice.")
        page.goto(f"{parts.url}/runs/{run}")
        page.click(f"button:has-text('{t('run.again')}')")
        expect(page.locator(".turn .said").last).to_have_text("Twice.")
        page.goto(f"{parts.url}/statistics")
        expect(page.locator(".sums tbody")).to_contain_text("minimal")
        expect(page.locator("rect.count-bar").last).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0


def test_doctor_is_run_on_the_page(parts: Parts) -> None:
    with parts.page() as page:
        page.click("nav >> text=Health")
        page.uncheck("[name=probe]")
        page.click("text=Check every connection")
        expect(page.locator(".lines")).to_contain_text("configuration")
        expect(page.locator(".lines .line.ok").nth(5)).to_be_visible()
        expect(page.locator(".verdict .state:not(.running)")).to_be_visible()


def test_nothing_comes_from_elsewhere(parts: Parts) -> None:
    with parts.page() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for view in ("/", "/approvals", "/executors", "/health"):
            page.goto(parts.url + view)
            expect(page.locator("[data-link=on]")).to_be_visible()
        assert asked
        assert [url for url in asked if not url.startswith(f"{parts.url}/")] == []
