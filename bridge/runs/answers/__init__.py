"""What a client sees of what an app says.

view      text and reasoning through the guards, calls that are still being written, token counts
guards    nothing in an answer runs or orders anything; data is never changed
"""
