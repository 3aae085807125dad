"""Benchmarks of `mesh` against raw pyzmq, side by side in one run: `python -m benchmarks`.

Rules: the parent process imports no system under test; every role is a process of its own; every
wait has a deadline; what was sent is compared with what arrived. See `README.md`.
"""
