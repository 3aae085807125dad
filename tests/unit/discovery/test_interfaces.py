"""Which interfaces a mesh uses, and how others' addresses are ordered."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

import pytest

from discovery.interfaces import Interface, all_interfaces, check_wanted, choose


def interface(name: str, *addresses: str, **how: Any) -> Interface:
    return Interface(name, 1, tuple(map(ip_interface, addresses or ("10.0.0.2/24",))), **how)


@pytest.mark.parametrize("name", ["eth0", "enp3s0", "wlan0", "br0", "en0", "Ethernet", "bond0"])
def test_what_people_plug_cables_into_is_used(name: str) -> None:
    assert choose([interface(name)]).used == (interface(name),)


@pytest.mark.parametrize(
    ("name", "how", "reason"),
    [
        ("docker0", {}, "containers"),
        ("br-3f2a9c11d0e4", {}, "containers"),
        ("veth12ab", {}, "containers"),
        ("virbr0", {}, "containers"),
        ("tun0", {}, "point-to-point"),
        ("wg0", {}, "point-to-point"),
        ("tailscale0", {}, "point-to-point"),
        ("modem", {"is_point_to_point": True}, "point-to-point"),
        ("eth0", {"is_up": False}, "down"),
        ("eth0", {"has_carrier": False}, "no carrier"),
    ],
)
def test_what_leads_nowhere_is_skipped_for_a_reason(
    name: str, how: dict[str, Any], reason: str
) -> None:
    choice = choose([interface(name, **how)])
    assert choice.used == ()
    [(skipped, why)] = choice.skipped
    assert skipped == name
    assert reason in why
    assert choice.explain() == f"{name}: {why}"


def test_loopback_is_neither_used_nor_worth_a_word() -> None:
    choice = choose([interface("lo", "127.0.0.1/8", is_loopback=True)])
    assert choice == choose([])


@pytest.mark.parametrize("wanted", ["tun0", "tu*", "10.8.0.1", "10.8.0.0/16", "fd08::/32"])
def test_what_was_asked_for_is_used_whatever_it_is_and_nothing_else(wanted: str) -> None:
    asked, other = interface("tun0", "10.8.0.1/24", "fd08::1/64"), interface("eth0")
    choice = choose([asked, other], [wanted])
    assert choice.used == (asked,)
    assert choice.skipped == (("eth0", "it was not asked for"),)


def test_what_was_asked_for_and_is_not_there_is_named() -> None:
    assert choose([], ["eth7"]).skipped == (("eth7", "no interface is, or has, that"),)


@pytest.mark.parametrize("wanted", ["eth0", [""], [" eth0"], [7], ["10.0.0.0/99"], ["1.2.3"]])
def test_nonsense_is_refused(wanted: Any) -> None:
    with pytest.raises(ValueError, match=r"interface|address"):
        check_wanted(wanted)


def test_hosts_are_ipv4_first_and_link_local_ones_only_if_wanted() -> None:
    choice = choose([interface("eth0", "fe80::1/64", "10.0.0.2/24", "fd00::2/64")])
    assert choice.hosts() == ["10.0.0.2", "fd00::2"]
    assert choice.hosts(link_local=True) == ["10.0.0.2", "fd00::2", "fe80::1"]


def test_addresses_of_ones_own_networks_go_first() -> None:
    choice = choose([interface("eth0", "10.0.0.2/24", "fd00::2/64")])
    far, near = ("192.168.1.1:1", "calc:1"), ("10.0.0.7:1", "[fd00::7]:1", "[fe80::7%eth0]:1")
    assert choice.nearest_first((*far, *near)) == (*near, *far)


def test_this_machine_has_a_loopback_interface_that_is_known_as_such() -> None:
    loopbacks = [one for one in all_interfaces() if one.is_loopback]
    assert ["127.0.0.1" in one.ipv4 for one in loopbacks] == [True]
