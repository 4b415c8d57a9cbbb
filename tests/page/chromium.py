"""Somebody with a real browser, and the parts that they look at."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from demo.client import Client
from demo.local_tools import LocalTools
from demo.stack import Stack
from tests.e2e.executors import Machine

EXPORT = Path(__file__).resolve().parent.parent.parent / "examples" / "minimal.yml"
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1200, "height": 800}


@dataclass
class Parts:
    """A stack, a machine with an executor, a browser, and a pool for those who wait."""

    stack: Stack
    machine: Machine
    browser: Browser
    pool: ThreadPoolExecutor

    @property
    def url(self) -> str:
        return self.stack.bridge_url

    @contextmanager
    def page(
        self,
        locale: str = "en",
        scheme: str = "light",
        *,
        log_in: bool = True,
        phone: bool = False,
        script: bool = True,
    ) -> Iterator[Page]:
        """Open the page in a browser window of its own; what goes wrong in its scripts fails the test."""
        context = self.browser.new_context(
            viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]
            color_scheme=scheme,  # type: ignore[arg-type]
            locale=locale,
            java_script_enabled=script,
        )
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
        try:
            page.goto(f"{self.url}/")
            if log_in:
                self.log_in(page)
            yield page
        finally:
            context.close()
        assert not faults

    def log_in(self, page: Page, token: str | None = None) -> None:
        page.fill("[name=token]", self.stack.operator_token if token is None else token)
        page.fill("[name=name]", "Ann")
        page.press("[name=name]", "Enter")

    def client(self, session: str) -> Client:
        tools = LocalTools(self.machine.folder)
        return Client(self.stack.base_url, self.stack.client_token, "minimal", tools, session=session)

    def ask(self, session: str, *lines: str) -> str:
        """Let the built-in client take a turn; return the run's id."""
        client = self.client(session)
        try:
            return client.ask("\n".join(lines)).runs[0]
        finally:
            client.close()


@contextmanager
def parts_in(folder: Path) -> Iterator[Parts]:
    stack_folder, machine_folder = folder / "stack", folder / "machine"
    stack_folder.mkdir()
    machine_folder.mkdir()
    policy = folder / "policy.toml"
    policy.touch()
    keys = {"log_content": True, "policy": str(policy)}
    settings = {"export": str(EXPORT)}
    served = Stack(stack_folder, apps=["minimal"], bridge_keys=keys, app_settings=settings)
    with served as stack, Machine(stack, machine_folder) as machine:
        machine.executor("python", "tests.bridge.executors.notes")
        with sync_playwright() as playwright, ThreadPoolExecutor(4) as pool:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            yield Parts(stack, machine, browser, pool)
            browser.close()
