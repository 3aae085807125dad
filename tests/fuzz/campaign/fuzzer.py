"""``Fuzzer``: mutates the inputs of one target, runs it, judges what comes out.

An input that makes the decoder end in a new way (another line raised, another kind of result)
becomes one to mutate: coverage for the price of a look at the traceback. Time is judged fairly: an
input that was slow is tried again, and the least CPU time counts, so neither a busy machine nor a
garbage collection is taken for a hang. A real one is ended by a signal.
"""

from __future__ import annotations

import gc
import resource
import signal
import tracemalloc
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from time import perf_counter, process_time
from types import FrameType

from tests.fuzz.campaign.corpus import load
from tests.fuzz.campaign.mutator import Mutator
from tests.fuzz.campaign.target import MAX_TEXT, Target, place_of

__all__ = ["MAX_GROWTH_BYTES", "MAX_SECONDS", "Failure", "Fuzzer", "Report"]

MAX_SECONDS = 0.1
"""CPU time that an input of a few KiB may take."""

HANG_SECONDS = 20.0
"""CPU time after which a block of inputs is taken for a hang."""

BLOCK = 256
"""Inputs between looks at memory."""

MAX_CORPUS = 2000
"""Inputs that are mutated; a random one gives way to a new kind of ending."""

MAX_GROWTH_BYTES = 96 * 1024 * 1024
"""What the process may grow by in the whole run of a target: a lie may cost 12 MiB for a moment,
the inputs themselves are kept, and malloc gives nothing back."""


class Hung(BaseException):
    """Raised in a decoder that does not end."""


class Failure(AssertionError):
    """An input broke a law; ``data`` is that input."""

    def __init__(self, target: Target, data: bytes, what: str) -> None:
        super().__init__(f"{target.name}: {what}\n  input {data.hex()}")
        self.target = target
        self.data = data
        self.what = what


@dataclass
class Report:
    """What a run has done."""

    name: str
    inputs: int = 0
    taken: int = 0
    endings: int = 0
    """Different ways to end."""
    corpus: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    """Seconds, with everything that came in between."""
    slowest_input: bytes = b""
    grown_bytes: int = 0

    def __str__(self) -> str:
        rate = self.inputs / self.seconds if self.seconds else 0.0
        return (
            f"{self.name:24} {self.inputs:>11,} inputs {rate:>9,.0f}/s  {self.taken:>10,} taken "
            f"{self.endings:>5} endings  slowest {self.slowest * 1000:6.1f} ms "
            f"({len(self.slowest_input)} bytes)  +{self.grown_bytes / 2**20:.0f} MiB"
        )


class Fuzzer:
    """One target. The same seed gives the same inputs."""

    def __init__(self, target: Target, seed: int) -> None:
        self.target = target
        self.random = Random(f"{target.name} {seed}")
        self.report = Report(target.name)
        self._mutate = Mutator(self.random).mutate
        self._inputs: list[bytes] = []
        self._endings: set[Hashable] = set()
        self._started_at = _max_rss()

    def replay(self) -> None:
        """The seeds, which must be taken, and what is kept in the corpus."""
        for data in self.target.seeds:
            try:
                self.target.decode(data)
            except self.target.refuses as error:
                raise Failure(self.target, data, f"a valid input is refused: {error!r}") from error
            self._judge(data)
        for data in load(self.target.name):
            self._judge(data)

    def run(self, count: int) -> Report:
        """Judge ``count`` mutated inputs. Raises Failure."""
        report = self.report
        if not self._inputs:
            self.replay()
            self._started_at = _max_rss()
        began = perf_counter()
        left = count
        with _alarm() as arm:
            while left > 0:
                arm()
                self._run_block(min(BLOCK, left))
                left -= BLOCK
        report.seconds += perf_counter() - began
        report.endings, report.corpus = len(self._endings), len(self._inputs)
        report.grown_bytes = _max_rss() - self._started_at
        return report

    def _run_block(self, count: int) -> None:
        chance, mutate, judge = self.random.random, self._mutate, self._judge
        inputs, packed_at = self._inputs, self.target.packed_at
        before = _max_rss()
        done = []
        for _ in range(count):
            base = inputs[int(chance() * len(inputs))]
            other = inputs[int(chance() * len(inputs))]
            data = mutate(base, other, packed_at)
            done.append(data)
            judge(data)
        grown = _max_rss()
        if grown > before and grown - self._started_at > MAX_GROWTH_BYTES:
            worst, peak = self._hungriest(done)
            grown_mib = (grown - self._started_at) / 2**20
            raise Failure(
                self.target,
                worst,
                f"the process has grown by {grown_mib:.0f} MiB; this input took most in its block, "
                f"{peak / 2**20:.1f} MiB",
            )

    def _hungriest(self, done: list[bytes]) -> tuple[bytes, int]:
        peaks = []
        for data in done:
            tracemalloc.start()
            try:
                self._outcome(data)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
        peak = max(peaks)
        return done[peaks.index(peak)], peak

    def _judge(self, data: bytes) -> None:
        began = perf_counter()
        ending = self._outcome(data)
        seconds = perf_counter() - began
        report = self.report
        report.inputs += 1
        if seconds > report.slowest:
            if seconds > MAX_SECONDS and (least := self._least_seconds(data)) > MAX_SECONDS:
                raise Failure(self.target, data, f"it took {least:.2f} s of CPU time")
            report.slowest, report.slowest_input = seconds, data
        if ending not in self._endings:
            self._endings.add(ending)
            if len(self._inputs) < MAX_CORPUS:
                self._inputs.append(data)
            else:
                self._inputs[int(self.random.random() * MAX_CORPUS)] = data

    def _least_seconds(self, data: bytes) -> float:
        least = float("inf")
        for _ in range(3):
            gc.collect()
            began = process_time()
            self._outcome(data)
            least = min(least, process_time() - began)
        return least

    def _outcome(self, data: bytes) -> Hashable:
        """How the decoder ends, told apart from others. Raises Failure."""
        target = self.target
        try:
            result = target.decode(data)
        except target.refuses as error:
            text = str(error)
            if not target.is_own and (len(text) > MAX_TEXT or not text.isprintable()):
                raise Failure(target, data, f"no text for a log: {text[:2000]!r}") from error
            return place_of(error)
        except Hung:
            raise Failure(target, data, "it does not end") from None
        except BaseException as error:
            raise Failure(target, data, f"{type(error).__name__}: {error}"[:2000]) from error
        self.report.taken += 1
        try:
            shape = target.law(data, result)
        except AssertionError as error:
            raise Failure(target, data, f"a law is broken: {error}"[:2000]) from error
        except BaseException as error:
            raise Failure(target, data, f"in its law: {error!r}"[:2000]) from error
        return type(result), shape


def _max_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _alarm() -> Iterator[Callable[[], None]]:
    """Gives what starts the clock anew, which counts CPU time of this process."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGVTALRM, on_alarm)
    try:
        yield lambda: _set_timer(HANG_SECONDS)
    finally:
        _set_timer(0.0)
        signal.signal(signal.SIGVTALRM, before)


def _set_timer(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
