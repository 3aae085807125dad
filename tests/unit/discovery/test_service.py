"""Reading mDNS records that anyone on the network may have sent."""

from ipaddress import IPv6Address
from typing import Any

import pytest
from zeroconf import ServiceInfo

from discovery import Mdns
from discovery.service import SERVICE_TYPE, build_service, instance_name, parse_service
from tests.unit.discovery.helpers import announcement

ID = f"{1:032x}"
GOOD = {"id": ID, "mesh": "test", "v": "1", "fp": "ab"}


def service(hosts: list[str], port: int = 5001, **text: Any) -> ServiceInfo:
    properties = {key: value for key, value in (GOOD | text).items() if value is not None}
    return ServiceInfo(
        SERVICE_TYPE, instance_name(ID), port, parsed_addresses=hosts, properties=properties
    )


def test_what_is_built_is_read_back() -> None:
    made = announcement(hosts=("10.0.0.1", "2001:db8::1"), fingerprint="ab")
    read = parse_service(made.id, build_service(made, False), loopback_only=False)
    assert read == made.candidate("mdns")


@pytest.mark.parametrize(
    "text",
    [
        {"id": None},
        {"id": f"{2:032x}"},
        {"id": b"\xff" * 32},
        {"mesh": None},
        {"mesh": b"\xff"},
        {"mesh": "a\nb"},
        {"v": None},
        {"v": "one"},
        {"v": "-1"},
        {"v": "\uff19"},
        {"v": "9" * 200},
        {"fp": "x y"},
    ],
)
def test_a_wrong_text_field_is_refused(text: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_service(ID, service(["10.0.0.1"], **text), loopback_only=False)


def test_port_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="port"):
        parse_service(ID, service(["10.0.0.1"], port=0), loopback_only=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "224.0.0.251", "::", "ff02::fb", "fe80::1"])
def test_addresses_that_cannot_be_dialled_are_left_out(host: str) -> None:
    made = parse_service(ID, service([host, "10.0.0.1"]), loopback_only=False)
    assert made.addresses == ("10.0.0.1:5001",)
    with pytest.raises(ValueError, match="no host"):
        parse_service(ID, service([host]), loopback_only=False)


def test_a_node_on_loopback_only_is_told_loopback_addresses_only() -> None:
    made = parse_service(ID, service(["10.0.0.1", "127.0.0.1"]), loopback_only=True)
    assert made.addresses == ("127.0.0.1:5001",)
    with pytest.raises(ValueError, match="no host"):
        parse_service(ID, service(["10.0.0.1"]), loopback_only=True)


def test_loopback_is_never_announced_to_a_network_nor_the_network_on_loopback_only() -> None:
    made = announcement(hosts=("127.0.0.1", "10.0.0.1"))
    assert build_service(made, False).parsed_addresses() == ["10.0.0.1"]
    assert build_service(made, True).parsed_addresses() == ["127.0.0.1"]
    assert build_service(announcement(hosts=("10.0.0.1",)), True).parsed_addresses() == [
        "127.0.0.1"
    ]


def test_a_link_local_address_is_dialled_by_the_interface_that_it_came_by() -> None:
    made = service(["10.0.0.1"])
    made._ipv6_addresses = [IPv6Address("fe80::1%7")]
    read = parse_service(ID, made, loopback_only=False)
    assert read.addresses == ("10.0.0.1:5001", "[fe80::1%7]:5001")


def test_interfaces_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"neither an address nor a network"):
        Mdns(interfaces=["10.0.0.0/99"])
