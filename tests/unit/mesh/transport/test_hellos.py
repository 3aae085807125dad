"""Link connections by their hellos: numbers, ends, and who gives way when there are too many."""

from __future__ import annotations

from mesh.transport.hellos import LOOKED_AT, MAX_PIPES, MAX_PIPES_PER_PEER, Pipes
from mesh.wire import frames


class Scene:
    def __init__(self) -> None:
        self.members: set[bytes] = set()
        self.gone: list[tuple[bytes, int]] = []
        self.pipes = Pipes(
            lambda id: id in self.members, lambda id, link: self.gone.append((id, link))
        )

    def begin(self, number: int, dial: int = 7) -> int | None:
        id = number.to_bytes(16, "big")
        return self.pipes.begin(frames.pack_hello(id, dial), id, dial)

    def end(self, number: int, dial: int = 7) -> int | None:
        id = number.to_bytes(16, "big")
        return self.pipes.end(frames.pack_hello(id, dial), id)


def test_each_hello_gets_a_number_and_the_oldest_of_one_dial_ends_first() -> None:
    scene = Scene()
    first, second = scene.begin(1), scene.begin(1)
    assert first is not None
    assert second is not None
    assert first < second
    assert first >> 32 == second >> 32 == 7
    assert [scene.end(1), scene.end(1), scene.end(1)] == [first, second, None]
    assert not len(scene.pipes)


def test_one_peer_has_so_many_and_may_come_again_when_they_ended() -> None:
    scene = Scene()
    assert all(scene.begin(1, dial) for dial in range(MAX_PIPES_PER_PEER))
    assert scene.begin(1, 99) is None
    assert scene.begin(2) is not None
    scene.end(1, 0)
    assert scene.begin(1, 99) is not None


def test_when_there_are_too_many_the_oldest_that_is_no_member_gives_way() -> None:
    scene = Scene()
    links = {number: scene.begin(number) for number in range(MAX_PIPES)}
    scene.members = {number.to_bytes(16, "big") for number in range(LOOKED_AT // 2)}
    oldest = LOOKED_AT // 2
    assert scene.begin(MAX_PIPES) is not None
    assert scene.gone == [(oldest.to_bytes(16, "big"), links[oldest])]
    assert scene.begin(MAX_PIPES + 1) is not None
    assert len(scene.pipes) == MAX_PIPES
    assert scene.end(oldest) is None, "it ended when it gave way"
    assert scene.end(0) == links[0]
    assert scene.pipes.given_way == 2


def test_members_alone_give_no_way() -> None:
    scene = Scene()
    for number in range(MAX_PIPES):
        scene.begin(number)
        scene.members.add(number.to_bytes(16, "big"))
    assert scene.begin(MAX_PIPES) is None
    assert not scene.gone
