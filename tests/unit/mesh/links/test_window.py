"""The window: never above its bounds, wide where nothing queues, narrow where something does."""

from __future__ import annotations

from collections import deque

from hypothesis import example, given
from hypothesis import strategies as st

from mesh.links.window import MARK_BYTES, TARGET_DELAY, Window

FIRST, LEAST, MOST = 100_000, 50_000, 800_000
PIECE = 10_000


def through(bytes_per_second: float, seconds: float, distance: float = 0.01) -> tuple[Window, int]:
    """Send without end over a link of that speed; the window, and how many bytes were taken."""
    window, now, free_at = Window(FIRST, LEAST, MOST), 0.0, 0.0
    on_the_way: deque[float] = deque()
    while now < seconds:
        while window.fits(PIECE):
            window.send(PIECE, now)
            free_at = max(free_at, now) + PIECE / bytes_per_second
            on_the_way.append(free_at + distance)
        now = on_the_way.popleft()
        assert window.acknowledge(window.acked + PIECE, now) == PIECE
    return window, window.acked


def test_where_nothing_queues_it_gets_as_wide_as_it_may() -> None:
    window, _ = through(1e9, 1.0)
    assert window.size == MOST


def test_where_something_queues_it_stays_at_a_tenth_of_a_second() -> None:
    rate = 1_000_000
    window, taken = through(rate, 20.0)
    assert LEAST <= window.size <= rate * (TARGET_DELAY + 0.02) + PIECE
    assert taken > 0.98 * 20 * rate


def test_it_never_gets_below_the_least_however_slow_the_link() -> None:
    window, taken = through(20_000, 100.0)
    assert window.size == LEAST
    assert taken > 0.95 * 100 * 20_000


def test_a_long_way_is_not_taken_for_a_slow_one() -> None:
    window, _ = through(1e9, 10.0, distance=1.0)
    assert window.size == MOST


@given(st.lists(st.tuples(st.integers(1, 3 * MARK_BYTES), st.floats(0, 1)), max_size=60))
@example([(1, 0.0), (MARK_BYTES, 0.25), (1, 0.5), (87_712, 0.5), (1, 0.0)])
def test_its_bounds_hold_and_what_is_taken_adds_up(steps: list[tuple[int, float]]) -> None:
    window, now, taken = Window(FIRST, LEAST, MOST), 0.0, 0
    for size, part in steps:
        now += part
        if window.fits(size):
            window.send(size, now)
            # Of what left before it shrank more may be under way; nothing more leaves then.
            assert window.sent - window.acked <= max(window.size, size)
        in_flight = window.sent - window.acked
        more = window.acknowledge(window.acked + int(in_flight * part), now + part)
        assert more is not None
        taken += more
        assert LEAST <= window.size <= MOST
    assert taken == window.acked
    assert window.acknowledge(window.sent + 1, now) is None
    if window.acked:
        assert window.acknowledge(window.acked - 1, now) is None
    window.open()
    assert (window.sent, window.acked, window.size) == (0, 0, FIRST)
