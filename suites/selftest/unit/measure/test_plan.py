"""The order in which paths are booted."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harness.measure.plan import interleave

names = st.lists(st.text("abcdef-", min_size=1), unique=True, min_size=1, max_size=6)


@given(names, st.integers(1, 8), st.integers(0, 1 << 31))
def test_every_block_holds_every_path_once(paths: list[str], boots: int, seed: int) -> None:
    planned_boots = interleave(paths, boots, seed)
    for block in range(boots):
        inside = [planned.path for planned in planned_boots if planned.block == block]
        assert Counter(inside) == Counter(paths)
    assert [planned.block for planned in planned_boots] == sorted(
        planned.block for planned in planned_boots
    )


def test_the_seed_decides_the_order() -> None:
    paths = ("native", "e1000e", "virtio", "sriov")
    assert interleave(paths, 6, 1) == interleave(paths, 6, 1)
    assert interleave(paths, 6, 1) != interleave(paths, 6, 2)


def test_blocks_are_not_all_in_one_order() -> None:
    planned_boots = interleave(("native", "e1000e", "virtio", "sriov"), 6, 7)
    orders = {tuple(v.path for v in planned_boots if v.block == block) for block in range(6)}
    assert len(orders) > 1
