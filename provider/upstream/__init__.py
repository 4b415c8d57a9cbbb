"""The upstream, as it really is.

client         one completion as events         connections   shared by all invocations
request        the request in our own terms     dialect       as one upstream wants it, its media and its reasoning
vendors        upstreams that people use, and where each differs from OpenAI: data
sse, completion, patience                       reading the answer
failures       what a refusal means, by its `wordings`; lessons   what it teaches;
shapes         of prompts            standing_in   what is done here instead
capabilities   what is taken for true of a model        probe   finds it out
"""
