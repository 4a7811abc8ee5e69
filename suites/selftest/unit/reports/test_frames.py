"""From records to tables: what counts, what a ratio is made of, and what is not there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import ConfigError
from harness.core.metrics import METRICS
from harness.records.ratios import values_of
from harness.records.run import Run, load
from harness.records.trial import DELIVERED, TRANSACTIONS, ExitCount, TrialRecord
from reports.run import explain, frames
from suites.selftest.support.synthetic_run import make_run, write_run


def trial(**changes: object) -> TrialRecord:
    """A window of one second of two vCPUs: 1000 frames, 2 MiB on the wire, 500 exits and HLT."""
    base = TrialRecord(
        run="r", index=0, fidelity="nested-tcg", host="lab", nic="82576", path="e1000e",
        workload="tcp-tx", block=0, boot=0, trial=0, started="2026-01-01T00:00:00Z",
        window_ns=1_000_000_000, valid=True,
        exits=(
            ExitCount(reason="npf", count=300, time_ns=80_000_000, cpu_ns=30_000_000),
            ExitCount(reason="EPT_MISCONFIG", count=100, time_ns=10_000_000, cpu_ns=10_000_000),
            ExitCount(reason="msr", count=100, time_ns=10_000_000, cpu_ns=10_000_000),
            ExitCount(reason="HLT", count=7_000, time_ns=1_150_000_000, cpu_ns=80_000_000),
        ),
        counters={
            "partner.rx_packets": 900, "partner.tx_packets": 100,
            "partner.rx_bytes": 2 << 20, "partner.tx_bytes": 0,
            "vcpus.window_ns": 2_000_000_000,
            "cpu.vcpu_ns": 680_000_000, "cpu.guest_ns": 550_000_000,
            "cpu.vhost_ns": 200_000_000, "cpu.qemu_ns": 100_000_000,
            "guest.cpu_busy_ns": 250, "guest.cpu_total_ns": 1000,
            "irq.device": 50, "irq.timer": 400, "irq.ipi": 30, "irq.other": 7,
        },
        guest_wider_ns=1_000_000,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def test_ratios_of_transactions() -> None:
    counted = trial().counters
    values = values_of(trial(workload="tcp-rr", counters=counted | {TRANSACTIONS: 200}))
    assert {name: v for name, v in values.items() if name.endswith("_transaction")} == {
        "exits_per_transaction": 2.5,
        "irqs_per_transaction": 0.25,
        "cpu_per_transaction": 4900.0,  # us
    }
    assert values.keys() <= METRICS.keys() and values["exits_per_packet"] == 0.5
    without = values_of(trial(exits=None, counters={TRANSACTIONS: 200}))
    assert not [name for name in without if name.endswith("_transaction")]
    assert "exits_per_transaction" not in values_of(trial(counters=counted | {TRANSACTIONS: 0}))


def run_of(*trials: TrialRecord) -> Run:
    return Run(make_run(1, paths=("e1000e",), workloads=("tcp-tx",))[0], trials)


def test_ratios_of_a_trial() -> None:
    values = values_of(trial(metrics={"throughput": 16.0}))
    assert values == pytest.approx(
        {
            "throughput": 16.0,
            "exits_per_packet": 0.5,
            "mmio_exits_per_packet": 0.4,
            "exits_per_mib": 250.0,
            "exit_time_per_packet": 50.0,  # us
            "exit_time_share": 2.5,  # % of both vCPUs
            "halt_time_per_packet": 80.0,  # polling
            "halt_time_share": 4.0,
            "cpu_per_gbit": 0.98 / (2 * 2**20 * 8 / 1e9),
            "guest_cpu": 25.0,
            "irqs_per_packet": 0.05,
            "timer_irqs_per_packet": 0.4,
            "ipis_per_packet": 0.03,
            "guest_time_per_packet": 550.0,
            "vhost_time_per_packet": 200.0,
            "qemu_time_per_packet": 100.0,
        }
    )
    assert values.keys() <= METRICS.keys()


def test_by_the_virtual_clock_the_parts_of_a_packets_time_are_the_window() -> None:
    """Such a lab has one CPU. By the wall clock others work meanwhile, so there is no rest."""
    record = trial(clock="virtual", window_ns=1_500_000_000)
    values = values_of(record)
    parts = sum(values.get(metric, 0.0) for metric in explain.PARTS)
    assert parts == pytest.approx(1_500_000_000 / 1000 / 1000)  # us, for 1,000 packets
    assert explain.REST not in values_of(trial())
    assert explain.REST not in values_of(trial(clock="virtual-smp"))


def test_the_price_of_exits_is_told_apart_from_the_guests_time() -> None:
    """Of all exits, those of a guest that halts too: each took 2 us that nobody executed."""
    free = values_of(trial(clock="virtual-smp"))
    charged = values_of(trial(clock="virtual-smp", exit_cost_ns=2000))
    exits = sum(each.count for each in trial().exits or ())
    price = exits * 2000 / 1000 / 1000  # us, for 1,000 packets
    assert charged.pop("exit_price_per_packet") == pytest.approx(price)
    assert charged == free | {
        "guest_time_per_packet": pytest.approx(free["guest_time_per_packet"] - price)
    }


def test_idle_exits_are_no_overhead() -> None:
    busy = tuple(e for e in trial().exits or () if e.reason != "HLT")
    halting = {"halt_time_per_packet": 80.0, "halt_time_share": 4.0}
    without = values_of(trial(exits=busy)) | halting
    assert values_of(trial()) == pytest.approx(without)


def test_a_record_of_before_has_no_time_in_exits_and_no_interrupts_of_the_device() -> None:
    """It knew the time of HLT only in sum with the others', interrupts of all devices, and read
    the guest's counters at some moment before the window and some after."""
    old = tuple(msgspec.structs.replace(e, cpu_ns=None) for e in trial().exits or ())
    gone = ("vcpus.window_ns", "irq.device", "irq.timer", "irq.ipi", "irq.other")
    counters = {k: v for k, v in trial().counters.items() if k not in gone} | {"irq.guest": 487}
    changes = {"exits": old, "counters": counters, "guest_wider_ns": None, "clock": "virtual"}
    record = trial(**changes)
    values = values_of(record)
    kept = {"exits_per_packet", "mmio_exits_per_packet", "exits_per_mib", "cpu_per_gbit"}
    parts = {f"{name}_time_per_packet" for name in ("guest", "vhost", "qemu")}
    assert values.keys() == kept | parts
    frame = frames.exits(run_of(record))
    assert frame["cpu_ns"].isna().all() and frame["time_ns"].sum() == 1_250_000_000
    boots = frames.exits_per_boot(frame)
    assert boots["share"].isna().all() and (boots["per_packet"] > 0).all()


