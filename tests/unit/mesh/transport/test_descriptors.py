"""How far ahead a node looks for descriptors."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable

import pytest

from mesh.transport import descriptors
from mesh.transport.descriptors import FOR_LANE, FOR_LINK, FOR_NODE, Need, check, shortage

State = Callable[[int | None, int], None]

NEED = Need("a thing", 3, reserve=20)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    """So many descriptors are open, and that is the soft limit."""

    def pretend(used: int | None, limit: int) -> None:
        monkeypatch.setattr(descriptors, "in_use", lambda: used)
        monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))

    return pretend


def test_a_need_is_met_while_the_reserve_stays_free(state: State) -> None:
    state(977, 1000)
    assert shortage(NEED) is None
    state(978, 1000)
    assert shortage(NEED) is not None


def test_of_a_small_limit_a_part_is_reserve_enough(state: State) -> None:
    state(40 - 3 - 10, 40)
    assert shortage(NEED) is None
    state(40 - 3 - 10 + 1, 40)
    assert shortage(NEED) is not None


def test_a_shortage_says_what_lacks_how_much_and_what_to_do(state: State) -> None:
    state(95, 100)
    with pytest.raises(OSError, match="a thing: 95 of 100") as raised:
        check(NEED)
    assert raised.value.errno == errno.EMFILE
    assert "23 must be free" in str(raised.value)
    assert "ulimit -n" in str(raised.value)


@pytest.mark.parametrize(("used", "limit"), [(10**6, resource.RLIM_INFINITY), (None, 10)])
def test_where_there_is_no_limit_or_no_count_nothing_lacks(
    used: int | None, limit: int, state: State
) -> None:
    state(used, limit)
    assert shortage(NEED) is None


def test_links_leave_more_over_than_the_connections_that_they_may_need() -> None:
    assert FOR_LINK.reserve > FOR_LANE.reserve > FOR_NODE.reserve == 0


def test_the_count_follows_what_is_opened() -> None:
    before = descriptors.in_use()
    pipes = [os.pipe() for _ in range(5)]
    during = descriptors.in_use()
    for end in (end for pipe in pipes for end in pipe):
        os.close(end)
    assert before is not None
    assert during == before + 10
    assert descriptors.in_use() == before


def test_the_listing_and_the_size_of_the_folder_agree() -> None:
    listed = len(os.listdir("/proc/self/fd")) - 1
    assert descriptors.in_use() == listed
