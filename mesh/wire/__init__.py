"""What travels: frame headers (`mesh.wire.frames`) and the values in them (`mesh.wire.codec`).

Pure: bytes in, objects out, and back. No sockets, no clock, no state shared between threads.
"""
