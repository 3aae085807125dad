"""Methods described for their callers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mesh
from mesh.inspection.describing import (
    MAX_DOC_CHARS,
    MAX_METHODS,
    MAX_PARAMETERS,
    MAX_TEXT_CHARS,
    describe_methods,
)
from mesh.wire.codec import Codec
from patterns.rpc import Method
from patterns.streams.method import STREAM_METHOD, StreamMethod


def method(name: str, function: Any, **options: Any) -> Method:
    made = Method(name, function, **{"concurrency": 4, "inline": False} | options)
    made.full_name = f"calc.{name}"
    return made


def described(function: Any, **options: Any) -> dict[str, Any]:
    (one,), left_out = describe_methods([method("work", function, **options)])
    assert left_out == 0
    return one


def test_a_signature_is_told_as_callers_see_it() -> None:
    def work(a: int, /, b: float = 2.5, *rest: str, c: bool, request: mesh.Request) -> str:
        """Work on it.

        With care.
        """
        return ""

    one = described(work)
    assert one["kind"] == "call"
    assert one["name"] == "calc.work"
    assert one["doc"] == "Work on it.\n\nWith care."
    assert one["returns"] == "str"
    assert one["runs"] == "thread"
    assert [tuple(p.values()) for p in one["parameters"]] == [
        ("a", "positional_only", "int", None),
        ("b", "positional_or_keyword", "float", "2.5"),
        ("rest", "var_positional", "str", None),
        ("c", "keyword_only", "bool", None),
    ], "the request is no argument of the caller"


def test_how_it_runs_and_answers_is_told() -> None:
    async def soon() -> None: ...

    def numbers(count: int = 3) -> Iterator[int]:
        yield from range(count)

    def nothing() -> None:
        """Ours, not the author's."""

    assert described(soon)["runs"] == "coroutine"
    assert described(print, inline=True)["runs"] == "loop"
    options = {"concurrency": 1, "serves_async": False, "window": 1 << 20}
    generator = StreamMethod("numbers", numbers, print, **options)
    stream = StreamMethod(STREAM_METHOD, nothing, print, **options)
    generator.full_name, stream.full_name = "calc.numbers", f"calc.{STREAM_METHOD}"
    one, two = describe_methods([generator, stream])[0][::-1]
    kinds = sorted((one["kind"], one["doc"], len(one["parameters"])) for one in (one, two))
    assert kinds == [("generator", "", 1), ("stream", "", 0)]


def test_texts_of_any_size_are_cut() -> None:
    def work(a: int = 0) -> None: ...

    work.__doc__ = "x" * 100_000
    work.__defaults__ = (10**100_000,)
    work.__annotations__ = {"a": "z" * 100_000}
    one = described(work)
    assert len(one["doc"]) == MAX_DOC_CHARS
    (parameter,) = one["parameters"]
    assert parameter["default"] == "…"
    assert len(parameter["annotation"]) == MAX_TEXT_CHARS
    assert parameter["default"].endswith("…")


def test_parameters_and_methods_beyond_the_bounds_are_counted() -> None:
    many: dict[str, Any] = {}
    exec(f"def work({', '.join(f'p{n}' for n in range(MAX_PARAMETERS + 5))}): ...", many)  # noqa: S102
    one = described(many["work"])
    assert len(one["parameters"]) == MAX_PARAMETERS
    assert one["parameters_left_out"] == 5
    methods = [method(f"m{n:04}", lambda: None) for n in range(MAX_METHODS + 3)]
    all_of_them, left_out = describe_methods(reversed(methods))
    assert (len(all_of_them), left_out) == (MAX_METHODS, 3)
    assert all_of_them[0]["name"] == "calc.m0000"


def test_a_default_that_may_be_a_secret_is_not_shown() -> None:
    def work(
        token: str = "s3cr3t",  # noqa: S107
        retries: int = 3,
        wait: float = 0.5,
        name: str = "",
        peer: str | None = None,
        options: Any = ("s3cr3t",),
    ) -> None: ...

    shown = [one["default"] for one in described(work)["parameters"]]
    assert shown == ["…", "3", "0.5", "''", "None", "…"]


def test_what_its_author_cannot_even_print_is_described_and_can_be_packed() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    @dataclass
    class Order:
        id: int

    def work(order: Order, rude: Any = Rude()) -> None:  # noqa: B008
        """Lone \ud800 surrogate."""

    one = described(work)
    assert one["parameters"][0]["annotation"] == "Order"
    assert one["parameters"][1]["default"] == "…"
    assert Codec().pack(one)
    (built_in,), _ = describe_methods([method("min", min)])
    assert built_in["parameters"], "without a signature it takes whatever comes"
