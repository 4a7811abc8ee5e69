"""The claims: when one is supported, refuted, or must stay undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from harness.core.facts import PathFacts
from harness.records.run import Run
from harness.records.trial import TrialRecord
from harness.stats.estimates import paired, sign_flip_p
from reports.run import claims as compare
from reports.run import frames, style
from reports.run.claims import Comparison
from suites.selftest.support.synthetic_run import make_run


def claims_of(
    boots: int = 6, records: Sequence[TrialRecord] | None = None, **options: object
) -> dict[int, compare.Claim]:
    info, made = make_run(boots, **options)  # type: ignore[arg-type]
    run = Run(info, tuple(made if records is None else records))
    boot_values = frames.per_boot(frames.measurements(run))
    return {claim.number: claim for claim in compare.judge_claims(run, boot_values)}


def test_six_blocks_of_a_clear_order_support_it() -> None:
    claims = claims_of(6)
    assert [claims[n].verdict for n in (1, 2, 3)] == ["supported"] * 3
    first = claims[1].comparisons
    assert {(c.left, c.right) for c in first} == {
        ("sriov", "virtio"),
        ("sriov", "virtio-vhost"),
        ("virtio", "e1000e"),
        ("virtio-vhost", "e1000e"),
    }
    assert {c.workload for c in first} == {"tcp-tx", "tcp-rx"}
    assert all(c.result and c.result.high < 1 and c.blocks == 6 for c in first)


@pytest.mark.parametrize("boots", [1, 2, 5])
def test_fewer_than_six_blocks_decide_nothing(boots: int) -> None:
    for claim in claims_of(boots).values():
        assert claim.verdict == "undecided"
        assert f"{boots} block" in claim.why
        assert all(c.adjusted is None and c.verdict == "undecided" for c in claim.comparisons)


def test_a_slow_vf_refutes_that_it_is_near_native() -> None:
    claim = claims_of(6)[4]
    assert claim.verdict == "refuted"
    assert "2 of 2 ratios lie below 0.9" in claim.why


def test_a_vf_as_fast_as_native_is_near_it() -> None:
    """Native's own records under the VF's name, 2 % slower."""
    _, made = make_run(6)
    native = [t for t in made if t.path == "native"]
    twin = [
        msgspec.structs.replace(
            t, path="sriov", metrics={name: v * 0.98 for name, v in t.metrics.items()}
        )
        for t in native
    ]
    claim = claims_of(6, [*native, *twin])[4]
    assert claim.verdict == "supported"
    assert claim.comparisons[0].result is not None
    assert claim.comparisons[0].result.ratio == pytest.approx(0.98)


def swapped(records: Sequence[TrialRecord], one: str, other: str) -> list[TrialRecord]:
    names = {one: other, other: one}
    return [msgspec.structs.replace(t, path=names.get(t.path, t.path)) for t in records]


def test_the_opposite_order_is_refuted_with_its_comparisons_named() -> None:
    claim = claims_of(6, swapped(make_run(6)[1], "sriov", "e1000e"))[1]
    assert claim.verdict == "refuted"
    assert "sriov / virtio (tcp-tx)" in claim.why


def test_paths_that_do_not_differ_stay_undecided() -> None:
    """Every second block has the names of two paths exchanged: no side is ahead."""
    _, made = make_run(6)
    even = [t for t in made if t.block % 2 == 0]
    mixed = even + swapped([t for t in made if t.block % 2], "sriov", "virtio")
    claim = claims_of(6, mixed)[1]
    assert claim.verdict == "undecided"
    assert not [c for c in claim.comparisons if c.verdict == "refuted"]


def test_zero_exits_are_fewer_than_some() -> None:
    _, made = make_run(6)
    none = [msgspec.structs.replace(t, exits=()) if t.path == "sriov" else t for t in made]
    claim = claims_of(6, none)[1]
    assert claim.verdict == "supported"
    against_virtio = claim.comparisons[0]
    assert against_virtio.result is not None and against_virtio.result.ratio == 0


def test_a_claim_without_its_paths_or_workloads_says_what_is_lacking() -> None:
    claims = claims_of(6, paths=("sriov", "e1000e"), workloads=("tcp-tx",))
    assert claims[1].verdict == "undecided"
    assert "no virtio path in this run" in claims[1].why
    assert claims[3].why == "no latency in this run"
    assert "no native path" in claims[4].why


def test_a_path_the_host_cannot_offer_is_no_argument_but_a_failed_one_is() -> None:
    assert claims_of(6, flaws=True)[1].verdict == "supported"  # vmxnet3 is missing there
    _, made = make_run(6)
    gone = [t for t in made if t.path != "virtio"]
    claim = claims_of(6, gone)[1]
    assert claim.verdict == "undecided"
    assert any(c.why == "virtio not measured" for c in claim.comparisons)


def test_evidence_depends_on_the_fidelity() -> None:
    nested, hardware = claims_of(6), claims_of(6, fidelity="hardware")
    assert [c.grounds for c in nested.values()] == ["silicon", "lab", "lab", "lab"]
    assert {c.grounds for c in hardware.values()} == {"silicon"}


def test_a_path_of_a_name_never_seen_takes_part_in_no_claim() -> None:
    _, made = make_run(6)
    odd = [msgspec.structs.replace(t, path="vdpa") for t in made if t.path == "virtio"]
    claims = claims_of(6, [*made, *odd])
    assert not [c for c in claims[1].comparisons if "vdpa" in (c.left, c.right)]


def test_a_path_that_its_run_declares_takes_part_as_one_of_its_kind() -> None:
    info, made = make_run(6)
    odd = [msgspec.structs.replace(t, path="vdpa") for t in made if t.path == "virtio"]
    declared = {"vdpa": PathFacts(kind="virtio", colour="#112233")}
    run = Run(msgspec.structs.replace(info, path_facts=declared), (*made, *odd))
    claims = compare.judge_claims(run, frames.per_boot(frames.measurements(run)))
    assert [c for c in claims[0].comparisons if "vdpa" in (c.left, c.right)]
    assert style.colours_of(run)["vdpa"] == "#112233"


def test_a_claim_that_is_not_so_is_rarely_judged() -> None:
    """Two of three paired comparisons truly hold, one has no difference: a verdict is an error.

    Six blocks, 400 simulated runs; 5 % nominal, and at most three standard errors above it.
    """
    draw = np.random.default_rng(20_261_123)
    runs, false = 400, 0
    for _ in range(runs):
        effects = draw.normal([-1.0, -1.0, 0.0], 0.1, size=(6, 3)).T
        judged = compare._judge([made_up(dict(enumerate(effect))) for effect in effects])
        verdicts = {comparison.verdict for comparison in judged}
        false += verdicts == {"supported"} or "refuted" in verdicts
    assert false / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_claim_that_is_so_is_supported_at_six_blocks_whatever_its_size() -> None:
    """Effects of very different size and steadiness, all in one direction."""
    effects = ([-3.0] * 6, [-0.1, -0.4, -0.2, -0.9, -0.3, -0.1], [-0.01] * 6)
    judged = compare._judge([made_up(dict(enumerate(effect))) for effect in effects])
    assert {comparison.verdict for comparison in judged} == {"supported"}


def made_up(differences: dict[int, float]) -> Comparison:
    """A comparison, not judged yet, with these paired log ratios."""
    ratios = {block: math.exp(value) for block, value in differences.items()}
    result = paired(ratios, dict.fromkeys(ratios, 1.0))
    p = sign_flip_p(list(result.differences.values()))
    return Comparison(
        "sriov", "virtio", "tcp-tx", "exits_per_packet", "below", 1.0, len(ratios), result,
        p=p, adjusted=None, verdict="undecided", why="",
    )  # fmt: skip
