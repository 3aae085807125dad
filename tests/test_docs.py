"""``docs/architecture.md`` against the code: the names it uses, the constants it states, the tests.

And the counters that ``docs/groupcast.md`` lists, which programs look for by name; and the limits
of ``docs/limits.md``.

Surprise: an attribute that only ``__init__`` makes is found in the class's ``__slots__`` or
annotations, or not at all; the page then names the method that matters instead.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
GROUPCAST = (ROOT / "docs/groupcast.md").read_text(encoding="utf-8")
LIMITS = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
PACKAGES = ("discovery", "mesh", "patterns")

UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "s": 1, "ms": 1}


def spans() -> list[str]:
    """What stands between backticks, fenced blocks excepted."""
    text = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    return sorted(set(re.findall(r"`([^`\n]+)`", text)))


def dotted_names() -> list[str]:
    return [s for s in spans() if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", s)]


def class_names() -> list[str]:
    """`Class` and `Class.attribute`, where the page leaves out the module."""
    found = [s for s in spans() if re.fullmatch(r"[A-Z][a-z]\w*(\.\w+)?", s)]
    return [name for name in found if name not in ("None", "True", "False")]


def constants() -> list[tuple[str, str]]:
    return re.findall(r"^\| `([\w.]+\.[A-Z_]+)` \| ([^|]+) \|", PAGE, flags=re.MULTILINE)


def limits() -> list[tuple[str, str]]:
    return re.findall(r"^\| [^|]+ \| `([\w.]+)` \| ([^|]+) \|", LIMITS, flags=re.MULTILINE)


def named_tests() -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def resolve(name: str) -> Any:
    """The object with this dotted name. Raises LookupError when there is none."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        module = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # a dependency is missing: that is not the page's fault
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                raise LookupError(f"{name}: {found!r} has no {part!r}")
            found = getattr(found, part)
        return found
    raise LookupError(name)


def all_modules() -> list[ModuleType]:
    names = [
        info.name
        for package in PACKAGES
        for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        if not info.name.endswith(".__main__")
    ]
    return [importlib.import_module(name) for name in (*PACKAGES, *names)]


@pytest.fixture(scope="module")
def classes() -> dict[str, list[type]]:
    """Every class of the packages by its name."""
    found: dict[str, list[type]] = {}
    for module in all_modules():
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                found.setdefault(name, []).append(value)
    return found


def test_the_page_names_code() -> None:
    assert len(dotted_names()) > 30
    assert len(class_names()) > 60
    assert len(constants()) > 30
    assert len(named_tests()) > 10


@pytest.mark.parametrize("name", dotted_names())
def test_a_dotted_name_is_there(name: str) -> None:
    resolve(name)


@pytest.mark.parametrize("name", class_names())
def test_a_class_and_its_attribute_are_there(name: str, classes: dict[str, list[type]]) -> None:
    class_name, _, attribute = name.partition(".")
    assert class_name in classes, f"no class {class_name}"
    if attribute:
        owners = classes[class_name]
        assert any(
            hasattr(owner, attribute) or attribute in owner.__annotations__ for owner in owners
        ), f"{class_name} has no {attribute}"


@pytest.mark.parametrize(("name", "stated"), constants())
def test_a_constant_has_the_stated_value(name: str, stated: str) -> None:
    number, _, unit = stated.strip().partition(" ")
    assert resolve(name) == pytest.approx(float(number) * UNITS[unit])


def test_the_page_on_limits_lists_all_kinds() -> None:
    assert len(limits()) > 100
    assert LIMITS.count("\n| ") == len(limits()) + LIMITS.count("\n| What |")
    assert len({name for name, _ in limits()}) == len(limits())


@pytest.mark.parametrize(("name", "stated"), limits())
def test_a_limit_has_the_stated_value(name: str, stated: str) -> None:
    number, _, unit = stated.strip().partition(" ")
    assert resolve(name) == pytest.approx(float(number) * UNITS[unit])


def test_what_the_page_on_limits_names_is_there() -> None:
    paths = re.findall(r"`((?:tests|docs)/[\w./]+)`", LIMITS)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    sources = "".join(
        path.read_text(encoding="utf-8") for p in PACKAGES for path in (ROOT / p).rglob("*.py")
    )
    counters = LIMITS.partition("how often: ")[2].partition(" and others")[0]
    assert all(f'"{name}"' in sources for name in re.findall(r"`(\w+)`", counters))


@pytest.mark.parametrize(("path", "name"), named_tests())
def test_a_named_test_is_there(path: str, name: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", source, flags=re.MULTILINE), f"{path}::{name}"


def test_each_path_is_there() -> None:
    paths = [s.partition("::")[0] for s in spans() if re.match(r"(tests|docs|benchmarks)/", s)]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def counters() -> list[str]:
    """The names in the first column of the table of counters."""
    table = GROUPCAST.partition("| counter |")[2]
    return re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|([^|]+)\|", table, flags=re.MULTILINE)))


def test_the_page_on_groupcast_lists_counters() -> None:
    assert len(counters()) > 8


@pytest.mark.parametrize("name", counters())
def test_a_listed_counter_is_counted(name: str) -> None:
    sources = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in sources)


@pytest.mark.parametrize(
    "name", ["mesh.engine.nothing", "mesh.no_module", "patterns.rpc.RpcClient.missing"]
)
def test_a_name_that_is_not_there_is_found_out(name: str) -> None:
    with pytest.raises(LookupError):
        resolve(name)
