"""What a bench decides and counts, without clock, sockets or threads: times are handed in.

All times are whole nanoseconds of one monotonic clock.
"""
