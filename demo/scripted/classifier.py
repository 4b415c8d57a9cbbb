"""Answers for a question classifier: a prompt that lists categories and wants one of them back as JSON.

The form is that of Dify's node: `{"input_text": [...], "categories": [{"category_id", "category_name"}], ...}` at the
end of the last user message, where the user's text stands unescaped.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from demo.scripted.script import Call, Script, read_script, without_directives

_INPUT = re.compile(r'"input_text"\s*:\s*\["')
_CATEGORIES = re.compile(r'"\],?\s*"categories"\s*:\s*(?=\[)')
_WORK = re.compile(
    r"tool|work|strong|action|agent|task|complex|工具|任务|操作|执行|复杂|行动",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Category:
    """One category of the prompt."""

    id: str
    name: str


@dataclass(frozen=True)
class Question:
    """What is to be classified."""

    text: str
    categories: Sequence[Category]


def find_question(prompt: str) -> Question | None:
    """The question in a classifier's last user message; None for every other message."""
    starts = list(_CATEGORIES.finditer(prompt))
    if not starts:
        return None
    try:
        listed, _ = json.JSONDecoder().raw_decode(prompt, starts[-1].end())
        categories = [Category(each["category_id"], each["category_name"]) for each in listed]
    except (ValueError, KeyError, TypeError):
        return None
    opened = _last_match(prompt[: starts[-1].start()])
    if opened is None or not categories:
        return None
    return Question(prompt[opened : starts[-1].start()], categories)


def classify(question: Question) -> str:
    """The classifier's answer: a fenced JSON object, as in the examples of Dify's own prompt."""
    category = _choose(question, read_script(question.text))
    words = re.findall(r"\w{3,}", without_directives(question.text))
    answer = {"keywords": words[:3], "category_id": category.id, "category_name": category.name}
    return f"```json\n{json.dumps(answer, ensure_ascii=False)}\n```"


def _choose(question: Question, script: Script | None) -> Category:
    """By `!class`; else a script with calls goes to the category whose name speaks of work, all else to another."""
    if script and script.category:
        wanted = script.category.lower()
        for category in question.categories:
            if wanted in (category.id.lower(), category.name.lower()) or wanted in category.name.lower():
                return category
    calls = script is not None and any(isinstance(action, Call) for r in script.rounds for action in r.actions)
    fitting = [category for category in question.categories if bool(_WORK.search(category.name)) is calls]
    return fitting[0] if fitting else question.categories[-1 if calls else 0]


def _last_match(text: str) -> int | None:
    matches = list(_INPUT.finditer(text))
    return matches[-1].end() if matches else None
