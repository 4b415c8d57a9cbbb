"""How tools and calls are expressed to a model.

choice         which mode a node's model is spoken to in
mode           what every mode does
structured     OpenAI's own fields
openclaw_text  in the text, for models that know no tools
normalised     names and schemas that strict upstreams take, around any of them
automatic      structured, and text where the model wants or writes text
"""
