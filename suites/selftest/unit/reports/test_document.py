"""The whole report, rendered from synthetic runs."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from harness import paths, workloads
from harness.core.crash import guarded
from harness.core.errors import LabError
from harness.hosts.local import LocalHost
from harness.records.run import Run, load
from harness.records.trial import RunInfo, TrialRecord
from harness.stats.estimates import Estimate
from reports.__main__ import main
from reports.run import benchstat, explain, frames, style, tables, words
from reports.run.document import render
from suites.selftest.support.synthetic_run import make_run, write_run

SHORT = ("tcp-tx", "latency", "idle")


def rendered(directory: Path, info: RunInfo, records: Sequence[TrialRecord]) -> tuple[str, str]:
    page, _ = render(write_run(directory / "run", info, records))
    return page.read_text(encoding="utf-8"), page.with_name("report.md").read_text(encoding="utf-8")


def headline_of(info: RunInfo, records: Sequence[TrialRecord]) -> str:
    run = Run(info, tuple(records))
    boots = frames.per_boot(frames.measurements(run))
    return words.headline(run, tables.estimates(boots))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six boots with an invalid trial, a missing path and a failed boot."""
    directory = tmp_path_factory.mktemp("full") / "run"
    page, _ = render(write_run(directory, *make_run(6, flaws=True)))
    return page.parent


def test_everything_a_run_should_leave_is_there(full: Path) -> None:
    names = {str(p.relative_to(full)) for p in full.rglob("*") if p.is_file()}
    figures = ("throughput", "latency", "exits-per-packet", "exit-time-share", "cpu-per-gbit")
    assert names >= {f"figures/{name}.{kind}" for name in figures for kind in ("png", "svg")}
    assert names >= {"report.html", "report.md", "measurements.csv", "exits.csv", "trials.jsonl"}


def test_the_page_needs_no_other_file(full: Path) -> None:
    page = (full / "report.html").read_text()
    assert page.count("<svg ") == 5
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "@import" not in page and not re.search(
        r"url\((?!#)|fetch|https?://(?!www.w3.org/)", page
    )
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', page)) <= set(ids)


def test_a_figure_is_told_to_who_does_not_see_it(full: Path) -> None:
    page = (full / "report.html").read_text()
    texts = dict(alt.split(". ", 1) for alt in re.findall(r'role="img" aria-label="([^"]*)"', page))
    assert len(texts) == 5
    assert all(re.search(r"\b(sriov|e1000e) [\d.,]+", text) for text in texts.values()), texts
    assert texts["Latency: share of round trips slower than x"].startswith("Medians: latency: ")


def test_the_page_is_in_the_order_a_reader_needs(full: Path) -> None:
    page = (full / "report.html").read_text()
    sections = re.findall(r"<h2.*?>(.*?)</h2>", page)
    assert sections == [
        "Which path, for what?", "What is surprising", "Paths", "Figures", "Claims, tested",
        "Exits by reason", "All metrics", "Fidelity: nested-tcg", "Environment",
        "How it was measured",
    ]  # fmt: skip
    titles = re.findall(r'role="img" aria-label="([^".,:]*)', page)
    assert titles == [
        "VM exits per packet on the wire", "CPU time in VM exits by reason", "Throughput",
        "Host CPU time per Gbit on the wire", "Latency",
    ]  # fmt: skip
    assert page.index("<h1>") < page.index("<h2>") < page.index('class="chip ')


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_what_went_wrong_is_told(full: Path, name: str) -> None:
    text = (full / name).read_text()
    assert "differ by 14 %" in text
    assert "this QEMU was built without it" in text
    assert "no answer from the guest agent in 60 s" in text
    assert "logs/e1000e-1.serial.log" in text
    assert "not evidence for silicon" in text


def test_a_virtual_clock_is_named_with_its_cpus(tmp_path: Path) -> None:
    info, made = make_run(2, workloads=SHORT)
    several = msgspec.structs.replace(info, clock="virtual-smp", lab_cpus=4)
    trials = [msgspec.structs.replace(each, clock="virtual-smp") for each in made]
    for text in rendered(tmp_path, several, trials):
        assert text.count("fidelity nested-tcg, virtual clock of several CPUs") == 1
        assert text.count("Fidelity: nested-tcg, virtual clock of several CPUs") == 1
        assert "The lab has 4 CPUs, each with a time of its own" in text and "one CPU" not in text


def test_virtual_time_is_called_so_wherever_there_is_a_number(tmp_path: Path) -> None:
    info, made = make_run(6, workloads=SHORT)
    virtual = msgspec.structs.replace(info, clock="virtual")
    page, text = rendered(
        tmp_path, virtual, [msgspec.structs.replace(t, clock="virtual") for t in made]
    )
    for each in (page, text):
        assert "virtual Mbit/s" in each and "virtual µs" in each
        assert "each instruction takes 1 ns" in each
        assert "†" not in each and "‡" in each
    assert "supported for the software path, in virtual time" in text
    assert (tmp_path / "run" / "figures" / "packet-time.png").is_file()
    told = re.search(r'aria-label="Where the time of a packet goes[^"]*tcp-tx: ([^"]*)', page)
    assert told is not None
    bulk, paced = told[1].split("latency: ")
    assert "rest " in bulk and "rest " not in paced, "as it is drawn"
    csv = (tmp_path / "run" / "measurements.csv").read_text()
    assert "virtual Mbit/s" in csv and ",Mbit/s" not in csv and "virtual exits/packet" not in csv


