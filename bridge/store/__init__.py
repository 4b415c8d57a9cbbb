"""What survives: sessions, runs, segments, invocations, tickets, calls.

schema, rows    the tables, and their rows as the rest of the bridge sees them
store           the statements about sessions, runs, segments, invocations and tickets, each with a sentence above it
run_record      a run in memory, and a change of it in one transaction; a ticket resolves here with its last call
further statements, by what they are about:
    nodes, responses, exchanges, forms, keys                due (what waits too long)
    timeline (the web page), watching (operators), figures  statements (how they are made and run)
engine, upgrade, lock, place, faults   opens the database, of any version, for one bridge alone; what its refusals mean
wakeups         hints that something changed
clock           the time by which the bridge waits, without the jumps of the machine's
"""
