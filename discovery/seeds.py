"""Seeds: addresses that someone wrote down, and names that DNS knows."""

from collections.abc import Iterable, Sequence

from discovery.address import format_address, is_service_name, parse_address
from discovery.listed import INTERVAL, Listed
from discovery.names import Answer, Names


class Seeds(Listed):
    """Tells each of `addresses` at start and every `interval` s: `host:port`, IPv6 in brackets.

    Raises `ValueError` for an address that cannot be right, or an interval that is not positive.
    """

    name = "seeds"

    def __init__(self, addresses: Sequence[str], interval: float = INTERVAL) -> None:
        super().__init__(interval)
        for text in _texts("addresses", addresses):
            address = format_address(*parse_address(text))
            self.set_entry(address, (address,))


class Dns(Listed):
    """Asks DNS for `names` every `interval` s, and tells the addresses behind them.

    `name:port` asks for A and AAAA: all of them are told, as a headless service of Kubernetes has
    one for each pod. `_service._proto.domain` asks for SRV, which has the ports, too, and needs the
    package dnspython. Raises `ValueError` for a name that cannot be right.
    """

    name = "dns"

    def __init__(self, names: Sequence[str], interval: float = INTERVAL) -> None:
        super().__init__(interval)
        self._wanted = tuple(dict.fromkeys(_texts("names", names)))
        for name in self._wanted:
            if not is_service_name(name):
                parse_address(name)
        self._names: Names | None = None

    def _begin(self) -> None:
        self._names = Names(self._wanted, self._answered, self._interval)

    def _end(self) -> None:
        if self._names is not None:
            self._names.close()

    def _answered(self, name: str, answer: Answer) -> None:
        if isinstance(answer, str):
            self.set_problem(name, answer)
        else:
            self.set_entry(name, answer)


def _texts(what: str, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ValueError(f"{what} is a list of texts, not one text")
    return tuple(given)
