"""The bridge, as the plugin sees it.

client         each exchange is one request
draft_sender   tells it of calls that are being written, beside the stream
"""
