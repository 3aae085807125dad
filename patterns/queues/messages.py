"""The messages between a worker and a home, on the stream ``_queue-NAME.work``. Each is one msgpack
array, its kind first.

The worker opens the stream with the headers ``group`` (may be empty), ``lease`` (seconds, as text)
and ``worker`` (what people are shown), and then sends

==========  ==================================  ==================================================
kind        fields                              meaning
==========  ==================================  ==================================================
CREDIT      n                                   so many more jobs may be sent
RECALL                                          give back what credit is not used
DONE        runs, results                       these are done: ``[first, count, first, count...]``;
                                                what some returned, packed, by number
RETRY       number, delay_ms, reason            to be tried again
DEAD        number, reason                      given up, and kept for people
TOUCH       numbers                             their leases shall begin anew; it has one TOUCHED
                                                for an answer, also when it names none
PROGRESS    number, done, of, data              how far it is; ``data`` packed, or nil
COMMIT      ref, number, result, puts           it is done, and these are put, in one commit:
                                                ``[queue, body, options]`` each
==========  ==================================  ==================================================

and the home sends

==========  ==================================  ==================================================
HOME        store                               first of all: the name of its store. The id of a
                                                job is ``<store>-<number>`` if it has no other
JOBS        now_ms, numbers, attempts, put_ms,  jobs, a column for each field. ``now_ms`` is on the
            bodies, extras                      home's clock, and all leases begin then; ``put_ms``
                                                is Unix time; ``extras`` is nil, or by index a map
                                                of what few have: ``id``, ``key``, ``headers``
MORE                                            there are jobs for which you have given no credit
RETURNED    n                                   so much credit was not used: there is none left
LOST        numbers, reason                     they are not yours any more
TOUCHED     now_ms, numbers                     their leases began anew then
COMMITTED   ref, error                          nil, or type and text
==========  ==================================  ==================================================

The end of the stream gives back all that the worker has, at once.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "COMMIT",
    "COMMITTED",
    "CREDIT",
    "DEAD",
    "DONE",
    "HOME",
    "JOBS",
    "LOST",
    "MORE",
    "PROGRESS",
    "RECALL",
    "RETRY",
    "RETURNED",
    "TOUCH",
    "TOUCHED",
]

CREDIT: Final = 0
RECALL: Final = 1
DONE: Final = 2
RETRY: Final = 3
DEAD: Final = 4
TOUCH: Final = 5
PROGRESS: Final = 6
COMMIT: Final = 7

JOBS: Final = 16
MORE: Final = 17
RETURNED: Final = 18
LOST: Final = 19
TOUCHED: Final = 20
COMMITTED: Final = 21
HOME: Final = 22
