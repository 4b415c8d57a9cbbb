"""HTTP in: who asks, for what, and in which form.

access   who may ask: one table of routes and tokens, clients, pages of other origins
quotas   how much clients and apps may have under way and use
openai   what clients see: chat completions, responses, models
anthropic   the same as Anthropic's Messages API
plugin   the invocations of LLM nodes, and what was seen of them lately, for doctor
mcp      MCP clients, which are offered the executors' tools        mcp_messages   what they say and are told
executor   workers near the tools            operator, watch   people who look and decide; a run as one JSON object
health     whether it lives                  openapi           all routes as a document
wrong_paths   what is said to whoever asks for a path that is not there
bodies   how a body is taken, within limits, and checked, and how one is written
reading  how its JSON is read: what was said before, once
"""
