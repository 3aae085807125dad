"""An authority, invites, revocations and identities from the command line."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mesh
from discovery import parse_address
from mesh.cli.durations import parse_duration, spelled
from mesh.cli.places import authority_folder, identity_path
from mesh.invites import Code
from mesh.invites.exchange import Request
from mesh.security.authority import Authority
from mesh.security.boxes import new_secret, public_of
from mesh.security.identity_file import IdentityFile
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import Script, until
from tests.net.test_cli import is_one_line

__all__ = ["inside", "without_multicast"]

START = 60.0
CODE = r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def operator(inside: Inside, mesh_name: str) -> IdentityFile:
    """An authority is there, and its machine's identity."""
    done = inside("ca", "init", "--name", "desk", "--role", "operator")
    assert done.code == 0, done.err
    return IdentityFile.load(identity_path(mesh_name))


Start = Callable[..., Script]


@pytest.fixture
def start(mesh_name: str, home: Path) -> Iterator[Start]:
    """Starts ``meshctl`` on a machine with this configuration; it is ended with the test."""
    started: list[Script] = []

    def start(*words: str, config: Path = home, **environment: str) -> Script:
        given = {"XDG_CONFIG_HOME": str(config), "MESH_CONFIG": "/dev/null"} | environment
        started.append(Script(["-u", "-m", "mesh.cli", *words], given))
        return started[-1]

    yield start
    for script in started:
        script.end()


def invite(start: Start, mesh_name: str, *words: str) -> tuple[Script, str]:
    """An invite that waits on loopback, and CODE@ADDRESS."""
    script = start("--mesh", mesh_name, "invite", *words, "--host", "127.0.0.1")
    found = until(
        lambda: re.search(rf"meshctl join ({CODE}@\S+)", script.errors) or script.process.poll(),
        START,
        "the invite",
    )
    assert isinstance(found, re.Match), script.errors
    return script, found[1]


def output(script: Script, code: int = 0) -> str:
    assert script.wait(START) == code, script.errors
    assert script.process.stdout is not None
    return script.process.stdout.read()


# The authority


def test_init_makes_an_authority_and_an_identity(
    inside: Inside, mesh_name: str, home: Path
) -> None:
    done = inside("ca", "init", "--name", "desk", "--role", "operator", "--json")
    assert done.code == 0, done.err
    told = done.json
    authority = Authority.open(authority_folder(mesh_name))
    own = IdentityFile.load(home / "mesh" / f"{mesh_name}.identity")
    assert told["folder"] == str(home / "mesh" / "ca" / mesh_name)
    assert told["identity"] == str(own.path)
    assert (told["mesh"], told["name"]) == (mesh_name, "desk")
    assert own.authority == authority.public
    assert own.key == authority.key
    assert own.key.startswith("mesh1-")
    assert own.identity.roles == {"operator"}
    shown = inside("identity", "--json").json
    assert (shown["name"], shown["authority"]) == ("desk", told["authority"])


def test_init_says_what_to_back_up_and_what_comes_next(inside: Inside, mesh_name: str) -> None:
    done = inside("ca", "init")
    assert done.code == 0
    folder = authority_folder(mesh_name)
    assert f"authority of the mesh {mesh_name}: {folder}\n" in done.out
    assert f"back up {folder}" in done.err
    assert f"export MESH_IDENTITY={identity_path(mesh_name)}\n" in done.err
    assert "invite NAME" in done.err
    assert Authority.open(folder).key not in done.out + done.err


def test_a_second_init_leaves_the_first_as_it_is(
    inside: Inside, operator: IdentityFile, mesh_name: str, tmp_path: Path
) -> None:
    done = inside("ca", "init")
    assert done.code == 1
    assert is_one_line(done.err)
    assert "exists already" in done.err
    done = inside("ca", "init", "--identity", str(tmp_path / "new"))
    assert done.code == 2
    assert "has an authority already" in done.err
    assert not (tmp_path / "new").exists()
    assert IdentityFile.load(identity_path(mesh_name)) == operator


