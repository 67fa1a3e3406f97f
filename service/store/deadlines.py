"""How long the database may take, in seconds.

A call takes DEADLINE at the longest, and one that is being committed by then DEADLINE + COMMIT: only its end shows
whether it was. A thread that waits for SQLite's lock cannot be interrupted.
"""

DEADLINE = 5.0
COMMIT = 3.0
BUSY = 3.0  # SQLite's wait for another process that writes
CONNECT = 3.0  # to a server
STATEMENT = 4  # of a server, in whole seconds
SILENCE = 2.0  # after which a connection to a server is asked whether it still works
PING = 1.0  # for the answer to that
CLOSE = 0.5  # of a connection to a server
MIGRATION_LOCK = 0.5  # of a migration for a table, while others wait behind it
MIGRATION_PAUSE = 0.12  # between its transactions: longer than SQLite sleeps before it looks again
FAILING = 2 * DEADLINE  # how long a failure explains what is late
