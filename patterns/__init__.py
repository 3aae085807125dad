"""The messaging patterns, pure: request/reply, publish/subscribe, groups.

Nothing here does I/O, reads a clock or draws a random number of its own: what a pattern needs is
handed in through ``patterns.port``. So the same code runs on sockets and in a simulation.
"""
