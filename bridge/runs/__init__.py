"""The core: what a client asked for, until it has its answer.

core         all parts, made once                 services     what they share
runs         started, suspended, resumed, ended   attempt      one Dify workflow run of a run
live         a run under way, without I/O         segments     what one response tells its client
recorded     what clients were told, as the store has it
tickets/     the pending calls of one round: attach, tickets (opened, given results), admission, approvals
executors/   who runs calls when Dify asks: registry, leases, suspended runs that go on, chats from the page
sessions/    whose conversation a request belongs to
answers/     what a client sees of an app's text: guard, reasoning, drafts, usage
requests     what a client asked for              inputs       what the app is given of it
transcripts  what is made once of what was said before
forms        Human Input nodes, which pause runs  dify_slots   who waits for a place at Dify
sweeper      ends what waits too long             watchdogs    look after runs whose plugin or worker was killed
observing/   metrics and traces hear of it here   request_id   ids for logs
"""
