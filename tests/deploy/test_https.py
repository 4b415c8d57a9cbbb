"""The proxies of docs/how-to/https.md pass a stream on as it comes: tried with both, as the page has them."""

import os
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.stack import ROOT, Stack, free_port
from tests.deploy.test_tls import make_certificates
from tests.e2e.executors import wait_for

pytestmark = pytest.mark.deploy

PAGE = (ROOT / "docs" / "how-to" / "https.md").read_text()
SECONDS = 3


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("https"), apps=["minimal"]) as running:
        yield running


def written(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found.group(1)


def caddy(folder: Path, bridge: str, port: int) -> list[str]:
    own = f"https://127.0.0.1:{port} {{\n\ttls {folder / 'ca-own.pem'} {folder / 'ca-own.key'}"
    text = written("caddy").replace("clawback.example {", own).replace("127.0.0.1:8765", bridge)
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(options + text)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def nginx(folder: Path, bridge: str, port: int) -> list[str]:
    text = written("nginx").replace("127.0.0.1:8765", bridge).replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    text = text.replace("/etc/ssl/clawback.pem", f"{folder / 'ca-own.pem'}")
    text = text.replace("/etc/ssl/clawback.key", f"{folder / 'ca-own.key'}")
    places = [f"{name}_temp_path {folder / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    http = "\n".join(["access_log off;", *places, text])
    user = "user root;" if os.geteuid() == 0 else ""
    config = f"{user} daemon off; pid {folder / 'pid'}; error_log {folder / 'log'}; events {{}}\nhttp {{\n{http}\n}}\n"
    (folder / "nginx.conf").write_text(config)
    return ["nginx", "-p", str(folder), "-e", str(folder / "log"), "-c", str(folder / "nginx.conf")]


@pytest.mark.parametrize("proxy", [caddy, nginx])
def test_an_answer_is_streamed_through_the_proxy(proxy: object, stack: Stack, tmp_path: Path) -> None:
    make_certificates(tmp_path, "ca")
    port = free_port()
    assert callable(proxy)
    command = proxy(tmp_path, stack.bridge_url.removeprefix("http://"), port)
    environ = {"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(tmp_path)}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=quiet, stderr=quiet)
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    headers = {"Authorization": f"Bearer {stack.client_token}"}
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, headers=headers, timeout=60) as http:
            wait_for(lambda: answers(http) or None)
            body = {"model": "minimal", "messages": [{"role": "user", "content": f"!sleep {SECONDS}\n!say through"}]}
            began = time.monotonic()
            with http.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as response:
                lines = response.iter_lines()
                assert next(lines).startswith("data: ")
                first = time.monotonic() - began
                told = "".join(lines)
            assert first < SECONDS < time.monotonic() - began
            assert "[DONE]" in told
            large = [{"role": "user", "content": f"!say large\n{'x' * 15_000_000}"}]
            assert http.post("/v1/chat/completions", json=body | {"messages": large}).status_code != 413
    finally:
        process.terminate()
        process.wait(20)


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
