"""The OpenAI endpoint: what clients see.

chat_request    what a client sends
chat_response   what it gets, whole or chunk by chunk
turns           which run and segment a request asks for
keepalive       reads a segment, and notices clients that have gone
blueprint       the routes
"""
