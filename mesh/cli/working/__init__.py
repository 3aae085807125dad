"""``meshctl work``: programs as workers."""
