"""One run of a program: its ends, what it leaves, and what it writes. Real programs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.working.program import KEPT_ERROR_BYTES, Ending, Limits, Program
from tests.net.processes import until, until_async

WITHIN = 10.0


async def ended(
    text: str,
    *,
    body: bytes = b"",
    keep: int | None = None,
    limits: Limits = Limits(),  # noqa: B008  it cannot be changed
    then: Callable[[Program], Any] | None = None,
) -> Ending:
    told: list[bytes] = []
    program = Program(
        ["sh", "-c", text], dict(os.environ), body, limits, keep=keep, tell=told.append
    )
    try:
        if then is not None:
            await until_async(lambda: told, WITHIN)
            then(program)
        ending = await asyncio.wait_for(asyncio.shield(program.ended), WITHIN)
    finally:
        if not program.ended.done():
            program.kill("a test has failed")
    assert b"".join(told)[-KEPT_ERROR_BYTES:] == ending.said
    return ending


def run(text: str, **how: Any) -> Ending:
    before = sorted(os.listdir("/proc/self/fd"))

    async def main() -> Ending:
        return await ended(text, **how)

    ending = asyncio.run(main())
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):  # there is no child any more, and no zombie
        os.waitpid(-1, os.WNOHANG)
    return ending


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_reads_a_large_body_and_its_output_is_kept() -> None:
    ending = run("cat; echo note >&2; exit 3", body=b"x" * 1_000_000, keep=1_000_000)
    assert ending == Ending(3, b"x" * 1_000_000, b"note\n", "")


def test_one_that_does_not_read_its_body_is_no_trouble() -> None:
    assert run("exit 0", body=b"x" * 1_000_000).code == 0


def test_more_output_than_may_be_is_none() -> None:
    assert run("head -c 200001 /dev/zero", keep=200_000).output is None


def test_of_what_it_says_the_end_is_kept() -> None:
    ending = run("head -c 100000 /dev/zero | tr '\\0' a; echo the end")
    assert len(ending.said) == KEPT_ERROR_BYTES
    assert ending.said.endswith(b"athe end\n")


def test_the_soft_limit_lets_it_end_itself() -> None:
    ending = run("trap 'exit 7' TERM; sleep 30 & wait", limits=Limits(soft=0.1))
    assert ending.code == 7
    assert "--soft-limit" in ending.was_ended


def test_the_hard_limit_ends_one_that_ignores_sigterm() -> None:
    ending = run("trap '' TERM; sleep 30 & wait; sleep 30", limits=Limits(soft=0.05, hard=0.2))
    assert ending.code == -signal.SIGKILL
    assert "--hard-limit" in ending.was_ended


def test_after_the_grace_it_is_killed() -> None:
    ending = run(
        "trap '' TERM; echo here; while true; do sleep 0.05; done",
        limits=Limits(grace=0.1),
        then=lambda program: program.end("lost"),
    )
    assert (ending.code, ending.was_ended) == (-signal.SIGKILL, "lost")


def test_what_it_started_ends_with_it() -> None:
    ending = run("sleep 30 & echo $!")
    assert ending.code == 0
    until(lambda: not is_running(int(ending.said)), WITHIN)


def test_signals_reach_all_of_its_group_and_not_ours() -> None:
    ending = run("ps -o pgid= -p $$; echo $$; ps -o pgid= -p $PPID")
    its, pid, ours = map(int, ending.said.split())
    assert its == pid != ours
