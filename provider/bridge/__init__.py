"""The bridge, as the plugin sees it.

client         each exchange is one request     beats   when an invocation says that it is alive
transcripts    what the bridge told, so that it need not tell it again
draft_sender   tells it of calls that are being written, beside the stream
"""
