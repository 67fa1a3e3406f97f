"""How often answers under way are looked after, and how long they wait, in seconds."""

TICK_SECONDS = 0.5  # how often texts are kept for readers elsewhere, and readers elsewhere look
KEEP_SECONDS = 1.0  # how often all texts are kept
HEARTBEAT_SECONDS = 5.0  # how often a process shows that it lives, and looks at the others' heartbeats
IDLE_HEARTBEATS = 3  # after how many it looks where nothing runs
ABANDONED_SECONDS = 20.0  # of heartbeats that stand still: its process is gone
FOLLOWED_SECONDS = 3.0  # how long a look from elsewhere counts as a reader
STORING_SECONDS = 2.0  # how long a reader waits for the database before it hears of the end
STORE_AGAIN_SECONDS = 1.0
LAST_WRITES_SECONDS = 1.5  # what the database gets to take the last answers when the process leaves
