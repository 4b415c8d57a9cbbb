"""A model that does what the lines of the last user message say, and tells what it was called with.

    !say TEXT             a chunk of text
    !sleep S              wait
    !beat S N             N empty chunks, one every S seconds
    !raise NAME TEXT      raise that error
    !none                 a chunk without content, which the daemon refuses
    !exit                 end the process
    !tell                 everything it was called with, as JSON

Any other line is said. A classification is answered with the category whose name is in the text.
"""

import json
import os
import re
import time
from collections.abc import Generator, Iterator
from typing import Any

from dify_plugin import LargeLanguageModel, get_current_session
from dify_plugin.entities.model.llm import LLMResultChunk, LLMResultChunkDelta
from dify_plugin.entities.model.message import AssistantPromptMessage, PromptMessage
from dify_plugin.errors import model as model_errors


class ObedientModel(LargeLanguageModel):
    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        model_parameters: dict[str, Any],
        tools: Any = None,
        stop: list[str] | None = None,
        stream: bool = True,
        user: str | None = None,
    ) -> Generator[LLMResultChunk, None, None]:
        told = {
            "model": model,
            "credentials": credentials,
            "messages": [[each.role.value, each.content] for each in prompt_messages],
            "parameters": model_parameters,
            "tools": tools,
            "stop": stop,
            "stream": stream,
            "user": user,
            "app_id": get_current_session().app_id,
            "pid": os.getpid(),
        }
        last = next(str(each.content) for each in reversed(prompt_messages) if each.role.value == "user")
        words = 0
        for text in _obey(last, told):
            words += 1
            yield _chunk(model, prompt_messages, text)
        yield LLMResultChunk(
            model=model,
            prompt_messages=[],
            delta=LLMResultChunkDelta(
                index=0,
                message=AssistantPromptMessage(content=""),
                usage=self._calc_response_usage(model, credentials, len(last), words),
                finish_reason="stop",
            ),
        )

    def get_num_tokens(
        self, model: str, credentials: dict[str, Any], prompt_messages: list[PromptMessage], tools: Any = None
    ) -> int:
        return 0

    def validate_credentials(self, model: str, credentials: dict[str, Any]) -> None:
        """Every credential will do."""

    @property
    def _invoke_error_mapping(self) -> dict[type[Exception], list[type[Exception]]]:
        return {}


def _chunk(model: str, prompt_messages: list[PromptMessage], text: str | None) -> LLMResultChunk:
    message = AssistantPromptMessage(content=text)
    return LLMResultChunk(model=model, prompt_messages=[], delta=LLMResultChunkDelta(index=0, message=message))


def _obey(last: str, told: dict[str, Any]) -> Iterator[str | None]:
    if '"categories"' in last:
        yield _category(last)
        return
    for line in last.splitlines():
        word, _, rest = line.partition(" ")
        act = _ACTIONS.get(word)
        if act is not None:
            yield from act(rest, told)
        else:
            yield line


def _say(rest: str, told: dict[str, Any]) -> Iterator[str | None]:
    yield rest


def _sleep(rest: str, told: dict[str, Any]) -> Iterator[str | None]:
    time.sleep(float(rest))
    return
    yield


def _beat(rest: str, told: dict[str, Any]) -> Iterator[str | None]:
    seconds, count = rest.split()
    for _ in range(int(count)):
        time.sleep(float(seconds))
        yield ""


def _raise(rest: str, told: dict[str, Any]) -> Iterator[str | None]:
    name, _, text = rest.partition(" ")
    raise getattr(model_errors, name, ValueError)(text)
    yield


def _none(rest: str, told: dict[str, Any]) -> Iterator[str | None]:
    yield None


def _exit(rest: str, told: dict[str, Any]) -> Iterator[str | None]:
    os._exit(1)
    yield


def _tell(rest: str, told: dict[str, Any]) -> Iterator[str | None]:
    yield json.dumps(told)


_ACTIONS = {
    "!say": _say,
    "!sleep": _sleep,
    "!beat": _beat,
    "!raise": _raise,
    "!none": _none,
    "!exit": _exit,
    "!tell": _tell,
}


def _category(last: str) -> str:
    text = re.search(r'"input_text": \["(.*?)"\]', last, re.DOTALL)
    categories = json.loads(re.search(r'"categories": (\[.*?\])', last, re.DOTALL)[1])
    chosen = next((each for each in categories if each["category_name"].split(":")[0] in text[1]), categories[0])
    return json.dumps({"keywords": [], **chosen})
