"""What is wrong with a queue, a worker or a question is said at once, as a typed error."""

from __future__ import annotations

from typing import Any

import pytest

import mesh

QUEUE: list[dict[str, Any]] = [
    {"max_length": "10"}, {"max_length": 1.5}, {"max_length": True}, {"max_attempts": "a"},
    {"ttl": "60"}, {"ttl": float("inf")}, {"dedup": "x"}, {"dedup": None},
    {"dedup": float("inf")}, {"keep_results": float("inf")}, {"keep_results": None},
]  # fmt: skip

WORKER: list[dict[str, Any]] = [
    {"lease": "60"}, {"lease": None}, {"rate": "x"}, {"rate": 0}, {"linger": None},
    {"retry": mesh.Retry}, {"on_deadline_soon": 5}, {"concurrency": True}, {"concurrency": 4},
]  # fmt: skip

RETRY: list[dict[str, Any]] = [
    {"attempts": "x"}, {"attempts": 0}, {"base": "x"}, {"base": float("nan")}, {"factor": 0},
    {"jitter": 2}, {"fatal": 5}, {"fatal": ("x",)},
]  # fmt: skip


@pytest.mark.parametrize("options", QUEUE, ids=str)
def test_a_queue_takes_no_option_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(mesh.ConfigError):
        mesh.AsyncNode("a").queue("mail", **options)


@pytest.mark.parametrize("options", WORKER, ids=str)
def test_a_worker_takes_no_option_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(mesh.ConfigError):
        mesh.AsyncNode("a").worker("mail", **options)(lambda job: None)


@pytest.mark.parametrize("options", RETRY, ids=str)
def test_a_policy_takes_no_option_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(mesh.ConfigError):
        mesh.Retry(**options)


def test_one_type_of_error_may_be_fatal() -> None:
    assert mesh.Retry(fatal=ValueError).fatal == (ValueError,)


@pytest.mark.parametrize("queues", [5, {"a", "b"}, {"a": "x"}, None])
def test_a_worker_is_told_which_queues(queues: Any) -> None:
    with pytest.raises(mesh.ConfigError):
        mesh.AsyncNode("a").worker(queues)(lambda job: None)


@pytest.mark.parametrize("handler", [lambda: None, lambda job, more: None, lambda *, job: None])
def test_a_handler_takes_the_job(handler: Any) -> None:
    with pytest.raises(mesh.ConfigError, match="one argument"):
        mesh.AsyncNode("a").worker("mail")(handler)
