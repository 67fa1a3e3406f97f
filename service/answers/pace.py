"""The intervals and timeouts of answers in progress, in seconds."""

TICK_SECONDS = 0.5  # between checkpoints of answers with readers at other processes, and between looks of such readers
CHECKPOINT_SECONDS = 1.0  # between checkpoints of all answers
HEARTBEAT_SECONDS = 5.0  # between heartbeats, and between looks at those of other processes
IDLE_HEARTBEATS = 3  # between such looks while nothing runs
LOST_SECONDS = 20.0  # without a heartbeat, after which the process counts as dead
FOLLOWED_SECONDS = 3.0  # for which a look from another process counts as a reader
STORING_SECONDS = 2.0  # for which a reader's last event waits until the answer is stored
STORE_RETRY_SECONDS = 1.0
LAST_WRITES_SECONDS = 1.5  # for the database to store the last answers at shutdown
