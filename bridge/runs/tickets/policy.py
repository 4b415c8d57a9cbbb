"""The policy file: which calls run at once, which wait for a person, which do not run. The first match wins.

[[rules]]
tool = ["read", "ls", "time_*"]           # names of tools; * stands for anything
action = "allow"

[[rules]]
tool = "exec"
arguments = { command = "ls <word>" }     # every argument that is named must match; ["ls", "ls <word>"] for either
only = true                               # the call has no arguments but these
app = "support"                           # the app's model id, or Dify's app id, or mcp:NAME for an MCP client
executor = "laptop*"                      # the name of the executor that would run it: each is judged by itself
direction = "executor"                    # or "endpoint", or "mcp"
action = "allow"

[[rules]]
tool = "delete_*"
action = "deny"
reason = "nothing is deleted from here"   # what the model is told

Without a rule that matches, what the endpoint's client asked for is its own affair and runs; an executor's tool runs
when its executor says that it only reads, or it is one of `READ_ONLY`; anything else waits for a person.

In the arguments of an `allow` rule, `*` stands for text without `..` and without what ends or nests a shell command
(; & | < > $ ` ( ) and line breaks), so that "git *" does not let "git status; rm -rf ~" through. It does let options
through, and options of many programs run others ("git -c alias.x=!id x") or write files ("git diff --output=FILE").
`<word>` stands for one plain word: ASCII letters, digits and _ . / : -, not beginning with `-`, without `..`. `**`
stands for anything. In a rule that asks or denies, each of them is anything, since there the longer reach is safe.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bridge.config import ConfigError
from tools.calls import arguments_of

Action = Literal["allow", "ask", "deny"]
Direction = Literal["endpoint", "executor", "mcp"]

READ_ONLY = frozenset({"read", "ls", "glob", "grep", "find", "view_image", "tool_search", "tool_describe"})
"""Tools of OpenClaw and its like that change nothing and run nothing."""

LONGEST_VALUE = 4096
"""A longer argument is never allowed by a pattern, and always caught by one that asks or denies."""

_ANYTHING = r".*"
_NO_WAY_UP = r"(?!\.\.)(?!(?<=\.)\.)"
"""No two dots, not even where the pattern itself has one of them."""
_CAUTIOUS = rf"(?:{_NO_WAY_UP}[^\r\n;&|<>$`()])*"
_WORD = rf"(?!-)(?:{_NO_WAY_UP}[A-Za-z0-9_./:-])+"
_WILD = re.compile(r"(\*+|<word>)")


@dataclass(frozen=True, slots=True)
class Question:
    """A call that wants to run. `executor` is the name of the one that would run it; None where nobody is known.

    `called` is what that calls the tool, where a model is offered it under another name; `longer` is the name with its
    executor's, which a model is offered where the tool's own is taken. `of_dify` says that it is a tool of Dify, of
    whose name nothing follows.
    """

    tool: str
    arguments: str
    direction: Direction
    app: str = ""
    executor: str | None = None
    read_only: bool = False
    called: str = ""
    longer: str = ""
    of_dify: bool = False

    @property
    def own(self) -> str:
        """What whoever runs it calls the tool."""
        return self.called or self.tool

    @property
    def only_reads(self) -> bool:
        """Whether its executor says so, or it is known by its name."""
        return self.read_only or (not self.of_dify and self.own in READ_ONLY)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to happen; `rule` says which rule decided, `reason` what the model is told of a denial."""

    action: Action
    rule: str
    reason: str = ""


