"""pydantic-ai agents with tools and typed answers, over chat completions and over responses. Prints what they did."""

import asyncio
import json
import os
import sys
from collections.abc import Callable

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Weather(BaseModel):
    city: str
    sunny: bool


def weather_tool(asked: list[str]) -> Callable[[str], str]:
    def get_weather(location: str) -> str:
        """Get the weather at a location."""
        asked.append(location)
        return f"sunny in {location}"

    return get_weather


async def main() -> None:
    provider = OpenAIProvider(base_url=os.environ["CLAWBACK_BASE_URL"], api_key=os.environ["CLAWBACK_API_KEY"])
    told: dict[str, object] = {}
    for name, kind in (("chat", OpenAIChatModel), ("responses", OpenAIResponsesModel)):
        model = kind("minimal", provider=provider)
        asked: list[str] = []
        agent = Agent(model, tools=[weather_tool(asked)])
        run = await agent.run(f"What is the weather in San Francisco, CA? ({name})")
        told[name] = {"asked": asked, "answer": run.output}
        async with agent.run_stream(f"Say hello, please. ({name})") as stream:
            pieces = [piece async for piece in stream.stream_text(delta=True)]
        told[f"{name} streamed"] = "".join(pieces)
        typed = Agent(model, output_type=Weather)
        told[f"{name} typed"] = (await typed.run(f"Report Oslo's weather. ({name})")).output.model_dump()
    sys.stdout.write(json.dumps(told))


asyncio.run(main())
