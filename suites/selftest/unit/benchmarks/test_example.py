"""The examples that the README opens: made from records, and light enough for a repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.core.errors import ConfigError
from harness.runs.suite import ROOT
from suites.benchmarks import example
from suites.selftest.support.synthetic_run import make_run, write_run

MOST_BYTES = 1_500_000
OURS = "/home/somebody/nicproof/fixtures/__main__.py --rootdir=/home/somebody/nicproof"


def test_a_run_becomes_the_example_without_its_machines_paths(tmp_path: Path) -> None:
    info, records = make_run(boots=1, paths=("virtio", "sriov"), workloads=("tcp-tx",))
    environment = {**info.environment, "controller": {"command": OURS, "CPUs": "2"}}
    run = write_run(tmp_path / "run", replace(info, environment=environment), records)
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    made = example.make(run, tmp_path / "docs")
    assert {path.parent.name for path in made} == {"example"}
    assert {"report.html", "exits-per-packet.png", "first.png"} <= {path.name for path in made}
    page = (tmp_path / "docs/example/report.html").read_text()
    assert "nicproof bench" in page and "/home/somebody" not in page
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no run here"):
        example.make(tmp_path / "empty", tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize("name", ["example/report.html", "certificate/certificate.html"])
def test_the_examples_are_small_and_ask_nothing_of_the_network(name: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    assert len(page.encode()) < MOST_BYTES
    assert 'src="http' not in page and "<link" not in page