@pytest.mark.parametrize(
    ("words", "environment", "key"),
    [
        (["--key", "some words"], {}, "some words"),
        ([], {"MESH_KEY": "other words"}, "other words"),
    ],
)
def test_a_mesh_that_has_a_key_keeps_it(
    inside: Inside,
    mesh_name: str,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    environment: dict[str, str],
    key: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert inside("ca", "init", *words).code == 0
    assert Authority.open(authority_folder(mesh_name)).key == key


@pytest.mark.parametrize(
    "words",
    [
        ("ca",),
        ("ca", "init", "--name", "no good"),
        ("ca", "init", "--role", "no good"),
        ("ca", "init", "--mesh", "no good"),
        ("ca", "init", "--key", "mesh1-cut"),
        ("ca", "list"),
        ("revoke", "calc"),
        ("revoke", "no good"),
        ("invite", "calc"),
        ("invite", "no good"),
        ("invite", "calc", "--role", "no good"),
        ("invite", "calc", "--within", "5y"),
        ("invite", "calc", "--within", "0"),
        ("invite", "calc", "--days", "0"),
        ("join", "7Q3D-0XKM-V94T", "--interface", ""),
        ("identity",),
        ("identity", "/dev/null"),
        ("join", "no code"),
        ("join", "7Q3D-0XKM-V94T", "--at", "nowhere"),
        ("join", "7Q3D-0XKM-V94T@nowhere"),
        ("join", "7Q3D-0XKM-V94T", "--identity", "/dev/null"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_and_makes_nothing(
    inside: Inside, words: tuple[str, ...], home: Path
) -> None:
    done = inside(*words)
    assert (done.code, done.out) == (2, "")
    assert words == ("ca",) or is_one_line(done.err), done.err
    assert [path for path in home.rglob("*") if path.is_file()] == []


# Letting a machine in


def test_a_machine_is_let_in(
    inside: Inside, operator: IdentityFile, start: Start, mesh_name: str, tmp_path: Path
) -> None:
    inviter, code = invite(start, mesh_name, "pi", "--role", "sensor", "--days", "30")
    there = tmp_path / "there"
    joined = output(start("join", code, config=there))
    path = there / "mesh" / f"{mesh_name}.identity"
    assert joined.startswith(f"joined the mesh {mesh_name} as pi with the roles sensor, until ")
    assert f"export MESH_IDENTITY={path}\n" in joined
    assert f'mesh.Node("pi", identity="{path}")' in joined
    bare = code.partition("@")[0]
    lines = output(inviter).splitlines()
    assert lines[:2] == [bare, f"meshctl join {bare}"]
    made = IdentityFile.load(path)
    assert lines[2].startswith(f"pi has joined: certificate {made.certificate.serial.hex()}, ")
    assert len(lines) == 3
    assert (made.key, made.authority) == (operator.key, operator.authority)
    assert made.node_secret not in Path(operator.path or "").read_bytes()
    assert made.certificate.not_after - made.certificate.not_before == 30 * 86_400
    listed = inside("ca", "list", "--json").json
    assert [(one["name"], one["state"]) for one in listed] == [("desk", "valid"), ("pi", "valid")]


def test_machines_with_identities_meet(
    inside: Inside, operator: IdentityFile, start: Start, mesh_name: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _, code = invite(start, mesh_name, "pi")
    there = tmp_path / "pi.identity"
    output(start("join", code, "--identity", str(there)))
    monkeypatch.delenv("MESH_NAME")
    with mesh.Node("pi", identity=there, host="127.0.0.1", discovery=("local",)) as node:
        assert node.mesh == mesh_name
        for words, variable in (
            (("--identity", str(operator.path)), ""),
            ((), str(operator.path)),
        ):
            monkeypatch.setenv("MESH_IDENTITY", variable)
            (peer,) = inside("peers", "--host", "127.0.0.1", *words, "--json").json
            assert peer["id"] == node.id


def test_a_code_may_come_from_stdin_and_what_is_told_be_json(
    operator: IdentityFile, start: Start, mesh_name: str, tmp_path: Path
) -> None:
    inviter = start("--mesh", mesh_name, "invite", "pi", "--json", "--host", "127.0.0.1")
    assert inviter.process.stdout is not None
    told = json.loads(inviter.process.stdout.readline())
    assert told["command"] == f"meshctl join {told['code']}"
    (address,) = told["addresses"]
    joining = start("join", "-", "--at", address, "--json", config=tmp_path / "there")
    assert joining.process.stdin is not None
    joining.process.stdin.write(told["code"].lower() + "\n")
    joining.process.stdin.flush()
    document = json.loads(output(joining))
    made = IdentityFile.load(document["identity"])
    assert (document["name"], document["mesh"], document["state"]) == ("pi", mesh_name, "valid")
    assert json.loads(output(inviter)) == {
        "joined": "pi",
        "serial": made.certificate.serial.hex(),
        "until": document["not_after"][:10],
    }


def test_on_a_machine_with_another_identity_it_is_saved_beside_it(
    operator: IdentityFile, start: Start, mesh_name: str, home: Path
) -> None:
    for renewed in (False, True):
        inviter, code = invite(start, mesh_name, "pi")
        assert ("pi has 1 valid certificate already" in inviter.errors) == renewed
        joined = output(start("join", code))
        assert f"{home}/mesh/{mesh_name}-pi.identity" in joined
    assert operator.path is not None
    assert IdentityFile.load(operator.path) == operator


def test_an_invite_that_nobody_uses_fails(inside: Inside, operator: IdentityFile) -> None:
    done = inside("invite", "pi", "--within", "0.2s", "--host", "127.0.0.1")
    assert done.code == 1
    assert re.fullmatch(rf"({CODE})\nmeshctl join \1\n", done.out)
    assert done.err.splitlines()[-1] == "meshctl: nobody used the code within 0.2 s"
    assert len(inside("ca", "list", "--json").json) == 1


def test_a_machine_that_does_not_say_that_it_saved_is_told(
    operator: IdentityFile, start: Start, mesh_name: str
) -> None:
    inviter, code = invite(start, mesh_name, "pi", "--within", "4s")
    text, _, address = code.partition("@")
    secret = new_secret()
    request = Request(bytes(16), public_of(secret)).pack(Code.parse(text).key)
    with socket.create_connection(parse_address(address), 5) as connection:
        connection.sendall(len(request).to_bytes(4) + request)
        assert connection.recv(4)
    output(inviter, 1)
    assert "did not say that it saved it" in inviter.errors
    assert "'meshctl revoke pi'" in inviter.errors


def test_wrong_codes_are_told(
    inside: Inside, operator: IdentityFile, start: Start, mesh_name: str
) -> None:
    inviter, code = invite(start, mesh_name, "pi")
    address = code.partition("@")[2]
    done = inside("join", f"0000-0000-0000@{address}")
    assert (done.code, done.out) == (1, "")
    assert done.err == "meshctl: the code is wrong, or of another invite\n"
    assert inside("join", code).code == 0
    output(inviter)
    assert "meshctl: 1 request came with a wrong code: " in inviter.errors


def test_ctrl_c_ends_an_invite(operator: IdentityFile, start: Start, mesh_name: str) -> None:
    inviter, code = invite(start, mesh_name, "pi")
    inviter.signal(signal.SIGINT)
    output(inviter, 130)
    inviter.check()
    joining = start("join", code, "--timeout", "0.5")
    output(joining, 1)
    assert "Connection refused" in joining.errors


def test_nobody_there_is_told_with_what_to_do(inside: Inside) -> None:
    done = inside("join", "7Q3D-0XKM-V94T", "--timeout", "0.5")
    assert done.code == 1
    assert is_one_line(done.err)
    assert "--at HOST:PORT" in done.err


# Revoking, and looking


def test_a_name_is_revoked(
    inside: Inside, operator: IdentityFile, mesh_name: str, tmp_path: Path
) -> None:
    authority = Authority.open(authority_folder(mesh_name))
    lost = authority.issue("pi", bytes(32))
    alone = ("--host", "127.0.0.1", "--timeout", "0.2")
    done = inside("revoke", "pi", *alone)
    assert (done.code, done.err) == (0, "meshctl: 0 nodes told\n")
    assert done.out == "revoked pi; version 1 of the list has 1 certificate\n"
    again = inside("revoke", "pi", "--json", *alone).json
    serials = [lost.serial.hex()]
    assert again == {"name": "pi", "version": 1, "serials": serials, "told": 0, "left": []}
    assert operator.path is not None
    own = IdentityFile.load(operator.path)
    assert own.revocations == authority.revocations()
    states = {one["name"]: one["state"] for one in inside("ca", "list", "--json").json}
    assert states == {"desk": "valid", "pi": "revoked"}
    shown = inside("ca", "list").out.splitlines()
    assert shown[0].split() == ["NAME", "STATE", "EXPIRES", "ROLES", "SERIAL"]
    assert "revoked" in shown[2]


def test_who_revokes_itself_is_told(inside: Inside, operator: IdentityFile) -> None:
    done = inside("revoke", "desk")
    assert done.code == 0
    assert "own identity, is revoked now" in done.err
    assert "nobody who knows lets this machine in" in inside("identity").err
    done = inside("peers", "--identity", str(operator.path))
    assert done.code == 2
    assert "is revoked" in done.err


def test_a_name_that_nobody_has_is_not_revoked(inside: Inside, operator: IdentityFile) -> None:
    done = inside("revoke", "pi")
    assert done.code == 2
    assert "meshctl ca list" in done.err


def test_an_identity_of_another_authority_is_left_alone(
    inside: Inside, operator: IdentityFile, mesh_name: str
) -> None:
    folder = authority_folder(mesh_name)
    folder.rename(folder.with_name("old"))
    Authority.create(folder, mesh_name).issue("pi", bytes(32))
    assert "another authority" in inside("revoke", "pi").err
    assert operator.path is not None
    assert IdentityFile.load(operator.path) == operator


def test_an_identity_is_shown_in_a_table(
    inside: Inside, operator: IdentityFile, mesh_name: str
) -> None:
    header, row = inside("identity", str(operator.path)).out.splitlines()
    assert header.split() == ["NAME", "STATE", "EXPIRES", "ROLES", "SERIAL", "MESH", "AUTHORITY"]
    assert row.split()[:2] == ["desk", "valid"]
    assert row.split()[4:6] == [operator.certificate.serial.hex(), mesh_name]


def test_an_identity_with_something_else_is_refused(inside: Inside, operator: IdentityFile) -> None:
    own = ("--identity", str(operator.path))
    done = inside("peers", *own, "--key", "words")
    assert done.code == 2
    assert done.err.startswith("meshctl: --identity and a key are both given")
    done = inside("peers", *own, "--mesh", "elsewhere")
    assert done.code == 2
    assert "'elsewhere' is given, too" in done.err


def test_an_identity_goes_before_the_profile(
    inside: Inside, operator: IdentityFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('default_profile = "a"\n[profile.a]\nmesh = "other"\nkey = "words"\n')
    monkeypatch.setenv("MESH_CONFIG", str(config))
    monkeypatch.delenv("MESH_NAME")
    done = inside("peers", "--identity", str(operator.path), "--timeout", "0")
    assert done.code == 0, done.err
    assert f"in the mesh {operator.mesh!r}" in done.err
    monkeypatch.setenv("MESH_IDENTITY", str(operator.path))
    assert inside("peers", "--timeout", "0").code == 0
    assert len(inside("ca", "list", "--json").json) == 1


def test_names_to_revoke_are_completed(operator: IdentityFile, mesh_name: str, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from mesh.cli import main; main()"],
        env={
            "PATH": "",
            "XDG_CONFIG_HOME": str(home),
            "_MESHCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": f"meshctl --mesh {mesh_name} revoke d",
            "COMP_CWORD": "4",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=START,
    )
    assert done.stdout == "plain,desk\n", done.stderr


# Times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), (" 10M ", 600), ("2h", 7200), ("1d", 86_400)],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text, 86_400) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1", "0", "2d", "nan", "inf", "1e9", "10 min", "s5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="90s, 10m or 2h"):
        parse_duration(text, 86_400)


def test_a_time_is_spelled() -> None:
    said = [spelled(seconds) for seconds in (0.5, 90, 120, 7200, 86_400)]
    assert said == ["0.5 s", "90 s", "2 min", "2 h", "1 d"]
