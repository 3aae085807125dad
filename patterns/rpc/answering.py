"""What a server answers: each way in which a request can end, as a reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patterns import messages as m
from patterns.errors import AccessDenied, BadPayload, PayloadTooLarge
from patterns.logs import get_logger
from patterns.port import Handle, RpcPort
from patterns.rpc.job import Job
from patterns.rpc.measures import Measures
from patterns.rpc.method import Method
from patterns.texts import error_texts, sendable

__all__ = ["Answering"]

logger = get_logger("mesh.rpc")


class Answering:
    """The answers of ``RpcServer``, and how many there were of those that people ask for."""

    def __init__(self, port: RpcPort) -> None:
        self._port = port
        self.methods: dict[str, Method] = {}
        """What runs, by "service.method"."""
        self.denials: dict[str, AccessDenied] = {}
        """Methods that are not served, and why."""
        self.measures: Measures | None = None
        """Of what was served; None until somebody asks."""
        self.is_observed = False
        """Whether somebody looks at each call that is served; else only at those with headers."""
        self.observe: Callable[[Job, Callable[..., Any]], Callable[..., Any]] = _as_it_is
        """What runs for a job: its function, or one around it that sets ``job.observed``."""
        self._is_draining = False
        self.expired = 0
        self.refused = 0
        """Calls that were answered *overloaded*."""
        self.handed_on = 0
        """Calls that came, or waited, while this node was about to leave, and were not started."""
        self.moved = 0
        """Keyed calls that were not started, their caller told of another owner."""
        self.served_for_others = 0
        """Keyed calls that were served though another owner is seen."""

    def _reply(self, route: Any, name: str, call_id: int, value: Any) -> None:
        try:
            entry = self._port.pack([call_id, m.STATUS_OK, value])
        except (BadPayload, PayloadTooLarge) as error:
            self._reply_error(route, name, call_id, error)
            return
        self._port.send_reply(route, entry)

    def _reply_error(self, route: Any, name: str, call_id: int, error: BaseException) -> None:
        kind, message, trace = error_texts(error)
        if not getattr(error, "is_answer", False):
            logger.warning("%s raised %s: %s", name, kind, message, exc_info=error)
        reply = [call_id, m.STATUS_ERROR, kind, message, trace]
        self._port.send_reply(route, self._port.pack(reply))

    def _refuse_expired(self, route: Any, call_id: int) -> None:
        self.expired += 1
        text = "the deadline had passed before the call was started"
        self._refuse(route, call_id, m.STATUS_EXPIRED, text)

    def _refuse(self, route: Any, call_id: int, status: int, text: str) -> None:
        self._port.send_reply(route, self._port.pack([call_id, status, sendable(text)]))

    def _refuse_unknown(self, route: Any, call_id: int, name: str) -> None:
        denial = self.denials.get(name)
        if denial is not None:
            reply = [call_id, m.STATUS_DENIED, str(denial), denial.rule]
            self._port.send_reply(route, self._port.pack(reply))
        elif self._is_draining:
            self._hand_on(route, call_id)
        else:
            self._refuse(route, call_id, m.STATUS_NO_METHOD, self._unknown(name))

    def _unknown(self, name: str) -> str:
        prefix = name.partition(".")[0] + "."
        known = ", ".join(n[len(prefix) :] for n in self.methods if n.startswith(prefix)) or "none"
        return f"this node has no method {name!r:.140}; its methods of that service: {known}"

    def _send_moved(self, route: Any, call_id: int, owner: Handle) -> None:
        self.moved += 1
        self._port.send_reply(route, self._port.pack([call_id, m.STATUS_MOVED, owner.id]))

    def _hand_on(self, route: Any, call_id: int) -> None:
        self.handed_on += 1
        self._refuse(route, call_id, m.STATUS_DRAINING, "this node is leaving; it starts no calls")


def _as_it_is(job: Job, function: Callable[..., Any]) -> Callable[..., Any]:
    return function
