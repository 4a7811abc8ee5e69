"""Which CPU everything gets, by how many there are."""

from __future__ import annotations

import pytest

from harness.tuning.placement import ANYWHERE, SHARED, Placement, place, taskset


@pytest.mark.parametrize(
    ("cpus", "others", "vcpus", "queues", "streams", "placed"),
    [
        ((), (), 1, 1, 1, ANYWHERE),
        (
            (2, 3), (0, 1), 1, 1, 1,
            Placement(vcpus=(3,), qemu=(2,), vhost=(2,), interrupts=(2,),
                      partner_interrupts=(0,), partner=(1,), own=(0,)),
        ),
        (
            (3,), (0,), 1, 1, 1,
            Placement(qemu=(3,), vhost=(3,), interrupts=(3,),
                      partner_interrupts=(0,), partner=(0,), own=(0,)),
        ),
        (
            (2, 3, 4), (0, 1), 1, 1, 1,
            Placement(vcpus=(4,), qemu=(3,), vhost=(3,), interrupts=(2,),
                      partner_interrupts=(0,), partner=(1,), own=(0,)),
        ),
        (
            (2, 3, 4, 7), (0, 1), 1, 1, 1,
            Placement(vcpus=(7,), qemu=(3,), vhost=(4,), interrupts=(2,),
                      partner_interrupts=(0,), partner=(1,), own=(0,)),
        ),
        (
            tuple(range(4, 12)), (0, 1, 2, 3), 2, 2, 4,
            Placement(vcpus=(10, 11), qemu=(7,), vhost=(8, 9), interrupts=(4, 5, 6),
                      partner_interrupts=(0, 1), partner=(2, 3), own=(0,)),
        ),
        (
            tuple(range(4, 16)), (0, 1, 2, 3), 2, 2, 2,
            Placement(vcpus=(14, 15), qemu=(11,), vhost=(12, 13), interrupts=(4, 5),
                      partner_interrupts=(0, 1), partner=(2, 3), own=(0,)),
        ),
        (
            (2, 3), (0, 1), 2, 2, 1,
            Placement(qemu=(2, 3), vhost=(2, 3), interrupts=(2, 3),
                      partner_interrupts=(0,), partner=(1,), own=(0,)),
        ),
    ],
)  # fmt: skip
def test_each_has_a_cpu_of_its_own_as_far_as_there_are_some(
    cpus: tuple[int, ...],
    others: tuple[int, ...],
    vcpus: int,
    queues: int,
    streams: int,
    placed: Placement,
) -> None:
    assert place(cpus, others, vcpus=vcpus, queues=queues, streams=streams) == placed


def test_what_could_not_be_placed_is_named() -> None:
    table = place((3,), (0,)).table()
    assert table["vCPUs"] == SHARED and table["vhost"] == "3"
    assert set(ANYWHERE.table().values()) == {"any"}
    assert place((2, 3), (0, 1)).table()["the partner's programs"] == "1"


def test_a_program_is_started_on_its_cpus() -> None:
    assert taskset((2, 3, 5)) == ("taskset", "--cpu-list", "2-3,5")
    assert taskset(()) == ()