def test_a_partner_on_another_host_is_told_with_what_it_means_for_the_counts(
    tmp_path: Path,
) -> None:
    info, made = make_run(2, workloads=SHORT)
    apart = msgspec.structs.replace(info, partner_host="beta")
    wider = [msgspec.structs.replace(t, wider_ns=(20 + t.boot) * 1_000_000) for t in made]
    for text in rendered(tmp_path, apart, wider):
        assert f"host {info.host}, link partner on beta" in text
        assert "The link partner is on another host, beta." in text
        assert "20 ms longer than it took (median, at most 21 ms)" in text
    (tmp_path / "same").mkdir()
    for text in rendered(tmp_path / "same", info, made):
        assert "link partner on" not in text and "another host" not in text


def test_a_paths_time_is_explained_part_by_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info, made = make_run(2, workloads=SHORT)
    write_run(
        tmp_path / "run",
        msgspec.structs.replace(info, clock="virtual"),
        [msgspec.structs.replace(t, clock="virtual", exit_cost_ns=5) for t in made],
    )
    assert guarded(lambda: main([str(tmp_path / "run"), "--explain=sriov"])) == 0
    output = capsys.readouterr().out
    rows = {line[:20].strip(): line for line in output.splitlines()}
    assert {"guest", "exits", "vhost", "QEMU", "rest", "msr exits", "hlt exits"} <= rows.keys()
    shares = [
        sum(int(re.findall(r"(\d+)%", rows[part])[column]) for part in explain.PARTS.values())
        for column in (0, 1)
    ]
    assert all(98 <= share <= 102 for share in shares)  # of tcp-tx and latency, rounded
    assert guarded(lambda: main([str(tmp_path / "run"), "--explain=native"])) == 2
    assert "choose from e1000e" in capsys.readouterr().err


def test_the_markdown_has_whole_tables(full: Path) -> None:
    text = (full / "report.md").read_text()
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1, block
    for link in re.findall(r"\]\((.*?)\)", text):
        assert (full / link).is_file()


def test_rendering_again_gives_the_same_bytes(full: Path) -> None:
    before = (full / "report.html").read_bytes()
    page, lines = render(full)
    assert page.read_bytes() == before
    assert all("undecided" not in line or "undecided (" in line for line in lines[:4])
    assert lines[0].startswith("claim 1, ") and lines[-1].startswith("Fewest exits: ")


def test_headline_tells_the_cheapest_and_the_dearest_path() -> None:
    text = headline_of(*make_run(6))
    assert re.match(
        r"Sending TCP, sriov needs 0\.0\d+ exits per packet, e1000e 2\.\d: \d+ times", text
    )


def test_headline_of_overlapping_paths_claims_no_difference() -> None:
    info, made = make_run(6, workloads=("tcp-tx",), paths=("virtio",))
    twin = [
        msgspec.structs.replace(t, path="vdpa", boot=5 - t.boot, block=5 - t.block) for t in made
    ]
    assert "no difference beyond the spread" in headline_of(info, [*made, *twin])


def test_headline_of_one_path_and_of_zero_exits() -> None:
    info, made = make_run(6, workloads=("tcp-tx",), paths=("sriov",))
    none = [msgspec.structs.replace(t, exits=()) for t in made]
    assert headline_of(info, none) == "Sending TCP, sriov needs no exit per packet."


def test_an_interrupted_quick_run_says_both(tmp_path: Path) -> None:
    page, markdown = rendered(tmp_path, *make_run(2, workloads=SHORT, finished=False))
    for text in (page, markdown):
        assert "This run was interrupted" in text
        assert "Indicative: 2 boots a path" in text
        assert "2 blocks, at least 6 are needed" in text
    assert "Supported" not in page and "Refuted" not in page


def test_a_run_without_a_valid_trial_still_has_a_page(tmp_path: Path) -> None:
    info, made = make_run(1, workloads=("tcp-tx",))
    bad = [msgspec.structs.replace(t, valid=False, reasons=("no carrier",)) for t in made]
    page, _ = rendered(tmp_path, info, bad)
    assert "none is valid" in page
    assert page.count("no carrier") == len(info.paths), "those of a workload stand together"
    assert page.count("boot 0: warm-up 0; boot 0: trials 1, 2") == len(info.paths)


def test_a_run_in_which_every_boot_failed_has_a_page(tmp_path: Path) -> None:
    info, _ = make_run(2, flaws=True)
    page, _ = rendered(tmp_path, info, [])
    assert "No trial was finished" in page
    assert "no answer from the guest agent" in page


