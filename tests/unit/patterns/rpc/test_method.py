"""A function as a remote method: what fits, what is converted, what is filled in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from patterns.errors import BadRequest, ConfigError
from patterns.rpc import Method
from patterns.rpc.method import Request


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Line:
    start: Point
    end: Point | None = None


def method(function: Callable[..., Any], **options: Any) -> Method:
    return Method("m", function, **{"concurrency": 1, "inline": True, **options})


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    checked, named = method(function).check(list(args), kwargs)
    return function(*checked, **named)


def test_arguments_that_fit_are_passed_as_they_are() -> None:
    assert call(lambda a, b=2: (a, b), 1) == (1, 2)
    assert call(lambda a, b=2: (a, b), 1, b=3) == (1, 3)
    assert call(lambda *a, **k: (a, k), 1, 2, z=3) == ((1, 2), {"z": 3})


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        ((), {}, "a"),
        ((1, 2, 3), {}, "too many"),
        ((1,), {"c": 2}, "c"),
        ((1,), {"a": 2}, "a"),
    ],
)
def test_arguments_that_do_not_fit_are_a_bad_request_that_says_which(
    args: tuple[int, ...], kwargs: dict[str, int], named: str
) -> None:
    def function(a: int, b: int = 0) -> None: ...

    with pytest.raises(BadRequest, match=named):
        method(function).check(args, kwargs)


def test_a_required_keyword_only_argument_is_required() -> None:
    def function(a: int, *, k: int) -> int:
        return a + k

    assert call(function, 1, k=2) == 3
    with pytest.raises(BadRequest):
        method(function).check([1], {})


def test_types_are_not_enforced() -> None:
    def function(a: int) -> Any:
        return a

    assert call(function, "text") == "text"


def test_a_dataclass_is_built_from_its_map_with_those_inside() -> None:
    def function(line: Line) -> Line:
        return line

    assert call(function, {"start": {"x": 1}}) == Line(Point(1))
    assert call(function, line={"start": {"x": 1, "y": 2}}) == Line(Point(1, 2))
    assert call(function, Line(Point(3))) == Line(Point(3))


@pytest.mark.parametrize("value", [5, None, {}, {"x": 1, "z": 2}, {"x": 1, 5: 2}, []])
def test_a_map_that_does_not_fit_the_dataclass_is_a_bad_request(value: Any) -> None:
    def function(point: Point) -> None: ...

    with pytest.raises(BadRequest):
        method(function).check([value], {})


@pytest.mark.parametrize("position", ["first", "middle", "keyword"])
def test_a_request_is_filled_in_and_invisible_to_callers(position: str) -> None:
    def first(request: Request, a: int, b: int) -> Any:
        return request, a, b

    def middle(a: int, request: Request, b: int) -> Any:
        return request, a, b

    def keyword(a: int, b: int, *, request: Request) -> Any:
        return request, a, b

    functions: dict[str, Callable[..., Any]]
    functions = {"first": first, "middle": middle, "keyword": keyword}
    function = functions[position]
    m = method(function)
    assert m.wants_request
    request = Request("caller", 1.0, {})
    for given_args, given_kwargs in (([1, 2], {}), ([1], {"b": 2})):
        args, kwargs = m.inject(*m.check(given_args, given_kwargs), request)
        assert function(*args, **kwargs) == (request, 1, 2)
    with pytest.raises(BadRequest):
        m.check([1, 2, 3], {})


class Calculator:
    async def slow(self) -> None: ...

    def fast(self, a: int) -> int:
        return a


class CallableObject:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (Calculator().slow, True),
        (Calculator().fast, False),
        (functools.partial(Calculator().slow), True),
        (CallableObject(), True),
        (max, False),
        (int, False),
    ],
)
def test_coroutines_are_recognised_however_they_are_wrapped(
    function: Callable[..., Any], is_async: bool
) -> None:
    m = method(function)
    assert m.is_async is is_async
    assert m.inline is not is_async


def test_a_built_in_without_a_signature_takes_whatever_arrives() -> None:
    assert call(max, 1, 2) == 2
    assert call(functools.partial(pow, 2), 5) == 32


def test_what_is_not_callable_or_never_runs_is_refused() -> None:
    with pytest.raises(ConfigError):
        method(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        method(max, concurrency=0)
