"""The power fails: what the program has not had synced is gone, and nothing that was promised is.

A shim between SQLite and the C library keeps, of each file, what it was at its last sync, and each
name until its folder was synced after it was removed. That is what a disk is left with at worst; a
program that is merely killed has the kernel finish its writes.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.mesh.stores.test_sqlite import PUTTER, check_what_is_left

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char removed[16][4096];
static int removals;

/* Names that were removed are gone once their folder is synced. */
static void forget(void) {
    char copy[8192];
    while (removals > 0) {
        snprintf(copy, sizeof copy, "%s/%s", getenv("SYNCED"), removed[--removals]);
        remove(copy);
    }
}

/* Copy a file as it is now to where what was synced is kept; whole, in place of the last copy. */
static void keep(int fd) {
    char link[64], path[4096], copy[8192], part[8200], buffer[65536];
    const char *folder = getenv("SYNCED"), *name;
    ssize_t size, length;
    off_t at = 0;
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        forget();
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (folder == NULL || length < 0) return;
    path[length] = 0;
    name = strrchr(path, '/') + 1;
    if (strncmp(name, "jobs.db", 7) != 0) return;
    snprintf(copy, sizeof copy, "%s/%s", folder, name);
    snprintf(part, sizeof part, "%s.part", copy);
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    while ((size = pread(fd, buffer, sizeof buffer, at)) > 0) {
        if (write(out, buffer, size) != size) abort();
        at += size;
    }
    close(out);
    rename(part, copy);
}

int unlink(const char *path) {
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    const char *slash = strrchr(path, '/');
    if (removals < 16) snprintf(removed[removals++], 4096, "%s", slash ? slash + 1 : path);
    return real(path);
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    keep(fd);
    return result;
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    keep(fd);
    return result;
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None or not sys.platform.startswith("linux"):
        pytest.skip("the shim between SQLite and the C library takes a C compiler, and Linux")
    folder = tmp_path_factory.mktemp("shim")
    source, shim = folder / "synced.c", folder / "synced.so"
    source.write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    return shim


@pytest.mark.parametrize("lines", [3, 90, 600])
def test_a_power_failure_loses_nothing_that_was_told_to_be_stored(
    tmp_path: Path, shim: Path, lines: int
) -> None:
    synced = tmp_path / "synced"
    synced.mkdir()
    environment = {"LD_PRELOAD": str(shim), "SYNCED": str(synced), "PYTHONPATH": str(Path.cwd())}
    said: dict[str, set[int]] = {"put": set(), "gone": set()}
    with subprocess.Popen(
        [sys.executable, "-c", PUTTER, str(tmp_path / "jobs.db")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as putter:
        assert putter.stdout is not None
        begun = [putter.stdout.readline() for _ in range(lines)]
        putter.send_signal(signal.SIGKILL)
        for line in (*begun, *putter.stdout.read().splitlines()):
            what, _, number = line.partition(" ")
            if number.strip():
                said[what].add(int(number))
    check_what_is_left(synced / "jobs.db", said)
