"""`nicproof sweep`: a grid of configurations, in a lab that has the CPUs for it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from msgspec import inspect

from harness import workloads
from harness.core.errors import ConfigError
from harness.core.flags import options_of
from harness.labs.shape import MOST_CPUS, SMP_CPUS, LabShape, for_guests
from harness.measure.plan import interleave
from harness.runs import asked as declared
from harness.runs.options import BenchOptions
from harness.runs.sweep import AXES, MOST_POINTS, grid
from harness.runs.variant import Variant
from harness.tuning.placement import place, room
from suites.selftest.unit.runs.test_variants import LAB, asked

NESTED = "--lab=nested"
GRID = ("--over=queues=1,2", "--over=guest-cpus=1,2")


def test_whatever_a_configuration_declares_can_be_an_axis() -> None:
    wanted = {each.name for each in options_of(Variant)}
    switches = {e.name for e in options_of(Variant) if isinstance(e.kind, inspect.BoolType)}
    assert {each.name for each in AXES.values()} == wanted - switches
    assert {"queues", "guest-cpus", "streams", "mtu", "rx-usecs", "udp-rate"} <= set(AXES)


def test_every_combination_is_a_configuration(tmp_path: Path) -> None:
    run = asked(tmp_path, NESTED, *GRID, "--streams=4")
    assert run.axes == ("queues", "guest-cpus") and not run.pair
    points = [(each.queues, each.guest_cpus) for each in run.variants.values()]
    assert points == list(product((1, 2), (1, 2)))
    assert run.recorded() == {"streams": "4"}, "what they share"
    assert run.recorded_variants()["queues2-guest-cpus1"] == {"queues": "2", "guest-cpus": "1"}
    assert run.boots == declared.BOOTS and run.workloads == workloads.SUMMARISED
    assert run.paths == ("virtio", "virtio-vhost"), "to which all axes make a difference"
    boots = interleave(run.paths, run.boots, run.seed, tuple(run.variants))
    assert len(boots) == 6 * 2 * 4 and run.planned_trials == len(boots) * len(run.workloads)


def test_names_of_points_are_fit_for_files_and_differ() -> None:
    points = grid(("virtio=packed=on,packed/on",), Variant())
    assert len(points) == 2 and not any({"/", "=", ","} & set(name) for name in points)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--over=queue=1,2",), "'queue' is no option of a configuration"),
        (("--over=paths=native,sriov",), "'paths' is no option of a configuration"),
        (("--over=queues",), "an axis has two values at least"),
        (("--over=queues=2,2",), "an axis has two values at least"),
        (("--over=queues=1,2", "--over=queues=4,8"), "queues is there already"),
        (("--over=queues=1,x",), "--queues x: a whole number from 1"),
        (("--over=udp-rate=1,fast",), "--udp-rate fast: a number from"),
        (("--over=queues=1,2", "--queues=3"), "--queues and --over queues=...: one or the other"),
        (("--over=queues=1,2", "--b=--vhost off"), "a sweep has no --a, --b or --ablate"),
        (
            tuple(
                f"--over={axis}={','.join(map(str, range(100, 300)))}"
                for axis in ("mtu", "queues", "guest-cpus", "rx-usecs", "seconds", "size")
            ),
            f" are {200**6} points, and {MOST_POINTS} are the most",
        ),
        (
            (f"--over=mtu={','.join(map(str, range(91, 100)))}", "--over=queues=1,2,3,4,5,6,7,8"),
            f"9 x 8 are 72 points, and {MOST_POINTS} are the most",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(tmp_path, NESTED, *words)
    assert message in caught.value.message


def cpus(run: BenchOptions) -> int | None:
    return run.shape.cpus


def test_the_lab_gets_the_cpus_that_its_largest_point_needs(tmp_path: Path) -> None:
    assert cpus(asked(tmp_path, NESTED, *GRID)) == 12
    assert cpus(asked(tmp_path, NESTED, *GRID, "--lab-cpus=14")) == 14, "as was said"
    assert cpus(asked(tmp_path, NESTED, "--over=guest-cpus=1,2")) == 7
    assert cpus(asked(tmp_path, NESTED, "--over=guest-cpus=1,2", "--streams=4")) == 12
    assert cpus(asked(tmp_path, NESTED, "--over=mtu=1500,9000")) is None, "the usual ones do"
    shared = asked(tmp_path, NESTED, "--over=mtu=1500,9000", "--guest-cpus=99")
    assert cpus(shared) is None, "it is not varied, and may be shared as in a bench"
    assert cpus(asked(tmp_path, NESTED, "--guest-cpus=2", "--queues=2")) is None, "no sweep"


@pytest.mark.parametrize(
    ("words", "message", "remedy"),
    [
        (
            (*GRID, "--lab-cpus=6"),
            "--lab-cpus 6: the point queues2-guest-cpus2 wants 6 CPUs for guests, so that each "
            "thread has one of its own, and there are 4",
            "--lab-cpus 12, or leave it out",
        ),
        (
            ("--over=queues=1,8", "--over=guest-cpus=1,8"),
            "the point queues8-guest-cpus8 wants 18 CPUs for guests, and a lab of --lab-cpus 16 "
            "has 11",
            "leave out its largest values",
        ),
        ((*GRID, "--clock=virtual"), "--clock virtual: it has one CPU", "leave --clock out"),
    ],
)
def test_cpus_that_do_not_suffice_are_told(
    tmp_path: Path, words: tuple[str, ...], message: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(tmp_path, NESTED, *words)
    assert message in caught.value.message and remedy in caught.value.remedy


def test_of_a_real_host_the_inventory_says_how_many_there_are(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(LAB)
    assert cpus(asked(tmp_path, f"--lab={file}", *GRID)) is None, "any CPU may be used"
    file.write_text(LAB.replace('"local"', '"local"\ncpus = "2-5"'))
    with pytest.raises(ConfigError, match=r"`cpus` of a names 4, and the point .* wants 6"):
        asked(tmp_path, f"--lab={file}", *GRID)


@pytest.mark.parametrize(("vcpus", "queues"), [(1, 1), (2, 2), (4, 2), (4, 4)])
def test_with_that_room_everything_has_a_cpu_of_its_own(vcpus: int, queues: int) -> None:
    count = LabShape().with_room(room(vcpus, queues)).cpus or SMP_CPUS
    mine = for_guests(count)
    placed = place(mine, range(count - len(mine)), vcpus=vcpus, queues=queues)
    own = (*placed.vcpus, *placed.qemu, *placed.vhost)
    assert len(own) == len(set(own)) and not set(own) & set(placed.interrupts)
    assert (len(placed.vcpus), len(placed.vhost)) == (vcpus, queues)
    partner = min(queues, (count - len(mine)) // 2)
    assert len(placed.partner_interrupts) == partner <= len(placed.partner)
    assert partner == queues or count == MOST_CPUS, "as many of the partner's, if they can be"
