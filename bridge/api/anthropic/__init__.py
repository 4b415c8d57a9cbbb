"""Anthropic's Messages API: another edge of the turns in `bridge.api.openai.turns`.

messages_request    what a client sends, checked
transcript          its messages in the terms of chat completions
messages_response   what it gets, whole or event by event
wording             errors as Anthropic's servers send them, by what its clients do with each
told_failures       failures amid a stream, for clients that repeat it whatever the error is
messages_routes     the routes

schemas             what clients get, as the OpenAPI document describes it
"""
