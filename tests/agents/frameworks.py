"""One agent of a framework that tells the weather: `python frameworks.py NAME`, in the environment of scripts/setup.

It takes three turns of a conversation, the first in three rounds of tools, the second streamed, the last with a
picture, and prints what it got as JSON: the cities that it was asked for, the answers, and whether the second turn came
in pieces.
"""

import asyncio
import base64
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

NAME = sys.argv[1]
MODEL = "minimal"
BASE_URL, KEY = os.environ["CLAWBACK_BASE_URL"], os.environ["CLAWBACK_API_KEY"]
FIRST, SECOND, THIRD = os.environ["FIRST"], os.environ["SECOND"], os.environ["THIRD"]
PICTURE = base64.b64decode(os.environ["PICTURE"])
URL = f"data:image/png;base64,{os.environ['PICTURE']}"
asked: list[str] = []


def weather(city: str) -> str:
    """Tell the weather in a city.

    Args:
        city: Its name.
    """
    asked.append(city)
    return f"sunny in {city}"


def tell(answers: list[Any], pieces: list[str]) -> None:
    sys.stdout.write(json.dumps({"asked": asked, "answers": answers, "pieces": len(pieces) > 1}))


def openai_agents(kind: str) -> None:
    from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
    from agents import set_tracing_disabled as disable_tracing
    from openai import AsyncOpenAI

    disable_tracing(True)
    client = AsyncOpenAI(base_url=BASE_URL, api_key=KEY)
    model = (OpenAIResponsesModel if kind == "responses" else OpenAIChatCompletionsModel)(MODEL, client)
    agent = Agent("Weather", instructions="Be brief.", model=model, tools=[function_tool(weather)])

    async def talk() -> None:
        first = await Runner.run(agent, FIRST)
        second = Runner.run_streamed(agent, [*first.to_input_list(), {"role": "user", "content": SECOND}])
        pieces = [
            event.data.delta
            async for event in second.stream_events()
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
        ]
        shown = [{"type": "input_text", "text": THIRD}, {"type": "input_image", "image_url": URL, "detail": "auto"}]
        third = await Runner.run(agent, [*second.to_input_list(), {"role": "user", "content": shown}])
        tell([first.final_output, second.final_output, third.final_output], pieces)

    asyncio.run(talk())


def pydantic_ai(kind: str) -> None:
    from pydantic_ai import Agent, BinaryContent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=BASE_URL, api_key=KEY)
    agent = Agent((OpenAIResponsesModel if kind == "responses" else OpenAIChatModel)(MODEL, provider=provider))
    agent.tool_plain(weather)

    async def talk() -> None:
        first = await agent.run(FIRST)
        async with agent.run_stream(SECOND, message_history=first.all_messages()) as second:
            pieces = [piece async for piece in second.stream_text(delta=True, debounce_by=None)]
        shown = [THIRD, BinaryContent(PICTURE, media_type="image/png")]
        third = await agent.run(shown, message_history=second.all_messages())
        tell([first.output, "".join(pieces), third.output], pieces)

    asyncio.run(talk())


def langgraph(kind: str) -> None:
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI
    from langgraph.checkpoint.memory import InMemorySaver

    model = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=KEY, use_responses_api=kind == "responses")
    agent = create_agent(model, tools=[weather], checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    first = agent.invoke({"messages": [("user", FIRST)]}, thread)
    said = agent.stream({"messages": [("user", SECOND)]}, thread, stream_mode="messages")
    pieces = [text for chunk, _ in said if (text := chunk.text)]
    shown = [{"type": "text", "text": THIRD}, {"type": "image_url", "image_url": {"url": URL}}]
    third = agent.invoke({"messages": [{"role": "user", "content": shown}]}, thread)
    tell([first["messages"][-1].text, "".join(pieces), third["messages"][-1].text], pieces)


def smolagents(_: str) -> None:
    from PIL import Image
    from smolagents import OpenAIServerModel, ToolCallingAgent, tool

    model = OpenAIServerModel(MODEL, api_base=BASE_URL, api_key=KEY)
    agent = ToolCallingAgent(tools=[tool(weather)], model=model, stream_outputs=True, verbosity_level=0)
    first = agent.run(FIRST)
    steps = list(agent.run(SECOND, stream=True, reset=False))
    third = agent.run(THIRD, images=[Image.open(io.BytesIO(PICTURE))], reset=False)
    tell([first, steps[-1].output, third], [])


def llm(kind: str) -> None:
    import llm as library

    model = library.get_model(f"clawback-{kind}")
    model.needs_key, model.key = "clawback", KEY
    conversation = model.conversation(tools=[weather])
    first = conversation.chain(FIRST).text()
    pieces = list(conversation.chain(SECOND))
    third = conversation.chain(THIRD, attachments=[library.Attachment(type="image/png", content=PICTURE)]).text()
    tell([first, "".join(pieces), third], pieces)


AGENTS: dict[str, Callable[[str], None]] = {
    "openai-agents": openai_agents,
    "pydantic-ai": pydantic_ai,
    "langgraph": langgraph,
    "smolagents": smolagents,
    "llm": llm,
}
name, _, protocol = NAME.partition(":")
AGENTS[name](protocol)
