"""Whose conversation a request belongs to.

sessions        the rule, and what is compared
conversations   the rule applied to what the store knows
openclaw, claude_code   what these write around their user's words
turn            what the end of a transcript asks for
"""
