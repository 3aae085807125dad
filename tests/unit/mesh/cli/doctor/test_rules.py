"""From facts to findings: what is concluded, and how grave it is, case by case."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from discovery import Candidate
from discovery.multicast import Multicast
from mesh.cli.doctor.asking import seen_in
from mesh.cli.doctor.diagnose import MOST_OF_A_CODE, diagnose
from mesh.cli.doctor.facts import (
    Adapter,
    Facts,
    Focus,
    Machine,
    Member,
    Other,
    Own,
    Seen,
    Source,
    Tried,
    View,
)
from mesh.cli.doctor.findings import GRAVITIES, Finding, graver_first, listed

ROOT = Path(__file__).parents[5]

ETH0 = Adapter("eth0", ("10.0.0.1/24", "fe80::1/64"))
HEARD = Multicast("eth0", 4, own_copy=True, heard=("10.0.0.9",), answered=("10.0.0.9",))
MACHINE = Machine((ETH0,), multicast=(HEARD,), descriptors=30, descriptor_limit=4096)
OWN = Own(
    "f" * 32, "lab", "0.1.0", 1, "c0ffee", ("10.0.0.1:5000",), sources=(Source("mdns", "working"),)
)
LINKED = Seen("alive", True, hears_us=True, is_heard=True)


def id_of(name: str) -> str:
    return name.encode().hex().ljust(32, "0")


def member(name: str, *sees: str, view: dict[str, Any] | None = None, **other: Any) -> Member:
    """One that sees those as linked."""
    told = View(version="0.1.0", peers={id_of(peer): LINKED for peer in sees})
    address = f"10.0.0.{ord(name[0])}:5000"
    made = Member(
        id_of(name), name, address, instance=id_of(name), view=replace(told, **view or {})
    )
    return replace(made, **other)


def other(*results: str, **fields: Any) -> Other:
    """A node that was heard of and is not linked; TCP met that at its addresses."""
    addresses = tuple(f"10.0.0.{50 + n}:5000" for n in range(max(1, len(results))))
    tried = tuple(Tried(a, r) for a, r in zip(addresses, results, strict=False))  # type: ignore[arg-type]
    return Other(id_of("x"), addresses=addresses, mesh="lab", tried=tried, **fields)


def facts(*members: Member, machine: Machine = MACHINE, own: Own = OWN, **rest: Any) -> Facts:
    return Facts(machine, own, members, **rest)


def pair() -> tuple[Member, Member]:
    return member("a", "b"), member("b", "a")


def grave(found: Any) -> dict[str, str]:
    """The codes that are more than a note."""
    return {f.code: f.gravity for f in diagnose(found) if f.gravity in ("problem", "warning")}


def codes(found: Any) -> dict[str, str]:
    return {f.code: f.gravity for f in diagnose(found)}


def the(found: Any, code: str) -> Finding:
    return next(finding for finding in diagnose(found) if finding.code == code)


def test_where_all_is_well_there_is_no_problem_and_what_was_looked_at_is_told() -> None:
    assert codes(facts(*pair())) == {"linked": "ok", "interfaces": "ok", "multicast": "ok"}
    told = the(facts(*pair()), "linked").what
    assert told == "mesh 'lab': 2 nodes linked with us, and each with each, version 0.1.0"


def test_the_gravest_stands_first_and_others_keep_their_order() -> None:
    found = [Finding(str(n), GRAVITIES[n % 4], "") for n in range(8)]
    assert [f.code for f in graver_first(found)] == list("04152637")


def test_a_long_list_is_cut_and_counted() -> None:
    assert listed("abcdef") == "a, b, c, d and 2 more"
    assert listed("aba") == "a, b"


# Nodes that are not linked.


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (other("refused"), {"not-listening": "warning"}),
        (other("refused", is_wanted=True), {"not-listening": "problem"}),
        (other("refused", state="failed"), {}),
        (other("timeout"), {"blocked": "problem"}),
        (other("timeout", reaches_us=True), {"blocked-one-way": "problem"}),
        (other("timeout", "refused"), {"blocked": "problem"}),
        (other("timeout", state="failed"), {"lost": "warning"}),
        (other("unreachable"), {"no-route": "problem"}),
        (other("unreachable", state="failed", is_wanted=True), {"lost": "problem"}),
        (other("silent"), {"stopped": "problem"}),
        (other("silent", "timeout", state="failed"), {"stopped": "problem"}),
        (other("alien"), {"not-a-node": "warning"}),
        (other("closed"), {"not-a-node": "warning"}),
        (other("keyed"), {"behind-the-door": "problem"}),
        (other("keyed", answers_us=True), {"blocked-to-us": "problem"}),
        (other("alive"), {"key-only-here": "problem"}),
        (other("timeout", cause="refused-full"), {"refused-full": "problem"}),
        (other(cause="refused-revoked", text="n1 is revoked"), {"refused": "problem"}),
        (other(cause="other-key", fingerprint="beef"), {"other-key": "problem"}),
        (other(cause="refused-key"), {"other-key": "problem"}),
        (other(cause="key-only-there"), {"key-only-there": "problem"}),
        (other(cause="key-only-here"), {"key-only-here": "problem"}),
        (other(cause="other-protocol", protocol=9), {"other-protocol": "problem"}),
        (other(cause="refused-protocol"), {"other-protocol": "problem"}),
        (other(cause="other-mesh"), {}),
        (other(cause="refused-mesh"), {"other-mesh": "problem"}),
        (other(cause="other-mesh", is_wanted=True), {"other-mesh": "problem"}),
        (other(), {}),
    ],
)
def test_why_a_node_is_not_linked(heard: Other, expected: dict[str, str]) -> None:
    assert grave(facts(*pair(), others=(heard,))) == expected


def test_without_a_key_a_door_says_that_one_is_needed_and_zeromq_that_python_is_blocked() -> None:
    own = replace(OWN, fingerprint="")
    assert grave(facts(*pair(), own=own, others=(other("keyed"),))) == {"key-only-there": "problem"}
    assert grave(facts(*pair(), own=own, others=(other("alive"),))) == {"not-answering": "problem"}


def test_a_finding_names_addresses_and_who_told_of_them() -> None:
    told = the(facts(*pair(), others=(other("timeout", by=("mdns", "b/62"), name="x"),)), "blocked")
    assert told.what == (
        "no packet comes back from 10.0.0.50:5000 (x/78000000, told by mdns, b/62)"
    )
    assert told.nodes == (id_of("x"),)
    assert told.addresses == ("10.0.0.50:5000",)
    assert told.line.count("\n") == 0


def test_two_keys_are_told_by_their_fingerprints() -> None:
    heard = other(cause="other-key", fingerprint="beef")
    told = the(facts(others=(heard,)), "other-key")
    assert told.why == "its fingerprint is beef, that of ours c0ffee"


def test_other_meshes_are_a_problem_where_nobody_of_ours_is() -> None:
    heard = replace(other(cause="other-mesh"), mesh="red")
    assert grave(facts(others=(heard,))) == {"other-mesh": "problem", "alone": "problem"}
    ours = other("timeout")
    assert grave(facts(others=(heard, replace(ours, id=id_of("y"))))) == {
        "blocked": "problem",
        "alone": "problem",
    }


def test_of_many_alike_the_first_are_told_and_the_others_counted() -> None:
    heard = [
        replace(other("timeout"), id=f"{n:032x}", addresses=(f"10.0.1.{n}:5000",))
        for n in range(60)
    ]
    found = [f for f in diagnose(facts(*pair(), others=tuple(heard))) if f.code == "blocked"]
    assert len(found) == MOST_OF_A_CODE + 1
    assert found[-1].what == f"{60 - MOST_OF_A_CODE} more like that"
    assert {id for f in found for id in f.nodes} == {one.id for one in heard}
    few = tuple(heard[: MOST_OF_A_CODE + 1])
    assert "more" not in diagnose(facts(*pair(), others=few))[MOST_OF_A_CODE].what


# Members.


def test_one_way_and_apart_are_seen_by_comparing_two_views() -> None:
    half = Seen("alive", False, hears_us=True)
    blind = member("a", view={"peers": {id_of("b"): half}})
    assert grave(facts(blind, member("b", "a"))) == {"one-way": "problem"}
    told = the(facts(blind, member("b", "a")), "one-way")
    assert told.what.startswith("b/62000000 lists a/61000000 as linked")
    assert told.why == "a/61000000 sees b/62000000 as alive, not linked both ways"
    assert grave(facts(member("a"), member("b"))) == {"apart": "problem"}
    assert "each with each" not in the(facts(member("a"), member("b")), "linked").what


@pytest.mark.parametrize("state", ["suspect", "failed", "left", "unknown"])
def test_one_that_is_seen_in_doubt_is_not_seen(state: str) -> None:
    doubted = member("a", view={"peers": {id_of("b"): Seen(state, True)}})
    assert grave(facts(doubted, member("b", "a"))) == {"one-way": "problem"}


def test_who_did_not_tell_is_not_judged() -> None:
    silent = member("a", view=None, why_no_view="denied")
    silent = replace(silent, view=None)
    assert codes(facts(silent, member("b", "a")))["not-inspected"] == "note"
    assert "problem" not in codes(facts(silent, member("b", "a"))).values()
    shut = replace(silent, why_no_view="calls")
    assert grave(facts(shut, member("b", "a"))) == {"calls-blocked": "problem"}
    late = replace(silent, why_no_view="silent")
    assert codes(facts(late, member("b", "a")))["not-inspected"] == "warning"


@pytest.mark.parametrize("state", ["unresponsive", "suspect"])
def test_a_member_in_doubt_is_a_problem(state: str) -> None:
    doubted = replace(member("a"), state=state, view=None)
    assert grave(facts(doubted, member("b", "a"))) == {state: "problem"}


def test_two_nodes_with_one_instance_are_a_problem_and_observers_are_not() -> None:
    same = [replace(one, instance="one") for one in pair()]
    assert grave(facts(*same)) == {"same-instance": "problem"}
    looking = [same[0], replace(same[1], is_observer=True)]
    assert grave(facts(*looking)) == {}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ({"version": "0.2.0"}, {"versions-differ": "warning"}),
        ({"clock": 1.5}, {}),
        ({"clock": 3.0, "doubt": 1.5}, {}),
        ({"clock": -3.0}, {"clocks-differ": "warning"}),
        ({"clock": 400.0}, {"clocks-differ": "problem"}),
        ({"status": "degraded", "reasons": ("busy",)}, {"degraded": "warning"}),
        ({"status": "isolated"}, {"isolated": "warning"}),
        ({"descriptors": 90, "descriptor_limit": 100}, {"descriptors-used-up": "warning"}),
        ({"descriptors": 9, "descriptor_limit": 100}, {}),
    ],
)
def test_what_sets_a_member_apart(view: dict[str, Any], expected: dict[str, str]) -> None:
    assert grave(facts(member("a", "b", view=view), member("b", "a"))) == expected


def test_nobody_is_a_problem_and_says_who_was_asked() -> None:
    assert grave(facts()) == {"alone": "problem"}
    assert the(facts(), "alone").why == "none was heard of by mdns"
    watching = replace(member("a"), is_observer=True)
    assert grave(facts(watching)) == {"alone": "problem"}


# This machine.


def reports(*found: Multicast, **more: Any) -> Machine:
    return replace(MACHINE, multicast=found, **more)


SENT = Multicast("eth0", 4, own_copy=True)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (reports(Multicast("eth0", 4, "Operation not permitted")), {"multicast-fails": "warning"}),
        (reports(Multicast("eth0", 4)), {"multicast-blocked-here": "warning"}),
        (reports(replace(SENT, answered=("10.0.0.9",))), {"multicast-not-heard": "warning"}),
        (reports(SENT), {"multicast-filtered": "warning"}),
        (reports(HEARD, Multicast("eth0", 6)), {"multicast-half": "note", "multicast": "ok"}),
        (reports(mdns_trouble="in use", mdns_holder="x"), {"mdns-port-taken": "problem"}),
        (reports(HEARD, missing=("eth9",)), {"interface-missing": "problem", "multicast": "ok"}),
        (reports(HEARD, descriptor_limit=256), {"few-descriptors": "warning", "multicast": "ok"}),
    ],
)
def test_what_is_wrong_with_this_machine(machine: Machine, expected: dict[str, str]) -> None:
    found = codes(facts(*pair(), machine=machine))
    assert found == {"linked": "ok", "interfaces": "ok"} | expected


def test_silence_is_no_proof_until_somebody_is_there_to_be_heard() -> None:
    silent = reports(SENT)
    assert codes(facts(machine=silent))["multicast-silent"] == "note"
    far = replace(pair()[0], address="192.168.7.7:5000")
    assert codes(facts(far, machine=silent))["multicast-silent"] == "note"
    for result, expected in (("refused", "silent"), ("timeout", "silent"), ("alive", "filtered")):
        heard = other(result, answers_us=True)
        assert f"multicast-{expected}" in codes(facts(machine=silent, others=(heard,))), result
    mute = member("a", view={"uses_mdns": False})
    assert codes(facts(mute, machine=silent))["multicast-silent"] == "note"
    asked_for = Focus.of(pair()[0].address)
    found = facts(*pair(), machine=silent, focus=asked_for)
    assert codes(found)["multicast-filtered"] == "problem"
    by_node = replace(OWN, heard_by_mdns=(pair()[0].address,))
    assert "multicast-filtered" not in codes(facts(*pair(), machine=silent, own=by_node))


def test_who_is_heard_on_an_interface_that_is_not_used_is_searched_on_the_wrong_one() -> None:
    node = Candidate(("10.9.0.7:5000",), "mdns", id_of("x"), "lab", 1, "c0ffee")
    wlan0 = Adapter("wlan0", ("10.9.0.1/24",), "it was not asked for")
    heard = Multicast("wlan0", 4, answered=("10.9.0.7",), nodes=(node,))
    machine = reports(HEARD, heard, adapters=(ETH0, wlan0))
    told = the(facts(machine=machine), "wrong-interface")
    assert (told.gravity, told.nodes) == ("problem", (id_of("x"),))
    assert "--interface wlan0" in told.do
    linked = member("x")
    assert "wrong-interface" not in codes(facts(linked, machine=machine))
    strange = replace(heard, nodes=(replace(node, mesh="red"),))
    machine = reports(HEARD, strange, adapters=(ETH0, wlan0))
    assert "wrong-interface" not in codes(facts(machine=machine))


def test_without_a_network_the_reasons_are_told() -> None:
    down = Machine((Adapter("eth0", (), "it is down"),))
    told = the(facts(machine=down), "no-network")
    assert told.why == "eth0: it is down"
    lonely = replace(OWN, is_loopback_only=True)
    assert codes(facts(*pair(), machine=Machine(), own=lonely)) == {
        "this-machine-only": "note",
        "linked": "ok",
    }


def test_a_node_that_cannot_start_is_told_and_the_mesh_is_not_called_empty() -> None:
    found = codes(facts(own=replace(OWN, trouble="address in use")))
    assert found["cannot-start"] == "problem"
    assert "alone" not in found


def test_a_failing_source_is_told_once() -> None:
    failing = (Source("mdns", "failing", "no port"), Source("dns", "failing", "no such name"))
    own = replace(OWN, sources=failing)
    machine = replace(MACHINE, mdns_trouble="taken")
    told = [
        f for f in diagnose(facts(*pair(), own=own, machine=machine)) if f.code == "source-fails"
    ]
    assert [f.why for f in told] == ["no such name"]


# One node that is asked for.


@pytest.mark.parametrize("word", ["a", "61000000", "a/61000000", "10.0.0.97:5000", "10.0.0.97"])
def test_one_that_is_linked_is_told_to_be_seen_by_any_of_its_names(word: str) -> None:
    found = facts(*pair(), focus=Focus.of(word))
    assert the(found, "seen").nodes == (id_of("a"),)
    assert "unknown" not in codes(found)


def test_what_is_about_others_is_left_out() -> None:
    heard = replace(other("timeout"), id=id_of("y"), addresses=("10.0.0.77:5000",))
    found = facts(*pair(), others=(other("silent"), heard), focus=Focus.of("78000000"))
    assert codes(found) == {"stopped": "problem"}
    assert grave(replace(found, machine=reports(SENT)))["multicast-filtered"] == "warning"


def test_one_that_is_unknown_says_who_it_may_be() -> None:
    found = facts(*pair(), others=(other("timeout"),), focus=Focus.of("calc"))
    assert codes(found)["unknown"] == "problem"
    assert "node 78000000 at 10.0.0.50:5000" in the(found, "unknown").why


def test_an_address_behind_a_name_is_meant_by_the_name() -> None:
    focus = replace(Focus.of("calc.example:5000"), resolved=("10.0.0.97:5000",))
    assert "seen" in codes(facts(*pair(), focus=focus))
    assert Focus.of("calc.example:5000").is_address
    assert not Focus.of("calc").is_address
    assert Focus.of("[fd00::1]").host == "fd00::1"


def test_what_was_not_looked_at_is_told_also_for_one() -> None:
    found = facts(*pair(), unchecked=("3 addresses",), focus=Focus.of("a"))
    assert the(found, "unchecked").what == "not looked at: 3 addresses"


# The page.


def in_source() -> set[str]:
    """The codes of all findings: the first argument wherever one is made."""
    folder = ROOT / "mesh/cli/doctor"
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    made = set(re.findall(r'(?:Finding|_finding)\(\s*"([a-z-]+)"', source))
    assert len(made) > 25
    return made | {"isolated", "degraded"}


def test_every_finding_is_on_the_page_and_the_page_has_no_others() -> None:
    page = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    tables = page.partition("## The findings")[2]
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+)", tables, flags=re.MULTILINE)
    assert {code for code, _ in rows} == in_source()
    assert {gravity for _, gravity in rows} <= set(GRAVITIES)


def test_ids_that_are_none_are_left_out_of_what_a_member_tells() -> None:
    """Another node may send anything, and what is no id can stand for nobody."""
    good = id_of("calc")
    told = [{"id": id, "state": "failed"} for id in (good, "zz" * 16, "", "ab", good.upper(), 5)]
    assert list(seen_in(told)) == [good]


def test_a_mesh_that_is_cut_in_two_halves_is_told_at_once() -> None:
    """Each pair across the cut is a finding: 16,384 of them, all told in fewer."""
    halves = [[f"{number:032x}" for number in range(start, 256, 2)] for start in (0, 1)]
    members = tuple(
        Member(id, "calc", "10.0.0.2:5000", view=View(peers=dict.fromkeys(half, LINKED)))
        for half in halves
        for id in half
    )
    began_at = time.process_time()
    found = diagnose(Facts(MACHINE, OWN, members))
    assert time.process_time() - began_at < 3.0
    assert [f.code for f in found].count("apart") == MOST_OF_A_CODE + 1
