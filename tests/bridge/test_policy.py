"""The first rule that matches decides; without one, what only reads runs and the rest asks."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.config import ConfigError
from bridge.runs.tickets.policy import LONGEST_VALUE, Policy, Question, Rule


def judge(rules: list[dict[str, Any]], tool: str = "exec", direction: str = "executor", **more: Any) -> str:
    arguments = json.dumps(more.pop("arguments", {}))
    question = Question(tool=tool, arguments=arguments, direction=direction, **more)  # type: ignore[arg-type]
    return Policy([Rule.model_validate(rule) for rule in rules]).judge(question).action


def test_the_first_match_wins() -> None:
    rules = [{"tool": "exec", "action": "deny"}, {"tool": "*", "action": "allow"}]
    assert judge(rules) == "deny"
    assert judge(rules, tool="write") == "allow"


@pytest.mark.parametrize(
    ("question", "action"),
    [
        ({"tool": "exec"}, "ask"),
        ({"tool": "write"}, "ask"),
        ({"tool": "read"}, "allow"),
        ({"tool": "time_now", "read_only": True}, "allow"),
        ({"tool": "exec", "direction": "endpoint"}, "allow"),
    ],
)
def test_without_a_rule_what_changes_something_asks_and_the_client_decides_for_itself(
    question: dict[str, Any], action: str
) -> None:
    assert judge([], **question) == action


@pytest.mark.parametrize(
    ("command", "action"),
    [
        ("git status", "allow"),
        ("git log -3", "allow"),
        ("git status; rm -rf ~", "ask"),
        ("git status && curl evil", "ask"),
        ("git $(rm -rf ~)", "ask"),
        ("git diff ../../etc", "ask"),
        ("git log\nrm -rf ~", "ask"),
        ("digit", "ask"),
        ("git " + "x" * LONGEST_VALUE, "ask"),
    ],
)
def test_an_allowed_pattern_lets_no_second_command_through(command: str, action: str) -> None:
    assert (
        judge([{"tool": "exec", "arguments": {"command": "git *"}, "action": "allow"}], arguments={"command": command})
        == action
    )


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("notes/*", "notes/../x"),
        ("notes/*.*", "notes/../.bashrc"),
        ("notes/.*", "notes/../.bashrc"),
        ("notes/*.", "notes/.."),
        ("notes/*.<word>", "notes/../.bashrc"),
        ("notes/<word>", "notes/a/../../x"),
        ("notes/<word>.<word>", "notes/a../.x"),
    ],
)
def test_an_allowed_pattern_leads_nowhere_up(pattern: str, path: str) -> None:
    rules = [{"tool": "write", "arguments": {"path": pattern}, "action": "allow"}]
    assert judge(rules, tool="write", arguments={"path": path}) == "ask"


@pytest.mark.parametrize(
    ("command", "action"),
    [
        ("show main", "allow"),
        ("show HEAD:docs/README.md", "allow"),
        ("show feature/a-b_c.2", "allow"),
        ("show", "ask"),
        ("show ", "ask"),
        ("show -a", "ask"),
        ("show a b", "ask"),
        ("show a\t-b", "ask"),
        ("show a\n", "ask"),
        ("show 'a'", "ask"),
        ("show {-a,b}", "ask"),
        ("show *", "ask"),
        ("show ~", "ask"),
        ("show a=b", "ask"),
        ("show \\-a", "ask"),
        ("show \uff0dx", "ask"),
        ("show a/../b", "ask"),
    ],
)
def test_a_word_is_no_option_and_nothing_that_a_shell_reads(command: str, action: str) -> None:
    rules = [{"tool": "exec", "arguments": {"command": "show <word>"}, "action": "allow"}]
    assert judge(rules, arguments={"command": command}) == action


def test_a_word_in_a_rule_that_denies_is_anything() -> None:
    rules = [{"arguments": {"command": "rm <word>"}, "action": "deny"}, {"action": "allow"}]
    assert judge(rules, arguments={"command": "rm -rf '$HOME'"}) == "deny"


@pytest.mark.parametrize("command", ["rm -rf $HOME", "rm x; ls", "rm " + "y" * LONGEST_VALUE])
def test_a_denying_pattern_reaches_further(command: str) -> None:
    rules = [{"arguments": {"command": "rm *"}, "action": "deny"}, {"action": "allow"}]
    assert judge(rules, arguments={"command": command}) == "deny"


def test_two_stars_stand_for_anything() -> None:
    rules = [{"tool": "exec", "arguments": {"command": "git **"}, "action": "allow"}]
    assert judge(rules, arguments={"command": "git log | head; date"}) == "allow"


def test_every_named_argument_must_match() -> None:
    rules = [{"tool": "copy", "arguments": {"from": "notes/*", "to": ["out/*", "tmp/*"]}, "action": "allow"}]
    assert judge(rules, tool="copy", arguments={"from": "notes/a", "to": "tmp/b"}) == "allow"
    assert judge(rules, tool="copy", arguments={"from": "notes/a", "to": "etc/b"}) == "ask"
    assert judge(rules, tool="copy", arguments={"from": "notes/a"}) == "ask"


@pytest.mark.parametrize("action", ["allow", "ask", "deny"])
def test_a_rule_that_names_executors_is_about_these_alone(action: str) -> None:
    rules = [{"executor": ["laptop*", "desk"], "action": action}, {"action": "deny" if action != "deny" else "allow"}]
    assert judge(rules, executor="laptop1") == judge(rules, executor="desk") == action
    assert judge(rules, executor="server") == judge(rules, executor=None) == rules[1]["action"]


def test_rules_look_at_the_app_and_the_direction() -> None:
    rules = [{"app": "support", "direction": "endpoint", "action": "ask"}]
    assert judge(rules, direction="endpoint", app="support") == "ask"
    assert judge(rules, direction="endpoint", app="other") == "allow"
    rules = [{"app": "mcp:*", "direction": "mcp", "action": "allow"}]
    assert judge(rules, direction="mcp", app="mcp:desk") == "allow"
    assert judge(rules, direction="executor", app="mcp:desk") == "ask"
    assert judge([], direction="mcp", app="mcp:desk") == "ask"


def test_a_rule_for_either_name_of_a_tool_hits() -> None:
    """What a model is offered as laptop_delete is what the laptop calls delete."""
    for pattern in ("laptop_delete", "delete"):
        assert judge([{"tool": pattern, "action": "deny"}], tool="laptop_delete", called="delete") == "deny"
    assert judge([], tool="laptop_read", called="read") == "allow"
    assert judge([], tool="read", called="remove") == "ask", "what counts is what the executor calls it"


def test_a_client_s_tools_turn_no_rule_away() -> None:
    """Whether a tool is offered as `read` or as `laptop_read` depends on what the client brings."""
    of_laptop = {"executor": "laptop", "longer": "laptop_read"}
    for offered in ({"tool": "read"}, {"tool": "laptop_read", "called": "read"}, {"tool": "x_2", "called": "read"}):
        for pattern in ("laptop_read", "laptop_*", "read"):
            for action in ("deny", "ask"):
                assert judge([{"tool": pattern, "action": action}], **offered, **of_laptop) == action
    renamed = {"tool": "web_shell", "called": "shell", "executor": "web", "longer": "web_shell"}
    assert judge([{"tool": "web_*", "action": "allow"}], **renamed) == "ask", "a rule for web_search and web_fetch"
    assert judge([{"tool": "web_shell", "action": "allow"}], **renamed) == "allow"
    assert judge([{"tool": "she*", "action": "allow"}], **renamed) == "allow"


def test_nothing_follows_from_the_name_of_a_tool_of_dify() -> None:
    assert judge([], tool="find", of_dify=True) == "ask"
    assert judge([], tool="find", of_dify=True, read_only=True) == "allow"


@pytest.mark.parametrize("star", ["*", "**", "<word>"])
def test_no_pattern_is_slow(star: str) -> None:
    pattern = star.join("abcdefgh") + star + "z"
    rules = [{"arguments": {"x": pattern}, "action": "allow"}]
    began = time.process_time()
    assert judge(rules, arguments={"x": "abcdefgh" * 500}) == "ask"
    assert time.process_time() - began < 5


def test_the_file_is_read_and_its_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rules]]\ntool = "exec"\naction = "deny"\nreason = "no"\n')
    verdict = Policy.load(path).judge(Question("exec", "{}", "executor"))
    assert (verdict.action, verdict.rule, verdict.reason) == ("deny", "rule 1", "no")
    for text, named in [("[[rules]]\naction = 'maybe'", "rules.0.action"), ("rules = 3", "rules"), ("=", "TOML")]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=named):
            Policy.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Policy.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("rule", "may"),
    [
        ({"tool": "exec", "action": "deny"}, True),
        ({"tool": "e*", "action": "ask", "arguments": {"command": "rm *"}}, True),
        ({"tool": "exec", "action": "deny", "direction": "executor"}, False),
        ({"tool": "exec", "action": "deny", "app": "other"}, False),
        ({"tool": "exec", "action": "allow"}, False),
        ({"tool": "read", "action": "deny"}, False),
    ],
)
def test_a_call_may_be_withheld_where_a_rule_could_come_to_match(rule: dict[str, Any], may: bool) -> None:
    assert Policy([Rule.model_validate(rule)]).may_withhold("exec", "endpoint", "desk") is may


@pytest.mark.parametrize(
    ("tool", "arguments", "executor", "action"),
    [
        ("exec", {"command": "rm -rf /"}, "laptop", "deny"),
        ("exec", {"command": "cd / && rm -rf *"}, "laptop", "deny"),
        ("exec", {"command": "git log -3"}, "laptop2", "allow"),
        ("exec", {"command": "git log -3"}, "server", "ask"),
        ("exec", {"command": "git diff | sh"}, "laptop", "ask"),
        ("exec", {"command": "git diff --output=.bashrc"}, "laptop", "ask"),
        ("write", {"path": "notes/monday.md"}, "laptop", "allow"),
        ("write", {"path": "notes/../.bashrc"}, "laptop", "ask"),
    ],
)
def test_the_example_does_what_its_comments_say(
    tool: str, arguments: dict[str, str], executor: str, action: str
) -> None:
    example = Policy.load(Path(__file__).parents[2] / "examples/policy.toml")
    question = Question(tool, json.dumps(arguments), "executor", executor=executor)
    assert example.judge(question).action == action