def test_names_never_seen_and_hostile_text_are_shown_as_they_are(tmp_path: Path) -> None:
    info, made = make_run(2, workloads=("tcp-tx",), paths=("virtio", "sriov"))
    exotic = [
        msgspec.structs.replace(
            t,
            path="vdpa<b>|x" if t.path == "virtio" else t.path,
            workload="sctp-tx",
            exits=tuple(
                msgspec.structs.replace(e, reason=f"{e.reason.upper()}_{n}")
                for e in t.exits or ()
                for n in range(4)
            ),
        )
        for t in made
    ]
    page, markdown = rendered(tmp_path, msgspec.structs.replace(info, paths=()), exotic)
    assert "vdpa&lt;b&gt;|x" in page and "vdpa<b>" not in page
    assert "vdpa&lt;b>\\|x" in markdown
    assert "Under sctp-tx" in page and "NPF_3" in page


def test_native_alone_has_no_exit_figure(tmp_path: Path) -> None:
    page, _ = rendered(tmp_path, *make_run(2, paths=("native",), workloads=SHORT))
    assert "VM exits per packet were not measured" in page
    assert not (tmp_path / "run/figures/exits-per-packet.svg").exists()


def test_a_run_without_exits_says_why_and_shows_the_rest(tmp_path: Path) -> None:
    info, made = make_run(2, workloads=SHORT)
    why = "exit accounting: l1: its kernel does not let exits be counted: not permitted"
    info = msgspec.structs.replace(info, uncounted=why)
    without = [msgspec.structs.replace(each, exits=None) for each in made]
    for text in rendered(tmp_path, info, without):
        assert "Exits were not counted" in text and why in text
        assert "VM exits per packet were not measured in this run" in text
        assert "Mbit/s" in text


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", *make_run(1, workloads=SHORT))
    (directory / "figures").write_text("a file where a directory must be")
    with pytest.raises(LabError, match="cannot write the report"):
        render(directory)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write_run(tmp_path / "run", *make_run(1, workloads=("tcp-tx",)))
    assert guarded(lambda: main([str(directory)])) == 0
    assert capsys.readouterr().out.strip() == str(directory / "report.html")
    assert guarded(lambda: main([str(tmp_path / "nowhere")])) == 2
    assert "no run here" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, reports.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'pandas', 'numpy', 'matplotlib', 'jinja2'} & sys.modules.keys()))"
    )
    LocalHost().run((sys.executable, "-c", code))  # raises if the status is not 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.04821, "0.0482"), (1.9, "1.90"), (38.26, "38.3"), (276.4, "276"),
     (12345.6, "12,346"), (float("inf"), "∞"), (-2.5, "-2.50")],
)  # fmt: skip
def test_numbers_have_three_digits_that_mean_something(value: float, text: str) -> None:
    assert style.number(value) == text


def test_an_interval_has_the_decimals_of_its_estimate() -> None:
    assert style.spread(Estimate(1.92, 1.8512, 2.0149, 6)) == ("1.92", "[1.85, 2.01]")
    assert style.spread(Estimate(0, 0, 0.25, 6)) == ("0", "[0.000, 0.250]")


def test_colours_are_steady_and_apart() -> None:
    usual = {path.name: path.facts.colour for path in paths.ALL if path.usual}
    colours = style.path_colours({**usual, "new": "", "newer": ""})
    assert len(set(colours.values())) == len(colours)
    assert colours.items() > usual.items()
    assert style.reason_fills(["NPF"])["NPF"] == style.reason_fills(["npf"])["npf"]


def test_transactions_are_in_every_output(tmp_path: Path) -> None:
    """The report's first table and figures, its answers, CSV, benchstat and the terminal."""
    made = make_run(2, paths=("e1000e", "sriov"), workloads=("tcp-rr", "udp-rr", "latency"))
    facts = {name: workloads.named(name).facts for name in ("tcp-rr", "udp-rr", "latency")}
    info = msgspec.structs.replace(made[0], workload_facts=facts)
    page, text = rendered(tmp_path, info, made[1])
    assert "Answering requests over TCP: most transactions" in text
    assert (tmp_path / "run" / "figures" / "transactions.png").exists() and "trans/s" in page
    run = load(tmp_path / "run")
    found = tables.estimates(frames.per_boot(frames.measurements(run)))
    summary = tables.summary(run, found)
    assert summary is not None
    heads = [" ".join(head) for head in summary.head]
    for metric in ("Transactions", "RTT, median", "RTT, p99"):
        assert any("tcp-rr" in head and metric in head for head in heads), heads
    names = {"transactions", "exits_per_transaction", "irqs_per_transaction", "cpu_per_transaction"}
    with (tmp_path / "run" / "measurements.csv").open() as file:
        assert names <= {row["metric"] for row in csv.DictReader(file)}
    benched = benchstat.text(run)
    assert "Unit transactions better=higher" in benched
    assert all(re.search(rf"Benchmark\S+/workload=udp-rr .* {name}", benched) for name in names)
    assert {"tcp-rr", "udp-rr"} <= explain.parts(run, found)["sriov"].keys()
