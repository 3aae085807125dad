"""Work queues: jobs that are kept until somebody has done them.

A *home* keeps a queue's jobs, in a store; *workers* take them under a lease. What each part may
assume of the others is in ``docs/queues.md``.
"""