class Rule(BaseModel):
    """One rule; what it does not name, it does not look at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Action
    tool: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    arguments: dict[str, list[str]] = Field(default_factory=dict)
    only: bool = False
    app: list[str] | None = None
    executor: list[str] | None = None
    direction: Direction | None = None
    reason: str = ""

    @field_validator("tool", "app", "executor", mode="before")
    @classmethod
    def _take_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("arguments", mode="before")
    @classmethod
    def _take_one_each(cls, value: Any) -> Any:
        return {key: [p] if isinstance(p, str) else p for key, p in value.items()} if isinstance(value, dict) else value

    def matches(self, question: Question) -> bool:
        """Say whether this rule decides the question."""
        return (
            self._matches_tool(question)
            and self.direction in {None, question.direction}
            and (self.app is None or _any_glob(self.app, question.app))
            and (self.executor is None or _any_glob(self.executor, question.executor))
            and (not (self.arguments or self.only) or self._matches_arguments(question.arguments))
        )

    def _matches_tool(self, question: Question) -> bool:
        """Say whether the rule is for this tool.

        Under which of its names a model is offered it depends on what the client brings. So a rule that asks or denies
        catches it under each, and one that allows does not by a wildcard that happens to match another than its own.
        """
        if self.action == "allow":
            return _any_glob(self.tool, question.own) or question.tool in self.tool
        return any(_any_glob(self.tool, name) for name in (question.own, question.tool, question.longer) if name)

    def _matches_arguments(self, arguments: str) -> bool:
        values = arguments_of(arguments)
        if values is None:
            return self.action != "allow"
        if self.only and not values.keys() <= self.arguments.keys():
            return False
        return all(
            name in values and any(self._matches_value(pattern, values[name]) for pattern in patterns)
            for name, patterns in self.arguments.items()
        )

    def _matches_value(self, pattern: str, value: Any) -> bool:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if len(text) > LONGEST_VALUE:
            return self.action != "allow"
        return _regex(pattern, cautious=self.action == "allow").fullmatch(text) is not None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rules: list[Rule] = Field(default_factory=list)


class Policy:
    """The rules, and what holds where none of them matches."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = list(rules)

    @classmethod
    def load(cls, path: Path | None) -> "Policy":
        """Read the file; None stands for no rules at all. Raises ConfigError that names the rule that is wrong."""
        if path is None:
            return cls()
        try:
            text = path.expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"policy: {path} cannot be read: {error.strerror}") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, path: str) -> "Policy":
        """Read the text of a file. Raises ConfigError that names the rule that is wrong."""
        try:
            return cls(_File.model_validate(tomllib.loads(text)).rules)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"policy: {path} is not valid TOML: {error}") from None
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise ConfigError(f"policy: {path}: {where}: {problem['msg']}") from None

    def rule(self, verdict: str) -> Rule | None:
        """Return the rule that a verdict names, as it is now."""
        number = verdict.removeprefix("rule ")
        return self._rules[int(number) - 1] if number.isdecimal() and 0 < int(number) <= len(self._rules) else None

    def may_withhold(self, tool: str, direction: Direction, app: str) -> bool:
        """Say whether a call of this tool may be denied or left to a person, as its arguments turn out."""
        return any(
            rule.action != "allow"
            and rule.direction in {None, direction}
            and _any_glob(rule.tool, tool)
            and (rule.app is None or _any_glob(rule.app, app))
            for rule in self._rules
        )

    def judge(self, question: Question) -> Verdict:
        """Return what is to happen with the call."""
        for number, rule in enumerate(self._rules, 1):
            if rule.matches(question):
                return Verdict(rule.action, f"rule {number}", rule.reason)
        if question.direction == "endpoint":
            return Verdict("allow", "left to the client")
        if question.only_reads:
            return Verdict("allow", "only reads")
        return Verdict("ask", "may change something")


def _any_glob(patterns: Sequence[str], value: str | None) -> bool:
    return value is not None and any(fnmatchcase(value, pattern) for pattern in patterns)


def _regex(pattern: str, *, cautious: bool) -> re.Pattern[str]:
    """Compile a glob. What stands between two wildcards is looked for once, so that no text makes the match slow."""
    reach = {"*": _CAUTIOUS, "<word>": _WORD} if cautious else {}
    first, *rest = _WILD.split(pattern)
    wilds = [reach.get(wild, _ANYTHING) for wild in rest[::2]]
    literals = [re.escape(literal) for literal in rest[1::2]]
    between = [f"(?>{wild}?{literal})" for wild, literal in zip(wilds[:-1], literals[:-1], strict=True)]
    last = [f"{wilds[-1]}{literals[-1]}"] if rest else []
    return re.compile("".join([re.escape(first), *between, *last]), re.DOTALL)
