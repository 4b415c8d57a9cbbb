"""What a client sees of what an app says.

view              text and reasoning, through the guards
guards            nothing in an answer runs or orders anything; data is never changed
stream_redactor   takes a node's calls out of the text that streams
drafts            calls that are still being written
usage             token counts, estimated where Dify tells none
"""
