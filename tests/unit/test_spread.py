"""Blocks of a model that is larger than a GPU: where they go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.engine.placement.device import GIB, distribute
from prunebench.errors import PrunebenchError


@pytest.mark.parametrize(
    ("sizes", "rooms", "expected"),
    [
        ([3, 3, 3], [float("inf")], [0, 0, 0]),
        ([3, 3, 3], [9, 9], [0, 0, 0]),
        ([3, 3, 3], [8, 9], [0, 0, 1]),
        ([3, 3, 3], [3, 3, 3], [0, 1, 2]),
        ([3, 3], [2, 9], [1, 1]),
        ([1, 5, 1], [4, 8], [0, 1, 1]),
    ],
)
def test_blocks_go_to_the_next_room_when_one_is_full(sizes: list[int], rooms: list[float], expected: list[int]) -> None:
    assert distribute(sizes, rooms) == expected


@given(st.lists(st.integers(1, 9), min_size=1), st.lists(st.integers(0, 20), min_size=1))
def test_no_room_holds_more_than_it_can_and_the_order_stays(sizes: list[int], rooms: list[int]) -> None:
    try:
        placed = distribute(sizes, rooms)
    except PrunebenchError:
        # Only the ends of rooms are wasted, each by less than a block.
        assert sum(sizes) > sum(max(0, room - max(sizes)) for room in rooms)
        return
    assert placed == sorted(placed)
    for room, size in enumerate(rooms):
        assert sum(of for of, place in zip(sizes, placed, strict=True) if place == room) <= size


def test_too_little_room_says_what_to_do() -> None:
    with pytest.raises(PrunebenchError, match=r"6 GiB of blocks; visible GPUs have room for 4: .*CUDA_VISIBLE_DEVICES"):
        distribute([3 * GIB, 3 * GIB], [4 * GIB])
