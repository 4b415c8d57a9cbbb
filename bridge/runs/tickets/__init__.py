"""The pending calls of one round.

attach      how an invocation of the plugin finds its run, and what it replays
omitting    what it is not sent again of a long transcript
tickets     opened by the plugin, given results by whoever runs the calls; the last one resolves a ticket, and who waits
            for it is woken, or its run goes on
moves       the steps of a call from state to state (the table is tools.ticket_states), and what may not be done
admission   what becomes of a new call: `policy` (rules), and calls that repeat themselves
approvals   calls that wait for a person
"""
