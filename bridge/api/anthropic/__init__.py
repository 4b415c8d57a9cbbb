"""Anthropic's Messages API: another edge of the turns in `bridge.api.openai.turns`.

messages_request    what a client sends, checked, and its messages in the terms of chat completions
messages_response   what it gets, whole or event by event, and failures amid a stream
client_tools        the tools without a schema that the client runs, as functions
wording             errors as Anthropic's servers send them, by what its clients do with each
messages_routes     the routes, and their answers as the OpenAPI document describes them
"""