def test_cpu_use_timers_and_ipis_of_a_host_are_not_the_paths() -> None:
    """With native the counters are the host's, with all that runs there."""
    counters = {k: v for k, v in trial().counters.items() if not k.startswith(("cpu.", "vcpus."))}
    values = values_of(trial(path="native", exits=None, counters=counters))
    assert values == {"irqs_per_packet": 0.05}


def test_an_idle_window_has_exits_per_second_and_nothing_per_packet() -> None:
    values = values_of(trial(workload="idle"))
    assert values["exits_per_s"] == 500
    assert not [name for name in values if name.endswith(("_packet", "_mib", "_gbit"))]


def test_what_was_counted_for_longer_than_the_traffic_is_divided_by_that() -> None:
    """The link partner is on another host; a share of time is one of the time that was watched."""
    wider = {"window_ns": 800_000_000, "wider_ns": 200_000_000}
    assert values_of(trial(**wider)) == values_of(trial())
    idle = trial(workload="idle", **wider)
    assert values_of(idle)["exits_per_s"] == 500
    assert set(frames.exits(run_of(trial(**wider)))["window_ns"]) == {1_000_000_000}


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "native", "exits": None},
        {"counters": {}},
        {"counters": {"partner.rx_packets": 0, "partner.tx_packets": 0}},
    ],
)
def test_what_was_not_measured_is_absent_and_not_zero(changes: dict[str, object]) -> None:
    values = values_of(trial(**changes))
    assert "exits_per_packet" not in values
    assert "mmio_exits_per_packet" not in values


def test_native_has_no_exit_in_any_table() -> None:
    run = Run(*make_run(2))
    measured = frames.measurements(run)
    native = set(measured[measured["path"] == "native"]["metric"])
    assert "throughput" in native
    assert not [metric for metric in native if "exit" in metric]
    assert "native" not in set(frames.exits(run)["path"])


def test_no_exit_at_all_is_a_zero() -> None:
    assert values_of(trial(exits=()))["exits_per_packet"] == 0


def test_warm_ups_and_invalid_trials_stay_out_of_a_boots_value() -> None:
    kept = [trial(trial=i, metrics={"throughput": v}) for i, v in enumerate((10.0, 20.0, 90.0))]
    warm = trial(trial=3, warmup=True, metrics={"throughput": 1.0})
    bad = trial(trial=4, valid=False, reasons=("no proof",), metrics={"throughput": 5000.0})
    boots = frames.per_boot(frames.measurements(run_of(*kept, warm, bad)))
    assert boots[boots["metric"] == "throughput"]["value"].tolist() == [20.0]
    counted = frames.exits(run_of(*kept, warm, bad))
    assert set(counted["trial"]) == {0, 1, 2}


