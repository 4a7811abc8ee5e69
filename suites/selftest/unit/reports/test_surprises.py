"""What a report calls surprising, and what it does not."""

from __future__ import annotations

from msgspec.structs import replace

from harness.records.generator import FLAT_OUT
from harness.records.run import Run
from harness.records.trial import TrialRecord
from reports.run import frames, surprises, tables
from reports.run.claims import judge_claims
from suites.selftest.support.synthetic_run import make_run

PATHS, WORKLOADS = ("virtio", "sriov"), ("tcp-tx", "latency")


def told(run: Run) -> list[tuple[str, str, str]]:
    boots = frames.per_boot(frames.measurements(run))
    table = surprises.table(run, judge_claims(run, boots), boots, tables.estimates(boots))
    rows = () if table is None else table.rows
    return [(what.text, where.text, why.text) for what, where, why in rows]


def made(boots: int = 6, *, flaws: bool = False) -> Run:
    return Run(*make_run(boots, paths=PATHS, workloads=WORKLOADS, flaws=flaws))


def changed(run: Run, path: str, workload: str, **metrics: float) -> Run:
    """With other metrics in the trials of a path's last boot."""

    def other(trial: TrialRecord) -> TrialRecord:
        there = (trial.path, trial.workload, trial.boot) == (path, workload, run.info.boots - 1)
        return replace(trial, metrics=trial.metrics | metrics) if there else trial

    return Run(run.info, tuple(map(other, run.trials)))


def test_nothing_is_surprising_in_a_run_as_it_should_be() -> None:
    assert told(made()) == []


def test_few_boots_are_not_called_unsurprising_as_if_they_could_refute_a_claim() -> None:
    assert surprises.calm(made(6)) == "Nothing surprising."
    assert surprises.calm(made(2)) == (
        "Nothing surprising; but 2 boots a path cannot refute a claim, 6 can."
    )


def test_a_host_needs_no_idle_baseline() -> None:
    """A run's guests have one each, and native has no guest."""
    run = Run(*make_run(6, paths=("native", *PATHS), workloads=(*WORKLOADS, "idle")))
    trials = tuple(t for t in run.trials if (t.path, t.workload) != ("native", "idle"))
    assert len(trials) < len(run.trials)
    assert "No value" not in [what for what, *_ in told(Run(run.info, trials))]


def test_a_refuted_claim_stands_first_with_its_reason() -> None:
    fast = tuple(
        replace(t, metrics=t.metrics | {"rtt_p50": 1.0}) if t.path == "virtio" else t
        for t in made().trials
    )
    first, *_ = told(Run(made().info, fast))
    assert first[:2] == ("Claim refuted", "3. Latency: VF < virtio, emulated")
    assert first[2].startswith("1 of 1 ratios lie above 1")


def test_paths_without_a_value_are_told_with_why() -> None:
    run = made(2, flaws=True)
    info = replace(run.info, paths=(*run.info.paths, "e1000", "rtl8139"), finished=False)
    found = told(Run(info, run.trials))
    assert found[:2] == [
        ("No value", "vmxnet3", "lacks qemu:vmxnet3: this QEMU was built without it"),
        ("No value", "e1000, rtl8139", "no trial was made before the run ended"),
    ]
    assert ("Boot failed", "e1000e: boot 1", "no answer from the guest agent in 60 s") in found


def test_invalid_trials_that_differ_in_numbers_only_stand_together() -> None:
    run = made(2)
    bad = tuple(
        replace(t, valid=False, reasons=(f"bytes differ by {t.trial}.5 %",))
        if (t.path, t.workload) == ("sriov", "latency")
        else t
        for t in run.trials
    )
    boots = frames.per_boot(frames.measurements(Run(run.info, bad)))
    table = surprises.table(Run(run.info, bad), (), boots, tables.estimates(boots))
    assert table is not None
    bare, invalid = table.rows
    assert [cell.text for cell in bare] == [
        "No value", "sriov (latency)", "no trial is valid, see below"
    ]  # fmt: skip
    what, where, why = invalid
    assert (what.detail, where.text) == ("6 of 6 there", "sriov, latency")
    assert where.detail == "; ".join(
        f"boot {boot}: {kind}" for boot in (0, 1) for kind in ("warm-up 0", "trials 1, 2")
    )
    assert why.text == "bytes differ by 0.5 %"
    assert why.detail == "bytes differ by 1.5 % | bytes differ by 2.5 %", "each is told"


def test_boots_that_are_far_apart_heavy_tails_and_losses_are_told() -> None:
    slow = changed(made(), "sriov", "tcp-tx", throughput=100.0)
    ((what, where, values),) = told(slow)
    assert (what, where) == ("Boots differ", "sriov, tcp-tx") and values.startswith("100 to ")
    run = made()
    heavy = tuple(
        replace(t, metrics=t.metrics | {"rtt_p99": 30_000.0, "loss": 2.0})
        if (t.path, t.workload) == ("sriov", "latency")
        else t
        for t in run.trials
    )
    tail, loss = told(Run(run.info, heavy))
    assert tail[:2] == ("Heavy tail", "sriov, latency") and tail[2].startswith("30,000 against ")
    assert loss == ("Loss", "latency", "sriov 2.00 %")


def test_a_path_that_takes_all_that_its_generator_sends_is_told() -> None:
    run = made()
    full = {"rate": FLAT_OUT}

    def flood(trial: TrialRecord, share: float, parameters: dict[str, str]) -> TrialRecord:
        metrics = {"pps": share * 400_000.0, "pps_offered": 400_000.0}
        return replace(trial, metrics=metrics, parameters=parameters)

    shares = {"virtio": 0.5, "sriov": 0.99}
    for parameters, held in ((full, ["sriov"]), ({"rate": "400000"}, [])):
        trials = tuple(
            flood(t, shares[t.path], parameters) if t.workload == "tcp-tx" else t
            for t in run.trials
        )
        info = replace(run.info, generator_pps={"tcp-tx": 500_000.0})
        rows = [row for row in told(Run(info, trials)) if row[0] == "The generator is the limit"]
        assert [where for _, where, _ in rows] == ["tcp-tx"] * len(held)
        for _, _, why in rows:
            assert why.startswith("sriov 396,000 packets/s: the path takes all that is sent")
            assert why.endswith("with no port and no guest 500,000 packets/s")
