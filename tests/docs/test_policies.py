"""The patterns that the guide calls safe let nothing through but what they say."""

import json
import re
from pathlib import Path

import pytest

from bridge.runs.tickets.policy import Policy, Question

GUIDE = (Path(__file__).parents[2] / "docs/how-to/policies.md").read_text()
FIRST, SAFE = re.findall(r"```toml\n((?:# policy.toml.*\n\n)?\[\[rules\]\].*?)```", GUIDE, re.DOTALL)
PATTERNS = [line for line in re.findall(r'"([^"\n]+)"', SAFE) if line not in {"exec", "allow"}]

NO_WORDS = [
    "",
    "-c",
    "-x",
    "--output=x",
    "--ext-diff",
    "'--output=x'",
    '"-x"',
    "\\-x",
    "{-x,y}",
    "a b c",
    "a\t-x",
    "a\n-x",
    "a\nid",
    "a;id",
    "a|id",
    "a&id",
    "a>b",
    "<b",
    "$(id)",
    "`id`",
    "$HOME",
    "~/x",
    "../x",
    "a/../x",
    "*",
    "?",
    "[a-z]",
    "!x",
    "a=b",
    "@x",
    "\u2010x",
    "\uff02x",
    "a\u00a0-x",
    "a\x00",
]
BEHIND = [
    " -x",
    " --output=x",
    " -c alias.x=!id",
    "; id",
    " && id",
    "\n",
    "\nid",
    " | sh",
    " > x",
    " $(id)",
    " ",
    " a b c",
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return written(tmp_path_factory.mktemp("guide"), SAFE)


def written(folder: Path, text: str) -> Policy:
    path = folder / "policy.toml"
    path.write_text(text)
    return Policy.load(path)


def judge(policy: Policy, command: str) -> str:
    return policy.judge(Question("exec", json.dumps({"command": command}), "executor", executor="laptop")).action


def test_there_are_some() -> None:
    assert len(PATTERNS) > 20
    assert sum("<word>" in pattern for pattern in PATTERNS) > 10
    assert not any("*" in pattern for pattern in PATTERNS)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_safe_pattern_allows_what_it_is_for(policy: Policy, pattern: str) -> None:
    for word in ("README.md", "main", "HEAD:a/b-c_d.py", "v1.2"):
        assert judge(policy, pattern.replace("<word>", word)) == "allow"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_safe_pattern_lets_no_option_and_no_second_command_through(policy: Policy, pattern: str) -> None:
    commands = [pattern.replace("<word>", "a") + more for more in BEHIND]
    commands += [pattern.replace("<word>", "a", 1).replace(" ", more + " ", 1) for more in BEHIND if " " in pattern]
    places = [match.span() for match in re.finditer("<word>", pattern)]
    for begin, end in places:
        commands += [
            pattern[:begin].replace("<word>", "a") + bad + pattern[end:].replace("<word>", "a") for bad in NO_WORDS
        ]
    assert {command: judge(policy, command) for command in commands} == dict.fromkeys(commands, "ask")


@pytest.mark.parametrize(
    ("pattern", "command"), [("git *", "git -c alias.x=!id x"), ("git diff *", "git diff --output=FILE")]
)
def test_what_the_guide_warns_of_is_so(tmp_path: Path, pattern: str, command: str) -> None:
    rule = f'[[rules]]\narguments = {{ command = "{pattern}" }}\naction = "allow"\n'
    assert judge(written(tmp_path, rule), command) == "allow"
    assert command in GUIDE


def test_the_first_example_is_a_policy(tmp_path: Path) -> None:
    policy = written(tmp_path, FIRST)
    assert judge(policy, "git diff main") == "allow"
    assert judge(policy, "git diff --output=x") == "ask"
