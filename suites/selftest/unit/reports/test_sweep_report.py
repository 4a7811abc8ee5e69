"""The report on a sweep, rendered from made-up records."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import msgspec
import pytest

from harness.records.run import Run
from reports.__main__ import main
from reports.sweep.document import render
from suites.selftest.support.synthetic_run import write_run
from suites.selftest.support.synthetic_sweep import Gains, make_sweep

AXES = ("queues", "guest-cpus")
GAINS: Gains = {
    (queues, cpus): min(float(queues), 2.0) * (1.5 if cpus == "2" else 1.0)
    for queues, cpus in product(("1", "2", "4"), ("1", "2"))
}


def written(directory: Path, run: Run) -> Path:
    return write_run(directory / "run", run.info, run.trials)


@pytest.fixture(scope="module")
def one_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = written(tmp_path_factory.mktemp("sweep"), make_sweep(AXES, GAINS, busy=0.99))
    render(directory)
    return directory


def test_what_a_sweep_says_comes_first(one_path: Path) -> None:
    page, markdown = ((one_path / f"sweep.{kind}").read_text() for kind in ("html", "md"))
    sentence = "stops gaining at queues = 2 (guest-cpus = 1) in throughput: vhost&#39;s CPU is full"
    assert sentence in re.findall(r"<h1>(.*)</h1>", page)[0]
    assert sentence.replace("&#39;", "'") in markdown.splitlines()[0]
    assert "guest-cpus = 2" in page and page.count("<svg ") == 2


def test_the_page_needs_no_other_file(one_path: Path) -> None:
    page = (one_path / "sweep.html").read_text()
    assert not re.search(r'(src|href)="(?!#)|@import|url\((?!#)', page)
    for name in ("tcp-tx-throughput", "tcp-tx-exits-per-packet"):
        assert (one_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<title>" in (one_path / "figures" / f"{name}.svg").read_text()


def test_the_lines_of_a_single_path_are_the_second_axis(one_path: Path) -> None:
    drawing = (one_path / "figures/tcp-tx-throughput.svg").read_text()
    assert ">guest-cpus = 1<" in drawing and ">guest-cpus = 2<" in drawing
    assert re.search(r"guest-cpus = 2, queues 4: [\d,]+ Mbit/s, 95 % interval \[", drawing)


def test_every_point_is_a_row_with_its_interval(one_path: Path) -> None:
    text = (one_path / "sweep.md").read_text()
    rows = re.findall(r"^\| (\d) \| (\d) \| ([\d,]+) \[", text, re.MULTILINE)
    assert [row[:2] for row in rows] == list(product("124", "12"))
    values = [float(row[2].replace(",", "")) for row in rows]
    assert values[3] / values[0] == pytest.approx(3.0, rel=0.03)


def test_a_program_gets_the_same(one_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(one_path), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["axes"] == {"queues": ["1", "2", "4"], "guest-cpus": ["1", "2"]}
    assert said["points"]["queues4-guest-cpus2"] == {"queues": "4", "guest-cpus": "2"}
    figures = [each for each in said["figures"] if each["metric"] == "throughput"]
    assert len(figures) == 6 and all(
        each["low"] <= each["value"] <= each["high"] for each in figures
    )
    knee = said["knees"][0]
    assert (knee["axis"], knee["value"], knee["held"]) == ("queues", "2", {"guest-cpus": "1"})
    assert knee["full"] == ["vhost's CPU"]


def test_several_paths_are_lines_and_the_second_axis_panels(tmp_path: Path) -> None:
    run = make_sweep(AXES, GAINS, paths=("virtio", "virtio-vhost"), boots=3)
    directory = written(tmp_path, run)
    _, lines = render(directory)
    drawing = (directory / "figures/tcp-tx-throughput.svg").read_text()
    assert drawing.count(">guest-cpus = ") == 2 and ">virtio-vhost<" in drawing
    assert lines[-1] == "Curves of 3 boots a point: to tell where they stop gaining takes 6."
    assert "indicative" in (directory / "sweep.md").read_text()


def test_a_sweep_that_was_cut_off_shows_what_it_has(tmp_path: Path) -> None:
    whole = make_sweep(("mtu",), {("1500",): 1.0, ("9000",): 2.0})
    info = msgspec.structs.replace(whole.info, finished=False)
    run = Run(info, tuple(each for each in whole.trials if each.variant == "mtu1500"))
    directory = written(tmp_path, run)
    _, lines = render(directory)
    assert any("interrupted" in line for line in lines)
    assert "| 9000 | — |" in (directory / "sweep.md").read_text()
