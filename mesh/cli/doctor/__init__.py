"""Why does A not see B? What is behind ``meshctl doctor``.

``gather`` looks (``machine``, ``reach``, ``asking`` do the I/O) and gives ``facts``; ``diagnose``
makes ``findings`` of them, by the rules in ``on_machine``, ``on_strangers`` and ``on_members``,
which are pure; ``render`` shows them. So what is concluded from what can be tested without a
network, and what cannot be looked at is told as not looked at.
"""

from __future__ import annotations
