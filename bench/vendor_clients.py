"""OpenAI's SDK and LiteLLM, as a loop of tools uses them. Run as a program, it answers lines of JSON with LiteLLM."""

import json
import sys
from collections.abc import Callable
from typing import Any, TypedDict


class Said(TypedDict):
    """What came of one request. A call is its id, name and arguments; `message` is what goes into the next request."""

    text: str
    calls: list[tuple[str, str, str]]
    message: dict[str, Any]


Turn = Callable[[list[dict[str, Any]], bool], Said]

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Runs {name}.",
            "parameters": {"type": "object", "properties": {key: {"type": "string"}}},
        },
    }
    for name, key in (("read", "path"), ("exec", "cmd"))
]

OWN = {
    "deepseek": "deepseek",
    "moonshot": "moonshot",
    "mistral": "mistral",
    "groq": "groq",
    "openrouter": "openrouter",
    "together": "together_ai",
    "dashscope": "dashscope",
    "zhipu": "zai",
    "minimax": "minimax",
    "vllm": "hosted_vllm",
    "lm-studio": "lm_studio",
}
"""LiteLLM's providers for vendors whose OpenAI protocol it speaks; the others are OpenAI-compatible to it."""


def openai_turn(base_url: str, key: str, model: str) -> Turn:
    """Ask by OpenAI's SDK."""
    import openai

    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)

    def turn(prompt: list[dict[str, Any]], stream: bool) -> Said:
        asked: Any = {"model": model, "messages": prompt, "tools": TOOLS}
        if not stream:
            return _said(client.chat.completions.create(**asked).choices[0].message.to_dict())
        with client.chat.completions.stream(**asked) as events:
            for _ in events:
                pass
            return _said(events.get_final_completion().choices[0].message.to_dict())

    return turn


def litellm_turn(base_url: str, key: str, vendor: str) -> Turn:
    """Ask by LiteLLM."""
    import litellm  # type: ignore[import-not-found,unused-ignore]

    model = f"{OWN.get(vendor, 'openai')}/scripted-like-{vendor}"

    def turn(prompt: list[dict[str, Any]], stream: bool) -> Said:
        asked = {"model": model, "messages": prompt, "tools": TOOLS, "stream": stream}
        answer: Any = litellm.completion(**asked, api_base=base_url, api_key=key, num_retries=0)
        whole = litellm.stream_chunk_builder(list(answer), messages=prompt) if stream else answer
        return _said(whole.choices[0].message.model_dump(exclude_none=True))

    return turn


def _said(message: dict[str, Any]) -> Said:
    calls = message.get("tool_calls") or []
    # What the SDKs add to a message is not part of it.
    kept = {name: value for name, value in message.items() if value is not None and name not in {"parsed", "refusal"}}
    if calls:
        kept["tool_calls"] = [
            call | {"function": {key: call["function"][key] for key in ("name", "arguments")}} for call in calls
        ]
        for call in kept["tool_calls"]:
            call.pop("index", None)
    told = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]
    text = message.get("content") or ""
    if isinstance(text, list):
        text = "".join(part.get("text", "") for part in text if part["type"] == "text")
    return {"text": text, "calls": told, "message": kept}


if __name__ == "__main__":
    # LiteLLM prints what it thinks of a request.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        vendor, prompt, stream = json.loads(line)
        try:
            answer: Any = litellm_turn(sys.argv[1], sys.argv[2], vendor)(prompt, stream)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)
