"""How what people read is written, on the page and in a terminal alike.

said       what the bridge and the plugin say, in the language of who reads it: said.LANGUAGE.toml
figures    durations, times, numbers and ids
"""
