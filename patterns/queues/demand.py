"""``Demand``: how many jobs a worker asks of which home, when it can take only so many in all.

Rules:

* What is held and the credit that is out are never more than ``limit``, over all homes.
* New credit goes to homes that have more than they had credit for (*wanting*): between queues as
  the ``Order`` says, between the homes of one in turn.
* When nobody has wanted any for ``LINGER``, what is spare is laid out evenly, so that a job that is
  put anywhere is here at once.
* When somebody wants, and all of it lies idle elsewhere, it is called back from where most lies:
  one home at a time. Not what was given less than ``LINGER`` ago.
* Credit that is out is never more than the tokens of the rate. They are spent when jobs come, so
  no idle credit adds to a burst.

Surprise: a home that wants has no credit. One that says so while some is on its way is not heard:
it will say so again when that is used up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from patterns.errors import ConfigError
from patterns.port import Clock, Timer
from patterns.queues.checks import MAX_CREDIT
from patterns.queues.order import Order
from patterns.queues.rate import Rate

__all__ = ["LINGER", "MAX_ADAPTIVE", "PATIENCE", "RECENT", "Account", "Demand"]

LINGER = 0.005
"""Seconds: longer than the way to a home and back, so what is busy takes the credit first."""

RECENT = 0.1
"""Seconds for whose work jobs are fetched ahead, unless told otherwise: it hides the way to any
home, and a job that is urgent waits no longer than for this much."""

PATIENCE = 0.1
"""Seconds that a home has to give credit back, before another is asked as well."""

MAX_ADAPTIVE = 8_000
"""Jobs fetched ahead at most: at 200,000 jobs a second, 40 ms. With 1,000 a home and a worker wait
for each other half of the time: their turns take some milliseconds each."""

_CHUNKS = 16
"""Into so many parts spare credit is divided when several queues want it."""

_LEAST_DELAY = 0.001
"""Seconds: no rounding makes the timer turn on the spot."""


class Account:
    """Of one home: ``credit`` is what it was given and has not used."""

    __slots__ = ("credit", "grant", "granted_at", "is_recalling", "is_wanting", "queue", "recall")

    def __init__(
        self, queue: str, grant: Callable[[int], None], recall: Callable[[], None]
    ) -> None:
        self.queue = queue
        self.grant = grant
        self.recall = recall
        self.credit = 0
        self.granted_at = 0.0
        self.is_recalling = False
        self.is_wanting = False


class Demand:
    """``max_in_flight`` None: ``concurrency`` and what was done in the last 0.1 s. Whatever is told
    here has its effect with ``deal``. Raises ConfigError."""

    def __init__(
        self,
        clock: Clock,
        order: Order,
        *,
        concurrency: int,
        max_in_flight: int | None,
        rate: float | None,
    ) -> None:
        most = concurrency if max_in_flight is None else max_in_flight
        if concurrency < 1 or not 1 <= most <= MAX_CREDIT:
            raise ConfigError(
                f"concurrency={concurrency}, max_in_flight={max_in_flight}: "
                f"from 1 to {MAX_CREDIT}, or None for the latter"
            )
        self._clock = clock
        self._order = order
        self._concurrency = concurrency
        self._fixed = max_in_flight
        self._rate = None if rate is None else Rate(rate, clock.now())
        self._accounts: dict[Account, None] = {}
        self._wanting: dict[str, dict[Account, None]] = {}
        self.held = 0
        self.credit = 0
        self.is_paused = False
        self._recalled: Account | None = None
        """Whose credit was called back last, until it is here, and when."""
        self._recalled_at = 0.0
        self._busy_at = clock.now()
        """When jobs came last, or somebody wanted them."""
        self._ends: deque[tuple[float, int]] = deque()
        """How many ended when; of the last ``RECENT``, and its sum."""
        self._recent = 0
        self._timer: Timer | None = None
        self._timer_at = 0.0

    # What happens.

    def open(self, account: Account) -> None:
        """A home is there."""
        self._accounts[account] = None

    def close(self, account: Account) -> None:
        """It is gone, and its credit is spare; what was held from it is told by ``ended``."""
        self._accounts.pop(account, None)
        self._unwant(account)
        self.returned(account)

    def wants(self, account: Account) -> None:
        """It has more."""
        if account.credit or account.is_wanting:
            return
        account.is_wanting = True
        self._busy_at = self._clock.now()
        self._wanting.setdefault(account.queue, {})[account] = None

    def took(self, account: Account, count: int) -> None:
        """So many jobs came, for so much of its credit."""
        account.credit -= count
        self.credit -= count
        self.held += count
        self._busy_at = self._clock.now()
        if self._rate is not None:
            self._rate.spend(count, self._busy_at)

    def returned(self, account: Account) -> None:
        """It has given back all credit."""
        self.credit -= account.credit
        account.credit = 0
        account.is_recalling = False
        if self._recalled is account:
            self._recalled = None

    def ended(self, count: int) -> None:
        """So many are not held any more."""
        self.held -= count
        if self._fixed is None:
            self._recent += count
            now = self._clock.now()
            if self._ends and now - self._ends[-1][0] < RECENT / 10:
                at, before = self._ends.pop()
                self._ends.append((at, before + count))
            else:
                self._ends.append((now, count))

    def pause(self) -> None:
        """Call all credit back, and give none."""
        self.is_paused = True
        for account in self._accounts:
            if account.credit:
                self._call_back(account)

    # What follows.

    @property
    def in_flight(self) -> int:
        """What is held, and what may come any moment."""
        return self.held + self.credit

    @property
    def limit(self) -> int:
        """What may be in flight now."""
        if self._fixed is not None:
            return self._fixed
        now = self._clock.now()
        while self._ends and now - self._ends[0][0] >= RECENT:
            self._recent -= self._ends.popleft()[1]
        return max(self._concurrency, min(MAX_ADAPTIVE, self._concurrency + self._recent))

    def deal(self) -> None:
        """Give what credit can be given, and call back what should lie elsewhere."""
        if self.is_paused:
            return
        now = self._clock.now()
        excess = self.in_flight - self.limit
        spare = -excess
        if self._rate is not None:
            spare = min(spare, int(self._rate.tokens(now) + 1e-9) - self.credit)
        wanting = self._may_have()
        if wanting and spare > 0:
            self._grant(wanting, spare)
        elif (wanting or excess > 0) and self.credit:
            self._recall_idle(now)
        elif spare > 0 and not wanting and self._accounts:
            quiet = self._busy_at + LINGER - now
            if quiet <= 0:
                self._lay_out(spare)
            else:
                self._again_in(quiet, now)
        self._plan(now)

    def _may_have(self) -> dict[str, list[Account]]:
        found = {}
        for queue, accounts in self._wanting.items():
            open_to_it = [account for account in accounts if not account.is_recalling]
            if open_to_it:
                found[queue] = open_to_it
        return found

    def _grant(self, wanting: dict[str, list[Account]], spare: int) -> None:
        parts = dict.fromkeys(wanting, 0)
        if len(wanting) == 1:
            parts[next(iter(wanting))] = spare
        else:
            queues = tuple(wanting)
            chunk = max(1, spare // _CHUNKS)
            while spare > 0:
                chunk = min(chunk, spare)
                parts[self._order.pick(queues, chunk)] += chunk
                spare -= chunk
        for queue, part in parts.items():
            accounts = wanting[queue]
            each, more = divmod(part, len(accounts))
            for index, account in enumerate(accounts):
                count = each + (index < more)
                if not count:
                    break
                self._unwant(account)
                self._give(account, count)

    def _give(self, account: Account, count: int) -> None:
        account.granted_at = self._clock.now()
        account.credit += count
        self.credit += count
        account.grant(count)

    def _unwant(self, account: Account) -> None:
        if account.is_wanting:
            account.is_wanting = False
            accounts = self._wanting[account.queue]
            del accounts[account]
            if not accounts:
                del self._wanting[account.queue]

    def _recall_idle(self, now: float) -> None:
        if self._recalled is not None and now - self._recalled_at < PATIENCE:
            self._again_in(self._recalled_at + PATIENCE - now, now)
            return
        # What was given just now is about to be used: jobs are on their way for it.
        there = [account for account in self._accounts if account.credit]
        there = [account for account in there if not account.is_recalling]
        idle = [account for account in there if now - account.granted_at >= LINGER]
        if idle:
            self._recalled = max(idle, key=lambda account: account.credit)
            self._recalled_at = now
            self._call_back(self._recalled)
            self._again_in(PATIENCE, now)
        elif there:
            first = min(account.granted_at for account in there)
            self._again_in(first + LINGER - now, now)

    def _call_back(self, account: Account) -> None:
        if not account.is_recalling:
            account.is_recalling = True
            account.recall()

    def _lay_out(self, spare: int) -> None:
        poor = [account for account in self._accounts if not account.is_recalling]
        poor.sort(key=lambda account: account.credit)
        total = spare + sum(account.credit for account in poor)
        while poor and poor[-1].credit > total // len(poor):
            total -= poor.pop().credit
        if not poor:
            return
        each, more = divmod(total, len(poor))
        for index, account in enumerate(poor):
            count = each + (index < more) - account.credit
            if count > 0:
                self._give(account, count)
                # Of those that have as much, another one is first the next time.
                self._accounts[account] = self._accounts.pop(account)

    def _plan(self, now: float) -> None:
        """Come back when there are tokens for one more, or what was done counts no more."""
        room = self.limit - self.in_flight
        if self._rate is not None and room > 0:
            wait = self._rate.wait_for(min(self.credit + 1, self._rate.burst), now)
            if wait > 0:
                self._again_in(wait, now)
        if self._ends:
            self._again_in(self._ends[0][0] + RECENT - now, now)

    def _again_in(self, delay: float, now: float) -> None:
        delay = max(delay, _LEAST_DELAY)
        at = now + delay
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._clock.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.deal()

    def stop(self) -> None:
        """No timer is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
