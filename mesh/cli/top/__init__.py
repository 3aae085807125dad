"""``meshctl top``: what the nodes of a mesh do now.

``samples`` is the difference of two answers of one node, ``nodes``, ``methods``, ``links`` and
``listening`` are the rows of the views, ``table`` shows rows as lines of text, ``viewer`` is what
keys change: all of these are pure. ``keys`` and ``screen`` are the terminal, ``looking`` asks.
"""
