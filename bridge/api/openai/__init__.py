"""The OpenAI endpoint: what clients see.

ask             what a request asks for, in either of the two languages
chat_request    what a client sends to chat completions: chat_messages, parameters, tool_choice
legacy          functions, from before there were tools
tool_results    results that come beside the transcript
call_ids        finds the ids of calls again for clients that do not keep them
chat_response   what it gets from chat completions, whole or chunk by chunk
turns           which run and segment a request asks for
keepalive       reads a segment, and notices clients that have gone
blueprint       the routes of chat completions and models

responses_request   what a client sends for a response; tool_kinds: tools that are no functions
responses_response  what it gets, whole or event by event
responses           what a response continues, and what became of it
response_log        tells a response to whoever reads it, and again to who lost it
responses_routes    the routes

schemas             what clients get, as the OpenAPI document describes it
"""
