"""Approve, deny, edit: what a person decides about a call; and the rule by which nobody is asked about it again."""

import glob
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from bridge.config import ConfigError
from bridge.errors import Conflict, InvalidRequest
from bridge.runs.core import Core
from bridge.runs.tickets.admission import direction_of
from bridge.runs.tickets.approvals import Approvals
from bridge.runs.tickets.policy import Policy, Question, Rule
from bridge.store.rows import CallRow, RunRow
from tools.calls import arguments_of
from tools.json_depth import DEEPEST, is_too_deep

DEFAULT_REASON = "A person does not want it to be run."
LONGEST_REASON = 2000


def decide(approvals: Approvals, call_id: str, decision: str, text: str, who: str) -> None:
    """Carry out a decision: `text` is the reason of a denial, the new arguments of an edit.

    Raises InvalidRequest, NotFound, Conflict (it was decided otherwise), Gone.
    """
    match decision:
        case "approve":
            approvals.approve(call_id, who)
        case "edit":
            approvals.approve(call_id, who, _arguments(text))
        case "deny":
            approvals.deny(call_id, who, text.strip()[:LONGEST_REASON] or DEFAULT_REASON)
        case _:
            raise InvalidRequest("decision must be approve, edit or deny", param="decision")


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"the arguments are not valid JSON: {error.msg} ({where})", param="arguments") from None
    except (ValueError, RecursionError):
        raise InvalidRequest(
            "the arguments are not valid JSON: too large, or nested too deeply", param="arguments"
        ) from None
    if is_too_deep(arguments):
        raise InvalidRequest(f"the arguments are nested deeper than {DEEPEST} levels", param="arguments")
    if not isinstance(arguments, dict):
        raise InvalidRequest('the arguments must be a JSON object: {"name": value}', param="arguments")
    return arguments


# Always allow this


def narrowest_rule(run: RunRow, call: CallRow) -> str | None:
    """Return the rule, as TOML, that allows this call and no other: the same tool, arguments, app and executors.

    None where no rule can say that: a text with `*` or `<word>` in it would stand for other texts too.
    """
    values = arguments_of(call.arguments)
    direction = direction_of(run, call)
    if values is None or direction == "endpoint":
        return None
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }
    if any("*" in text or "<word>" in text for text in texts.values()):
        return None
    named = ", ".join(f"{_toml(name)} = {_toml(text)}" for name, text in texts.items())
    lines = ["[[rules]]", f"tool = {_toml(glob.escape(call.own_name))}"]
    lines += [f"arguments = {{ {named} }}"] if named else []
    lines += ["only = true", f"app = {_toml(glob.escape(run.model))}"] if run.model else ["only = true"]
    if executors := sorted(call.asks_for()):
        lines.append(f"executor = [{', '.join(_toml(glob.escape(name)) for name in executors)}]")
    lines += [f"direction = {_toml(direction)}", 'action = "allow"']
    rule = "\n".join(lines) + "\n"
    return rule if _allows(rule, run, call) else None


def _toml(text: str) -> str:
    # A TOML string is written as JSON's, but for the one control character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _allows(rule: str, run: RunRow, call: CallRow) -> bool:
    try:
        policy = Policy.parse(rule, "the rule")
    except ConfigError:
        return False
    names: list[str | None] = [*sorted(call.asks_for())] or [None]
    direction = direction_of(run, call)
    asked = [Question(call.own_name, call.arguments, direction, run.model, name) for name in names]
    return all(policy.judge(question).action == "allow" for question in asked)


def always_allow(core: Core, call_id: str, shown: str, who: str) -> None:
    """Write the rule that somebody was shown, and let the call run. Raises InvalidRequest, NotFound, Conflict, Gone."""
    found = core.store.call(call_id)
    run = core.store.run(found[0].run_id) if found else None
    rule = narrowest_rule(run, found[1]) if found and run else None
    if rule is None or rule != shown:
        raise Conflict("the rule is no longer the one that was shown. Look at it again", code="rule_changed")
    path = core.services.config.policy
    if path is None:
        raise InvalidRequest("the configuration names no policy file: set `policy`, or approve this call alone")
    policy = _write(path.expanduser(), rule)
    core.approvals.approve(call_id, who)
    core.reconfigure(policy)


def _write(path: Path, rule: str) -> Policy:
    """Put a rule before all others, whatever they are, and leave the rest of the file as it is."""
    try:
        text = path.read_text(encoding="utf-8")
        before, first, after = text.partition("[[rules]]")
        new = f"{before}{rule}\n{first}{after}" if first else f"{text.rstrip()}\n\n{rule}".lstrip()
        policy = Policy.parse(new, str(path))
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(new)
        Path(name).chmod(path.stat().st_mode)
        Path(name).replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the policy file {path} cannot be written: {error}. Add the rule yourself") from None
    except ConfigError as error:
        raise InvalidRequest(f"the rule does not fit into the policy file: {error}. Add it yourself") from None
    return policy


def rule_text(rule: Rule | None) -> str:
    """Return what a rule says, on one line; empty for none."""
    if rule is None:
        return ""
    said = rule.model_dump(exclude_defaults=True)
    return ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in said.items())
