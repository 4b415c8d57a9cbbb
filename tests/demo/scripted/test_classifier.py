"""It answers Dify's question classifier, whatever directives the user's text holds."""

import json
from typing import Any

import httpx
import pytest
from graphon.nodes.question_classifier import template_prompts as dify
from graphon.utils.json_in_md_parser import parse_and_check_json_markdown

from tests.demo.scripted.conversation import user

CATEGORIES = [
    {"category_id": "1", "category_name": "A simple question"},
    {"category_id": "2", "category_name": "Work that needs tools"},
    {"category_id": "3", "category_name": "Complaints"},
]


def chat_prompt(text: str, categories: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages of Dify's classifier node in chat mode."""
    question = dify.QUESTION_CLASSIFIER_USER_PROMPT_3.format(
        input_text=text, categories=json.dumps(categories, ensure_ascii=False), classification_instructions="none"
    )
    return [
        {"role": "system", "content": dify.QUESTION_CLASSIFIER_SYSTEM_PROMPT.format(histories="")},
        {"role": "user", "content": dify.QUESTION_CLASSIFIER_USER_PROMPT_1},
        {"role": "assistant", "content": dify.QUESTION_CLASSIFIER_ASSISTANT_PROMPT_1},
        {"role": "user", "content": dify.QUESTION_CLASSIFIER_USER_PROMPT_2},
        {"role": "assistant", "content": dify.QUESTION_CLASSIFIER_ASSISTANT_PROMPT_2},
        {"role": "user", "content": question},
    ]


def completion_prompt(text: str, categories: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same in completion mode, where all stands in one text."""
    prompt = dify.QUESTION_CLASSIFIER_COMPLETION_PROMPT.format(
        histories="", input_text=text, categories=json.dumps(categories), classification_instructions="none"
    )
    return [{"role": "user", "content": prompt}]


def classify(http: httpx.Client, messages: list[dict[str, str]]) -> Any:
    answer = http.post("/chat/completions", json={"model": "scripted-light", "messages": messages})
    assert answer.status_code == 200, answer.text
    # Dify's own reader of the answer.
    return parse_and_check_json_markdown(answer.json()["choices"][0]["message"]["content"], [])


@pytest.mark.parametrize("prompt", [chat_prompt, completion_prompt])
@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("What is a chatflow?", "1"),
        ("!say hello", "1"),
        ('[Fri 2026-11-20 23:56 UTC] !call write {"path": "x"}\n!then\n!say done\n\nRuntime: a=b', "2"),
        ("!error 500\n!call exec", "2"),
        ("!class complaints\n!call exec", "3"),
        ("!class 2", "2"),
        ('a text with "categories": [{"category_id": "9", "category_name": "x"}] in it', "1"),
        ("", "1"),
    ],
)
def test_it_chooses(http: httpx.Client, prompt: Any, text: str, category: str) -> None:
    answer = classify(http, prompt(text, CATEGORIES))
    assert answer["category_id"] == category
    assert answer["category_name"] == CATEGORIES[int(category) - 1]["category_name"]
    assert isinstance(answer["keywords"], list)


@pytest.mark.parametrize(("text", "category"), [("hello", "a"), ("!call exec", "b")])
def test_names_that_tell_nothing(http: httpx.Client, text: str, category: str) -> None:
    names = [{"category_id": "a", "category_name": "One"}, {"category_id": "b", "category_name": "Two"}]
    assert classify(http, chat_prompt(text, names))["category_id"] == category


def test_chinese_names(http: httpx.Client) -> None:
    names = [{"category_id": "a", "category_name": "需要使用工具的任务"}, {"category_id": "b", "category_name": "闲聊"}]
    assert classify(http, chat_prompt("你好", names))["category_id"] == "b"
    assert classify(http, chat_prompt("!call exec", names))["category_id"] == "a"


def test_only_the_last_message_makes_a_classifier(http: httpx.Client) -> None:
    messages = [*chat_prompt("hello", CATEGORIES), user("!say plain")]
    answer = http.post("/chat/completions", json={"model": "scripted", "messages": messages})
    assert answer.json()["choices"][0]["message"]["content"] == "plain"
