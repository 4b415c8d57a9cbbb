"""What a client sees of what an app says.

view              text, reasoning, images: through the text guard
stream_redactor   takes a node's calls out of the text that streams
think_tags        reasoning inside tags
drafts            calls that are still being written
usage             token counts, estimated where Dify tells none
"""
