"""A strict, scripted OpenAI-compatible upstream.

A real model cannot be told what to say. This one obeys directives in the user's text, streams as OpenAI does, and
refuses what OpenAI refuses. Start it with `python -m demo.scripted`.

server, upstream   HTTP, and the whole upstream without a socket: bytes in, a plan of bytes out
strict, strict_messages, strict_tools   from bytes to a sound `request`, or a `refusal`
models             the models on offer          vendors, quirks   how real servers differ
script, transcript, memory   the directives, and where in them a conversation stands
play, classifier, example    what the model does next
answer, wire       what it says, and how that is sent        tokens, log   counted; and shown
text_formats, text_arguments   calls as text
"""
