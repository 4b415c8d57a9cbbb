"""Takes the README's pictures of the web page, of a real run: `.venv/bin/python docs/pictures/screenshot.py`.

A client asks the chatflow about its notes, reads them, and wants to run a command that waits for a person.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import yaml
from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from demo import task  # noqa: E402 - from the checkout
from demo.client import Client  # noqa: E402
from demo.local_tools import LocalTools  # noqa: E402
from demo.stack import Stack  # noqa: E402

HERE = Path(__file__).resolve().parent
MOST_BYTES = 150_000
WINDOW, PHONE = (1120, 1060), (390, 844)
PICTURES = (
    ("page-light", "en", "light", WINDOW),
    ("page-dark", "en", "dark", WINDOW),
    ("page-zh", "zh-CN", "light", WINDOW),
    ("page-phone", "en", "dark", PHONE),
)
"""Each one's name, language, colours and size."""
PRICES = {"input_price": "2", "output_price": "8"}
POLICY = '[[rules]]\ntool = "exec"\naction = "ask"\nreason = "commands are looked at"\n'


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as name, _stack(Path(name)) as stack, ThreadPoolExecutor(1) as pool:
        workspace = stack.folder / "workspace"
        task.prepare(workspace)
        client = Client(stack.base_url, stack.client_token, "notes", LocalTools(workspace), session="pictures")
        answer = pool.submit(client.ask, task.REQUEST)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                for picture in PICTURES:
                    _take(browser, stack, *picture, last=picture is PICTURES[-1])
            answer.result(60)
        finally:
            client.close()


@contextmanager
def _stack(folder: Path) -> Iterator[Stack]:
    """Start everything, with an app whose template tells the scripted model what to do, so that the client need not."""
    export = yaml.safe_load((ROOT / "examples" / "minimal.yml").read_text())
    directives = task.scripted_request().removeprefix(task.REQUEST)
    for node in export["workflow"]["graph"]["nodes"]:
        if node["data"]["type"] == "llm":
            node["data"]["memory"]["query_prompt_template"] += directives + "\n!then\n!say I put them into open.md."
    app, policy = folder / "notes.yml", folder / "policy.toml"
    app.write_text(yaml.safe_dump(export, allow_unicode=True))
    policy.write_text(POLICY)
    keys = {"log_content": True, "policy": str(policy)}
    with Stack(folder, apps=[], exports={"notes": app}, bridge_keys=keys, credentials=PRICES) as stack:
        yield stack


def _take(
    browser: Browser, stack: Stack, name: str, locale: str, scheme: str, size: tuple[int, int], *, last: bool
) -> None:
    window = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=window, locale=locale, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(stack.bridge_url)
    page.fill("[name=token]", stack.operator_token)
    page.press("[name=token]", "Enter")
    page.click(".runs .undecided")
    expect(page.locator(".decision")).to_be_visible()
    expect(page.locator("[data-link=on]")).to_be_visible()
    picture = HERE / f"{name}.png"
    page.screenshot(path=picture, animations="disabled")
    _shrink(picture)
    sys.stdout.write(json.dumps({"picture": picture.name, "bytes": picture.stat().st_size}) + "\n")
    if last:
        page.click("button[value=approve]")
        expect(page.locator(".step.end")).to_be_visible()
    context.close()


def _shrink(picture: Path) -> None:
    if picture.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{picture} has more than {MOST_BYTES} bytes")


if __name__ == "__main__":
    main()
