"""A strict, scripted OpenAI-compatible upstream.

A real model cannot be told what to say. This one obeys directives in the user's text (`script` lists them), streams as
OpenAI does, and refuses what OpenAI refuses. Start it with `python -m demo.scripted`; `upstream.respond`
is the same thing without a socket.
"""
