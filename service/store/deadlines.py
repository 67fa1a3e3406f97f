"""The timeouts of the database, in seconds.

A call takes at most DEADLINE, or DEADLINE + COMMIT if it is being committed by then, because only the end of a commit
shows its outcome. A thread that waits for SQLite's lock cannot be interrupted.
"""

DEADLINE = 5.0
COMMIT = 3.0
BUSY = 3.0  # SQLite's wait for another process's write lock
CONNECT = 3.0  # to a server
STATEMENT = 4  # of a server; a whole number
SILENCE = 2.0  # after which a connection to a server is tested before use
PING = 1.0  # for the response to that test
CLOSE = 0.5  # of a connection to a server
MIGRATION_LOCK = 0.5  # for a migration's lock on a table, as others queue behind it
MIGRATION_PAUSE = 0.12  # between its transactions: longer than SQLite's polling interval
FAILING = 2 * DEADLINE  # for which a failure explains later timeouts
