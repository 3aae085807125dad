"""Laws of reading and writing `host:port`."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery import format_address, parse_address
from discovery.address import MAX_ADDRESS

ports = st.integers(1, 65_535)
labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(st.one_of(st.ip_addresses().map(str), names), ports)
def test_what_is_formatted_is_read_back(host: str, port: int) -> None:
    assert parse_address(format_address(host, port)) == (host, port)


@given(st.ip_addresses(v=6), ports)
def test_all_spellings_of_an_ipv6_address_are_one(
    address: ipaddress.IPv6Address, port: int
) -> None:
    assert parse_address(f"[{address.exploded.upper()}]:{port}") == (str(address), port)


@given(st.text(max_size=MAX_ADDRESS))
def test_any_text_is_read_or_refused_with_a_value_error_that_quotes_it(text: str) -> None:
    try:
        host, port = parse_address(text)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = repr(text.strip())
        assert parse_address(format_address(host, port)) == (host, port)
    assert repr(text.strip()) in refusal


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no port"),
        ("calc", "has no port"),
        ("calc:", "has no port"),
        ("[::1]", "has no port"),
        (":5000", "has no host"),
        ("calc:0", "outside 1..65535"),
        ("calc:65536", "outside 1..65535"),
        ("calc:" + "9" * 200, "outside 1..65535"),
        ("calc:" + "9" * 5000, "no address is that long"),
        ("calc:http", "is not a number"),
        ("calc:-1", "is not a number"),
        ("calc:\uff15000", "is not a number"),
        ("::1:5000", "in brackets"),
        ("[calc]:5000", "is not an IPv6 address"),
        ("[1.2.3.4]:5000", "is not an IPv6 address"),
        ("[::1:5000", "brackets hold an IPv6 address"),
        ("[::1]x:5000", "brackets hold an IPv6 address"),
        ("[fe80::1%a]b]:5000", "is not an interface name"),
        ("256.0.0.1:5000", "is not an IPv4 address"),
        ("1.2.3:5000", "is not an IPv4 address"),
        ("*:5000", "neither a host name nor an IP address"),
        ("two words:5000", "neither a host name nor an IP address"),
        ("-calc:5000", "neither a host name nor an IP address"),
        ("a..b:5000", "neither a host name nor an IP address"),
        ("tcp://calc:5000", "leave out tcp://"),
    ],
)
def test_a_bad_address_is_refused_with_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace(".", r"\.")):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (" calc:5000\n", "calc"),
        ("calc.example.:5000", "calc.example."),
        ("my_service:5000", "my_service"),
        ("[fe80::1%eth0]:5000", "fe80::1%eth0"),
    ],
)
def test_unusual_addresses_that_work_are_read(text: str, host: str) -> None:
    assert parse_address(text) == (host, 5000)
