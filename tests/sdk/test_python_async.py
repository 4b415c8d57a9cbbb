"""The official Python SDK's asynchronous client, with several requests at once."""

import asyncio

import openai

from demo.stack import Stack
from tests.sdk.test_python_chat import MODEL, READ, say


def test_streams_at_once_do_not_mix(stack: Stack) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        messages = say(f"!say Number {number}.", f'!call read {{"path": "{number}"}}', "!then", f"!say Done {number}.")
        text = ""
        for _ in range(2):
            async with client.chat.completions.stream(model=MODEL, messages=messages, tools=[READ]) as stream:
                await stream.until_done()
                final = (await stream.get_final_completion()).choices[0].message
            text += final.content or ""
            messages.append(final)
            for call in final.tool_calls or ():
                text += call.function.arguments
                messages.append({"role": "tool", "tool_call_id": call.id, "content": "x"})
        return text

    async def all_at_once() -> list[str]:
        async with openai.AsyncOpenAI(base_url=stack.base_url, api_key=stack.client_token, max_retries=0) as client:
            return list(await asyncio.gather(*(one(client, number) for number in range(8))))

    expected = [f'Number {number}.{{"path": "{number}"}}Done {number}.' for number in range(8)]
    assert asyncio.run(all_at_once()) == expected
