"""The OpenAI endpoint: what clients see.

chat_request    what a client sends to chat completions, with chat_messages and tool_choice (also tools of other kinds)
legacy          functions, from before there were tools
call_ids        finds the ids of calls again for clients that do not keep them, and results beside the transcript
chat_response   what a client gets from chat completions, whole or chunk by chunk
turns           which run and segment a request asks for
keepalive       reads a segment, keeps its connection alive, and notices clients that have gone
blueprint       the routes of chat completions and models

responses_request   what a client sends for a response
responses_response  what it gets, whole or event by event
responses           what a response continues, what became of it, and its events for who lost them
responses_routes    the routes

schemas             what clients get, as the OpenAPI document describes it
"""
