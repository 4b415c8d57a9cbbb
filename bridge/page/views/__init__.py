"""The pages, and what each is made of.

views       which pages there are: runs, one run, approvals, executors, health
run         one run: what was asked, its attempts, and its steps
graph       its nodes and edges as a picture
waterfall   its nodes, model calls, tool calls and waits on one axis of time
"""
