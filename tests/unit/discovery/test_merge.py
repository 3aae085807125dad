"""Laws of running several sources as one. The sources are fakes, time is virtual."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from discovery import Announcement, Candidate, Discovery, SourceState
from discovery.merge import START_WAIT
from tests.unit.discovery.helpers import announcement, run_virtual

OTHER = announcement(2).candidate("fake")


class Fake:
    """A source that does what the test says."""

    def __init__(
        self,
        name: str = "fake",
        *,
        raises: Exception | None = None,
        start_takes: float = 0.0,
        close_takes: float = 0.0,
        failing: str = "",
        stubborn: bool = False,
    ) -> None:
        self.name = name
        self.raises = raises
        self.start_takes = start_takes
        self.close_takes = close_takes
        self.failing = failing
        self.stubborn = stubborn
        self.closes = 0
        self.cancelled = False
        self.state = SourceState("idle")
        self.found: Callable[[Candidate], None] = lambda _: None

    async def start(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        try:
            await asyncio.sleep(self.start_takes)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.raises is not None:
            raise self.raises
        self.found = found
        self.state = SourceState("failing" if self.failing else "working", self.failing)

    async def close(self) -> None:
        self.closes += 1
        if self.raises is not None:
            raise self.raises
        while True:
            try:
                await asyncio.sleep(self.close_takes)
                break
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
        self.state = SourceState("closed")


def test_every_hint_is_passed_on_also_of_another_mesh_but_never_the_nodes_own() -> None:
    async def main() -> None:
        told: list[Candidate] = []
        source = Fake()
        discovery = Discovery([source], told.append)
        await discovery.start(announcement(1))
        hints = [
            OTHER,
            announcement(3, mesh="another").candidate("fake"),
            Candidate(("calc:5000",), "fake"),
            OTHER,
        ]
        source.found(announcement(1).candidate("fake"))
        for hint in hints:
            source.found(hint)
        assert told == hints
        await discovery.close()
        source.found(OTHER)
        assert told == hints

    run_virtual(main())


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("no network")])
def test_a_source_that_fails_is_marked_and_logged_once_and_the_others_go_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        told: list[Candidate] = []
        good = Fake("good")
        discovery = Discovery([Fake("bad", raises=error), good], told.append)
        await discovery.start(announcement())
        good.found(OTHER)
        assert told == [OTHER]
        assert discovery.states() == {
            "bad": SourceState("failing", "no network"),
            "good": SourceState("working"),
        }
        failures = [r for r in caplog.records if r.name == "discovery"]
        assert [r.getMessage() for r in failures] == ["source bad fails: no network"]
        await discovery.close()

    run_virtual(main())


def test_a_source_that_reports_itself_failing_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        discovery = Discovery([Fake(failing="port taken")], lambda _: None)
        await discovery.start(announcement())
        assert [r.getMessage() for r in caplog.records] == ["source fake fails: port taken"]
        await discovery.close()

    run_virtual(main())


def test_what_the_consumer_raises_is_logged_with_its_traceback_and_stops_no_source(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        def found(candidate: Candidate) -> None:
            raise LookupError("consumer")

        source = Fake()
        discovery = Discovery([source], found)
        await discovery.start(announcement())
        source.found(OTHER)
        source.found(OTHER)
        assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [LookupError] * 2
        assert discovery.states()["fake"].status == "working"
        await discovery.close()

    run_virtual(main())


def test_sources_start_side_by_side() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        discovery = Discovery([Fake(str(n), start_takes=0.2) for n in range(5)], lambda _: None)
        await discovery.start(announcement())
        assert loop.time() < 0.25
        assert {s.status for s in discovery.states().values()} == {"working"}
        await discovery.close()

    run_virtual(main())


def test_start_does_not_wait_for_a_slow_source_which_goes_on_starting() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        slow = Fake("slow", start_takes=10.0)
        discovery = Discovery([slow, Fake("quick")], lambda _: None)
        await discovery.start(announcement())
        assert loop.time() <= START_WAIT + 0.01
        assert discovery.states()["slow"].status == "idle"
        await asyncio.sleep(10)
        assert discovery.states()["slow"].status == "working"
        await discovery.close()

    run_virtual(main())


def test_close_cancels_a_source_that_is_still_starting() -> None:
    async def main() -> None:
        hung = Fake(start_takes=1e6)
        discovery = Discovery([hung], lambda _: None)
        await discovery.start(announcement())
        await discovery.close()
        assert hung.cancelled
        assert hung.closes == 1

    run_virtual(main())


def test_close_takes_a_second_at_most_and_says_which_source_did_not_close(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stuck = Fake("stuck", close_takes=1e6)
        good = Fake("good")
        discovery = Discovery([stuck, good], lambda _: None)
        await discovery.start(announcement())
        before = loop.time()
        await discovery.close()
        assert loop.time() - before <= 1.0
        assert good.state.status == "closed"
        assert ["stuck" in r.getMessage() for r in caplog.records] == [True]

    run_virtual(main())


def test_close_ends_in_time_even_if_a_source_ignores_its_cancellation() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stuck = Fake(close_takes=5.0, stubborn=True)
        discovery = Discovery([stuck], lambda _: None)
        await discovery.start(announcement())
        before = loop.time()
        await discovery.close()
        assert loop.time() - before <= 1.0
        await asyncio.sleep(10)

    run_virtual(main())


def test_a_source_that_raises_in_close_does_not_keep_the_others_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        bad, good = Fake("bad", raises=OSError("x")), Fake("good")
        discovery = Discovery([bad, good], lambda _: None)
        await discovery.start(announcement())
        caplog.set_level(logging.ERROR)
        caplog.clear()
        await discovery.close()
        assert good.state.status == "closed"
        assert [r.getMessage() for r in caplog.records] == ["source bad failed to close"]

    run_virtual(main())


def test_close_is_idempotent_also_at_once_and_before_start() -> None:
    async def main() -> None:
        source = Fake(close_takes=0.2)
        discovery = Discovery([source], lambda _: None)
        await asyncio.gather(discovery.close(), discovery.close())
        assert source.state.status == "closed"
        await discovery.close()
        assert source.closes == 1
        with pytest.raises(RuntimeError, match="make a new one"):
            await discovery.start(announcement())

    run_virtual(main())


def test_a_second_start_is_refused() -> None:
    async def main() -> None:
        discovery = Discovery([], lambda _: None)
        await discovery.start(announcement())
        with pytest.raises(RuntimeError, match="make a new one"):
            await discovery.start(announcement())
        await discovery.close()

    run_virtual(main())


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        Discovery([Fake("a"), Fake("a")], lambda _: None)
