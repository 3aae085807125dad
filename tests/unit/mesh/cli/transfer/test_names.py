"""File names that strangers choose."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cli.transfer.names import MAX_NAME_BYTES, names_like, part_name, safe_name


@given(st.text(max_size=300))
def test_whatever_it_is_it_is_one_name_in_one_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert safe.isprintable()
    assert not safe.startswith((".", " "))
    assert not set(safe) & set('/\\\0<>:"|?*')
    assert len(safe.encode()) <= MAX_NAME_BYTES
    assert safe_name(safe) == safe
    assert len(part_name(safe).encode()) <= 255
    assert len(list(islice(names_like(safe), 1000))[-1].encode()) <= 255


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("film.mkv", "film.mkv"),
        ("grüße 1.txt", "grüße 1.txt"),
        ("../../etc/passwd", "passwd"),
        ("c:\\windows\\win.ini", "win.ini"),
        (".bashrc", "bashrc"),
        (".a.txt.part", "a.txt.part"),
        ("..", "file"),
        ("", "file"),
        ("a/", "file"),
        ("\x1b[2J", "_[2J"),
        ("cod\u202egpj.exe", "cod_gpj.exe"),
        ("x" * 300 + ".gz", "x" * 197 + ".gz"),
    ],
)
def test_names_that_lead_somewhere(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_files_of_one_name_are_numbered_before_the_suffix() -> None:
    assert list(islice(names_like("a.tar"), 3)) == ["a.tar", "a (1).tar", "a (2).tar"]
    assert list(islice(names_like("a"), 2)) == ["a", "a (1)"]
