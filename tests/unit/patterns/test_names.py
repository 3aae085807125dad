"""Names and subjects: what is accepted, what is refused, and that a refusal says why."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patterns.errors import BadName, MeshError
from patterns.names import (
    EVERYONE,
    check_name,
    check_pattern,
    check_subject,
    group_of,
    group_subject,
    split_method,
)

names = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
tokens = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Z"]), min_size=1).filter(
    lambda token: not set(token) & set(".*>") and token != "_mesh"
)
subjects = st.lists(tokens, min_size=1, max_size=32).map(".".join)


@given(names)
def test_a_name_of_the_allowed_characters_is_returned_as_it_is(name: str) -> None:
    assert check_name("service", name) == name


@given(st.text(max_size=70))
@example("a\n")
@example("é")
@example("٣")
def test_a_name_is_accepted_exactly_if_every_character_and_the_length_are(name: str) -> None:
    is_valid = re.fullmatch(r"[A-Za-z0-9_\-]{1,64}", name) is not None
    try:
        assert check_name("group", name) == name
    except BadName:
        assert not is_valid
    else:
        assert is_valid


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "empty"),
        ("x" * 65, "65 characters"),
        ("a.b", "'.' is not allowed"),
        ("a b", "' ' is not allowed"),
        (None, "NoneType"),
        (b"calc", "bytes"),
    ],
)
def test_a_bad_name_is_told_what_is_wrong_and_what_is_allowed(name: object, fault: str) -> None:
    with pytest.raises(BadName) as caught:
        check_name("service", name)
    message = str(caught.value)
    assert fault in message
    assert message.startswith("bad service name")
    assert "1 to 64 of the characters A-Z a-z 0-9 _ -" in message


def test_a_bad_name_is_a_value_error_and_a_mesh_error() -> None:
    with pytest.raises(BadName) as caught:
        check_name("node", "")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, MeshError)


def test_an_error_message_stays_short_whatever_the_name() -> None:
    with pytest.raises(BadName) as caught:
        check_subject("\x00" * 1_000_000)
    assert len(str(caught.value)) < 300


@given(names, names)
def test_a_method_is_split_into_service_and_method(service: str, method: str) -> None:
    assert split_method(f"{service}.{method}") == (service, method)


@pytest.mark.parametrize("path", ["calc", "a.b.c", ".add", "calc.", ".", "", "ca lc.add", 7, None])
def test_a_method_path_without_exactly_two_names_is_refused(path: object) -> None:
    with pytest.raises(BadName):
        split_method(path)


@given(subjects)
def test_a_subject_of_plain_tokens_is_accepted_within_255_bytes(subject: str) -> None:
    if len(subject.encode()) <= 255:
        assert check_subject(subject) == subject
        assert check_pattern(subject) == subject
    else:
        with pytest.raises(BadName, match="255 bytes"):
            check_subject(subject)


def test_the_length_limit_counts_bytes_not_characters() -> None:
    assert check_subject("a" * 255)
    assert check_subject("é" * 127)
    for too_long in ("a" * 256, "é" * 128):
        with pytest.raises(BadName, match="255 bytes"):
            check_subject(too_long)


def test_the_token_limit_is_32() -> None:
    assert check_subject(".".join("a" * 32))
    with pytest.raises(BadName, match="33 tokens"):
        check_subject(".".join("a" * 33))


@pytest.mark.parametrize("check", [check_subject, check_pattern])
@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        ("", "empty"),
        (".a", "token is empty"),
        ("a.", "token is empty"),
        ("a..b", "token is empty"),
        (".", "token is empty"),
        ("a b", "white space"),
        ("a\tb", "white space"),
        ("a\n", "white space"),
        ("a\x00b", "control"),
        ("a\x7f", "control"),
        ("a\x85", "control"),
        ("a\u00a0b", "white space"),
        ("a\u2028b", "white space"),
        ("\ud800", "surrogate"),
        ("_mesh", "reserved"),
        ("_mesh.g.workers", "reserved"),
        (b"a.b", "bytes"),
        (None, "NoneType"),
        (["a"], "list"),
    ],
)
def test_what_no_subject_may_hold_is_refused_everywhere(check, subject, fault) -> None:
    with pytest.raises(BadName, match=fault):
        check(subject)


@pytest.mark.parametrize(
    "subject", ["_meshed.a", "a._mesh", "_Mesh.a", "mesh", "$SYS.a", "ünï.cødé"]
)
def test_only_the_exact_first_token_is_reserved(subject: str) -> None:
    assert check_subject(subject) == subject


@pytest.mark.parametrize("subject", ["*", ">", "a.*", "a.>", "a.*.b", "a*", "a.b>c"])
def test_a_published_subject_has_no_wildcard(subject: str) -> None:
    with pytest.raises(BadName, match="wildcards"):
        check_subject(subject)


@pytest.mark.parametrize("pattern", ["*", ">", "a.*", "a.>", "*.*.>", "a.*.b"])
def test_a_pattern_may_have_whole_token_wildcards(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("a*", "whole token"),
        ("a.b*c", "whole token"),
        ("**", "whole token"),
        (">>", "whole token"),
        ("a.x>", "whole token"),
        (">.a", "last token"),
        ("a.>.b", "last token"),
        ("_mesh.>", "reserved"),
        ("_mesh.*", "reserved"),
    ],
)
def test_a_misplaced_wildcard_is_refused(pattern: str, fault: str) -> None:
    with pytest.raises(BadName, match=fault):
        check_pattern(pattern)


@given(names | st.just(EVERYONE))
def test_a_group_is_found_again_in_its_subject(group: str) -> None:
    subject = group_subject(group)
    assert group_of(subject) == group
    with pytest.raises(BadName, match="reserved"):
        check_subject(subject)


def test_the_group_subjects_are_those_of_the_protocol() -> None:
    assert group_subject("workers") == "_mesh.g.workers"
    assert group_subject("all") == "_mesh.g.all"
    assert group_subject("*") == "_mesh.all"


@pytest.mark.parametrize("group", ["", "a.b", "**", ">", None, 3])
def test_a_bad_group_name_has_no_subject(group: object) -> None:
    with pytest.raises(BadName, match="group"):
        group_subject(group)


@pytest.mark.parametrize(
    "subject", ["", "_mesh", "_mesh.g", "_mesh.g.", "_mesh.g.a.b", "_mesh.g.*", "_mesh.x", "a.b"]
)
def test_other_subjects_belong_to_no_group(subject: str) -> None:
    assert group_of(subject) is None
