"""The pages, and what each is made of.

views       which pages there are: runs, one run, approvals, executors, health
run         one run: what was asked, its attempts, and its steps
waterfall   its nodes, model calls, tool calls and waits on one axis of time
"""
