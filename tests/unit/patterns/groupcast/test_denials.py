"""Members that deny a group to this node."""

from __future__ import annotations

from patterns.groupcast.denials import MAX_TEXT, Denials


class Member:
    id = b""
    outstanding = 0
    peer = None


A, B = Member(), Member()


def test_who_denies_a_group_is_none_of_its_members_until_it_is_forgotten() -> None:
    denials = Denials()
    assert denials.others("g", (A, B)) == (A, B)
    assert denials.error("g") is None
    denials.add("g", A, "rule", "text")
    assert denials.others("g", (A, B)) == (B,)
    assert denials.others("h", (A, B)) == (A, B)
    error = denials.error("g")
    assert error is not None
    assert (str(error), error.rule) == ("text", "rule")
    assert not denials.forget(B)
    assert denials.forget(A)
    assert denials.others("g", (A, B)) == (A, B)
    assert denials.error("g") is None
    assert not denials._by_pool


def test_what_is_kept_of_a_peers_words_is_bounded() -> None:
    denials = Denials()
    denials.add("g", A, "r" * 9999, "t" * 9999)
    error = denials.error("g")
    assert error is not None
    assert (len(error.rule), len(str(error))) == (MAX_TEXT, MAX_TEXT)