def test_a_reason_of_one_trial_is_a_zero_row_in_the_others() -> None:
    other = trial(path="sriov", exits=(ExitCount(reason="io", count=2, time_ns=5, cpu_ns=4),))
    counted = frames.exits(run_of(trial(), other))
    zero = counted[(counted["path"] == "sriov") & (counted["reason"] == "npf")]
    assert (zero["count"].tolist(), zero["cpu_ns"].tolist()) == ([0], [0])
    assert zero["packets"].tolist() == [1000]


def test_exported_files_have_the_agreed_columns(tmp_path: Path) -> None:
    info, records = make_run(2, flaws=True)
    run = Run(info, records)
    frames.export(run, frames.measurements(run), frames.exits(run), tmp_path)
    with (tmp_path / "measurements.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == (
        "run,fidelity,host,nic,path,workload,metric,unit,better,boot,trial,warmup,valid,reason,value,"
        "variant"
    )
    assert {row["warmup"] for row in rows} == {"True", "False"}
    invalid = [row for row in rows if row["valid"] == "False"]
    assert invalid and all("differ by 14 %" in row["reason"] for row in invalid)
    with (tmp_path / "exits.csv").open() as file:
        head = file.readline().strip()
    assert head == (
        "run,path,workload,boot,trial,reason,count,time_ns,window_ns,packets,variant,cpu_ns,"
        "vcpus_ns"
    )
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert [msgspec.json.decode(line, type=TrialRecord) for line in lines] == list(records)
    assert json.loads(lines[0])["index"] == 0


def test_a_metric_nobody_declared_is_kept_as_it_is() -> None:
    measured = frames.measurements(run_of(trial(metrics={"warp": 9.0})))
    row = measured[measured["metric"] == "warp"].iloc[0]
    assert (row["unit"], row["better"], row["value"]) == ("", "none", 9.0)


def test_trials_of_another_fidelity_are_refused(tmp_path: Path) -> None:
    info, records = make_run(1)
    strange = msgspec.structs.replace(records[0], fidelity="hardware")
    write_run(tmp_path / "run", info, [*records, strange])
    with pytest.raises(ConfigError, match="different fidelity"):
        load(tmp_path / "run")


def test_a_run_without_anything_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "run", make_run(1)[0], [])
    with pytest.raises(ConfigError, match="no trial was finished"):
        load(tmp_path / "run")


def test_what_is_exported_is_what_pandas_would_write(tmp_path: Path) -> None:
    """Words with commas, quotes and line ends; numbers in their shortest form; what is unknown."""
    odd = trial(reasons=('say "no", twice', "a\nline"), valid=False, metrics={"rtt_p50": 1e-7})
    without = trial(counters={})
    run = run_of(trial(), odd, without)
    measured, counted = frames.measurements(run), frames.exits(run)
    frames.export(run, measured, counted, tmp_path)
    for name, frame, columns in (
        ("measurements", measured, frames.MEASUREMENT_COLUMNS),
        ("exits", counted, frames.EXIT_COLUMNS),
    ):
        theirs = frame.to_csv(columns=list(columns), index=False)
        assert (tmp_path / f"{name}.csv").read_text() == theirs


def test_a_run_without_a_figure_has_tables_of_no_rows() -> None:
    run = run_of(trial(metrics={}, counters={}, exits=None, valid=False))
    measured, counted = frames.measurements(run), frames.exits(run)
    assert measured.empty and counted.empty
    assert frames.per_boot(measured).empty and frames.exits_per_boot(counted).empty


def test_a_table_costs_little_a_row() -> None:
    """Few bytes: the words of a row are said once for all of them."""
    info, records = make_run(2, trials=10)
    measured = frames.measurements(Run(info, records))
    assert measured.memory_usage(deep=True).sum() / len(measured) < 60


def test_frames_that_were_dropped_on_the_way_cost_no_exits() -> None:
    """Of 1,000 frames 200 came as far as the guest, which answered none."""
    flood = trial(
        counters={
            **trial().counters, "partner.rx_packets": 0, "partner.tx_packets": 1000,
            "partner.rx_bytes": 0, "partner.tx_bytes": 2 << 20,
            DELIVERED: 200, "guest.rx_bytes": 1 << 19,
        }
    )  # fmt: skip
    values = values_of(flood)
    assert values["exits_per_packet"] == 500 / 200
    assert values["exits_per_mib"] == 500 / 0.5
    assert values["vhost_time_per_packet"] == 200_000 / 200
