"""A job as a run of a program, and what its exit code makes of the job.

=========  ================================================================================
exit code  what becomes of the job
=========  ================================================================================
0          it is done
65, 100    it is dead: no other attempt helps (EX_DATAERR of sysexits.h; qmail's permanent)
75         it is tried again, however often that was (EX_TEMPFAIL)
other      it is tried again, as the policy says; so it is after a signal
=========  ================================================================================
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from mesh.cli import errors
from mesh.cli.configured import HEADER, is_of_job
from mesh.cli.values import parse_word, to_json
from mesh.cli.working.program import Ending, Limits, Program
from mesh.queues.specs import MAX_JOB_BYTES
from patterns.errors import MeshError
from patterns.queues.errors import LeaseLost
from patterns.queues.retry import Dead, Retry, RetryLater

if TYPE_CHECKING:
    from mesh.queues.held import HeldJob

__all__ = ["DEAD_CODES", "RETRY_CODE", "Performance", "Performer"]

DEAD_CODES = (65, 100)
RETRY_CODE = 75

TOUCHES = 3
"""In the time of one lease: two may be lost."""

MAX_REASON_LINES = 20
"""Of what the program said last: a traceback's end."""

_NO_NAME = re.compile("[^A-Z0-9_]")


@dataclass(frozen=True, slots=True)
class Performance:
    """How programs are run. ``touch_lease`` in seconds; None: leases are not touched."""

    command: Sequence[str]
    limits: Limits
    retry: Retry
    touch_lease: float | None
    is_raw: bool
    has_result: bool
    is_quiet: bool


class Performer:
    """The handler of the worker."""

    def __init__(self, options: Performance) -> None:
        self._options = options
        self._random = Random()  # noqa: S311  of pauses, not of secrets
        self._programs: set[Program] = set()
        self._is_over = False

    @property
    def running(self) -> int:
        """Programs that run."""
        return len(self._programs)

    def kill_all(self) -> None:
        """End all of them. Their jobs go back as the node closes, and not as failures."""
        self._is_over = True
        for program in self._programs:
            program.kill("its worker ends")

    async def wait_ended(self) -> None:
        """Until none runs."""
        while self._programs:
            await asyncio.wait([program.ended for program in self._programs])
            await asyncio.sleep(0)

    async def perform(self, job: HeldJob) -> Any:
        """Run the program for a job; returns its result. Raises what becomes of it."""
        program = self._start(job)
        self._programs.add(program)
        program.ended.add_done_callback(lambda _: self._programs.discard(program))
        lease = self._options.touch_lease
        touching = asyncio.ensure_future(_touch(job, lease)) if lease is not None else None
        try:
            ending = await asyncio.shield(program.ended)
        except asyncio.CancelledError:
            program.end("the job is not this worker's any more")
            await asyncio.shield(program.ended)
            raise
        finally:
            if touching is not None:
                touching.cancel()
        if self._is_over and ending.code != 0:
            await asyncio.get_running_loop().create_future()  # closing cancels this
        return self._result(ending, job)

    def _start(self, job: HeldJob) -> Program:
        options = self._options
        try:
            return Program(
                options.command,
                _environment(job),
                _body(job.data, is_raw=options.is_raw),
                options.limits,
                keep=MAX_JOB_BYTES if options.has_result else None,
                tell=_ignore if options.is_quiet else _tell,
            )
        except ValueError as error:  # what would be the same each time
            raise Dead(f"its key or a header cannot be in an environment: {error}") from None

    def _result(self, ending: Ending, job: HeldJob) -> Any:
        options = self._options
        if ending.code == 0:
            return _value(ending) if options.has_result else None
        reason = _reason(ending)
        retry = _for_ever(options.retry) if ending.code == RETRY_CODE else options.retry
        pause = retry.delay(MeshError(reason), job.attempts, self._random)
        if pause is None or ending.code in DEAD_CODES:
            raise Dead(reason)
        if not options.is_quiet:
            first = reason.partition("\n")[0].removesuffix(":")
            errors.note(
                f"job {job.id} of {job.queue!r}, attempt {job.attempts}: {first}; "
                f"tried again in {pause:.3g} s"
            )
        raise RetryLater(pause, reason)


def _for_ever(retry: Retry) -> Retry:
    return Retry(None, retry.base, retry.factor, retry.cap, retry.jitter)


async def _touch(job: HeldJob, lease: float) -> None:
    """For as long as the program runs."""
    while True:
        await asyncio.sleep(lease / TOUCHES)
        try:
            job.touch()
        except LeaseLost:
            return  # the handler is cancelled for that


def _body(data: Any, *, is_raw: bool) -> bytes:
    if is_raw and isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    text = data if is_raw and isinstance(data, str) else to_json(data)
    return text.encode(errors="surrogatepass")


def _environment(job: HeldJob) -> dict[str, str | bytes]:
    # What we are the worker of another queue by is nothing to our programs.
    environment: dict[str, str | bytes] = {
        name: value for name, value in os.environ.items() if not is_of_job(name)
    }
    for name, value in job.headers.items():
        environment[HEADER + _NO_NAME.sub("_", name.upper())] = value
    if job.key is not None:
        environment["MESH_JOB_KEY"] = job.key
    environment["MESH_JOB_ID"] = job.id
    environment["MESH_QUEUE"] = job.queue
    environment["MESH_ATTEMPTS"] = str(job.attempts)
    return environment


def _value(ending: Ending) -> Any:
    """JSON, or text, or bytes that are none; nothing is None. Raises Dead."""
    if ending.output is None:
        raise Dead(
            f"it is done, but its output has more than {MAX_JOB_BYTES} bytes: "
            "keep it elsewhere, and write where"
        )
    output = ending.output.removesuffix(b"\n")
    try:
        return parse_word(output.decode()) if output else None
    except UnicodeDecodeError:
        return ending.output


def _reason(ending: Ending) -> str:
    """ "exit code 3: no such address"."""
    if ending.code >= 0:
        how = f"exit code {ending.code}"
    else:
        try:
            how = f"ended by {signal.Signals(-ending.code).name}"
        except ValueError:
            how = f"ended by signal {-ending.code}"
    if ending.was_ended:
        how = f"{how}: {ending.was_ended}"
    said = ending.said.decode(errors="replace").replace("\0", "").strip()
    lines = said.splitlines()[-MAX_REASON_LINES:]
    return "\n".join([f"{how}:" if lines else how, *lines]) if len(lines) != 1 else f"{how}: {said}"


def _tell(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _ignore(data: bytes) -> None:
    """Quiet."""
