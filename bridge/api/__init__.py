"""HTTP in: who asks, for what, and in which form.

access   which token opens which route: one table, and each request is held against it
openai   what clients see: chat completions, responses, models
anthropic   the same as Anthropic's Messages API
plugin   the invocations of LLM nodes        plugin_requests   what was seen of them lately, for doctor
mcp      MCP clients, which are offered the executors' tools        mcp_messages   what they say and are told
executor   workers near the tools            operator, watch   people who look and decide
run_document   a run as one JSON object, for both
health     whether it lives                  openapi           all routes as a document

cors       pages of other origins, and the bridge's names
wrong_paths   what is said to whoever asks for a path that is not there

bodies   how a body is read, in pieces and within limits, and how one is written; packed, where its client packed it
"""
