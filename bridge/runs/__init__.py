"""The core: what a client asked for, until it has its answer.

runs         runs under way: started, resumed, cancelled; one Dify workflow run per attempt
live         a run under way, without I/O         segments   what one response tells its client
attach       how an invocation of the plugin finds its run, and what it replays
tickets/     the pending calls of one round: policy, approvals, results
executors/   who runs calls when Dify asks: registry, leases, suspended runs that go on
sessions/    whose conversation a request belongs to
answers/     what a client sees of an app's text: guard, reasoning, drafts, usage
requests     what a client asked for              inputs, images   what the app is given of it
trials       chats with an app from the page, and runs done again
sweeper      ends what waits too long             watchdogs    notice plugins and workers that were killed
dify_slots   who waits for a place at Dify        wakeups, shared_wakeups  who is told when something changed
observing/   metrics and traces hear of it here   request_id, breath       ids for logs; long work in pieces
"""
