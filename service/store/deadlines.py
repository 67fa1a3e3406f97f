"""How long the database may take, in seconds.

A call takes DEADLINE at the longest, and one that is being committed by then DEADLINE + COMMIT: only its end shows
whether it was. A thread that waits for SQLite's lock cannot be interrupted.
"""

DEADLINE = 5.0
COMMIT = 3.0
BUSY = 3.0  # SQLite's wait for another process that writes
CONNECT = 3.0  # to a server
STATEMENT = 4  # of a server, in whole seconds
FAILING = 2 * DEADLINE  # how long a failure explains what is late
