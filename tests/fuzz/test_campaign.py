"""Every decoder under mutated inputs: those that are kept, and some thousand new ones.

Long form: ``-m slow`` here, or ``python -m tests.fuzz.campaign --inputs 10000000``; an input that
fails is told as hex, with how to repeat it, and belongs into ``tests/fuzz/corpus``.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from mesh.wire.frames import BadFrame
from tests.fuzz.campaign import CORPUS, TARGETS, Failure, Fuzzer, Target, corpus, load, save

SHORT_INPUTS = 2000
SHORT_COSTLY_INPUTS = 500
LONG_INPUTS = 250_000
SEED = 20_240

by_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What is refused is logged, a thousand times."""
    caplog.set_level(logging.CRITICAL)


def inputs_for(target: Target, count: int, costly: int) -> int:
    return costly if target.is_costly else count


@by_target
def test_what_is_kept_and_some_thousand_new_inputs_break_no_law(target: Target) -> None:
    fuzzer = Fuzzer(target, SEED)
    fuzzer.replay()
    report = fuzzer.run(inputs_for(target, SHORT_INPUTS, SHORT_COSTLY_INPUTS))
    assert report.endings > 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@by_target
def test_a_long_campaign_breaks_no_law(target: Target) -> None:
    Fuzzer(target, time.time_ns()).run(inputs_for(target, LONG_INPUTS, LONG_INPUTS // 10))


def test_every_kept_input_belongs_to_a_target() -> None:
    assert {path.stem for path in CORPUS.glob("*")} <= {target.name for target in TARGETS}


def test_names_are_given_once() -> None:
    assert len({target.name for target in TARGETS}) == len(TARGETS)


# The fuzzer itself.


def refusing(data: bytes) -> object:
    if data[:1] != b"o":
        raise BadFrame("no")
    return data


def fuzz(target: Target, count: int = 3000) -> Failure:
    with pytest.raises(Failure) as caught:
        Fuzzer(target, 1).run(count)
    return caught.value


def test_the_same_seed_gives_the_same_inputs() -> None:
    seen: list[list[bytes]] = []
    for seed in (1, 1, 2):
        inputs: list[bytes] = []
        seen.append(inputs)

        def decode(data: bytes, inputs: list[bytes] = inputs) -> object:
            inputs.append(data)
            return refusing(data)

        Fuzzer(Target("same", decode, (b"ok",)), seed).run(500)
    assert seen[0] == seen[1] != seen[2]


def test_another_error_than_the_allowed_ones_is_found() -> None:
    failure = fuzz(Target("careless", lambda data: data[1], (b"ok",)))
    assert "IndexError" in str(failure)
    assert len(failure.data) < 2


def test_a_valid_input_that_is_refused_is_found() -> None:
    assert "a valid input is refused" in str(fuzz(Target("strict", refusing, (b"no",))))


def test_a_result_that_breaks_the_law_is_found() -> None:
    def law(data: bytes, result: object) -> None:
        assert b"\xff" not in data

    assert "a law is broken" in str(fuzz(Target("lawless", refusing, (b"ok",), law=law)))


def test_a_slow_input_is_found() -> None:
    def decode(data: bytes) -> object:
        if len(data) > 20:
            sum(range(8_000_000))
        return data

    assert "of CPU time" in str(fuzz(Target("slow", decode, (b"ok",))))


def test_an_input_that_never_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.campaign.fuzzer.HANG_SECONDS", 0.2)

    def decode(data: bytes) -> object:
        while len(data) > 20:
            pass
        return data

    assert "does not end" in str(fuzz(Target("endless", decode, (b"ok",))))


def test_an_input_that_takes_much_memory_is_found() -> None:
    kept: list[bytes] = []

    def decode(data: bytes) -> object:
        kept.append(bytes(2**20) + data)
        return data

    failure = fuzz(Target("greedy", decode, (b"ok",)))
    assert "the process has grown" in str(failure)


def test_a_refusal_that_carries_the_input_into_the_log_is_found() -> None:
    def decode(data: bytes) -> object:
        raise BadFrame(data.decode("latin-1"))

    target = Target("loud", lambda data: refusing(data) and decode(data), (), (BadFrame,))
    with pytest.raises(Failure, match="no text for a log"):
        Fuzzer(target, 1)._judge(b"o" * 2000)
    with pytest.raises(Failure, match="no text for a log"):
        Fuzzer(target, 1)._judge(b"o\n2024-01-01 all is well")


def test_a_new_kind_of_ending_makes_an_input_one_to_mutate() -> None:
    """Four bytes that must be guessed one after the other: no chance without it."""

    def decode(data: bytes) -> object:
        for at, byte in enumerate(b"deep"):
            if data[at : at + 1] != bytes([byte]):
                raise BadFrame("no") from (ValueError, TypeError, KeyError, OSError)[at]()
        raise RuntimeError("found")

    target = Target("nested", decode, ())
    fuzzer = Fuzzer(target, 1)
    fuzzer._judge(b"____")
    with pytest.raises(Failure, match="found"):
        fuzzer.run(200_000)


def test_what_is_saved_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    save("some", b"\x00\xff", "it did\nno good")
    save("some", b"", "nothing at all")
    save("some", b"\x01", "#")
    assert load("some") == [b"\x00\xff", b"\x01"]
    assert load("other") == []
