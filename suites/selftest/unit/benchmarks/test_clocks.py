"""The table of `make bench-clocks`, from launches made up for the purpose."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from suites.benchmarks import clocks

PATHS = {"sriov": 100.0, "passthrough": 101.0, "e1000e": 20.0}


def launches(wall: tuple[float, ...]) -> pd.DataFrame:
    """Three launches; by the wall clock sriov's figures are those of `wall`."""
    rows = [
        (clock, 0, launch, path, "tcp-tx", "throughput", value)
        for clock in ("virtual", "wall")
        for launch in range(3)
        for path, usual in PATHS.items()
        for value in [wall[launch] if (clock, path) == ("wall", "sriov") else usual]
    ]
    return pd.DataFrame(rows, columns=list(clocks.COLUMNS))


def row(table: pd.DataFrame, metric: str, workload: str) -> pd.Series[int]:
    found = table.loc[(metric, workload)]
    assert isinstance(found, pd.Series)
    return found


def test_variation_is_in_per_cent_of_the_mean() -> None:
    found = clocks.variation(launches((90.0, 100.0, 110.0)))
    assert found.loc[("throughput", "tcp-tx", "sriov"), ("wall", 0)] == pytest.approx(10.0)
    assert found.loc[("throughput", "tcp-tx", "sriov"), ("virtual", 0)] == 0.0


def test_paths_that_are_close_may_change_places_and_others_may_not() -> None:
    close = clocks.reversals(launches((102.0, 100.0, 102.0)))
    assert row(close, "throughput", "tcp-tx").to_list() == [0, 0]
    apart = clocks.reversals(launches((10.0, 100.0, 100.0)))
    assert row(apart, "throughput", "tcp-tx").to_dict() == {("virtual", 0): 0, ("wall", 0): 1}


def test_table_and_figure_are_written_beside_the_launches(tmp_path: Path) -> None:
    launches((90.0, 100.0, 110.0)).to_csv(tmp_path / clocks.FILENAME, index=False)
    clocks.main(tmp_path)
    text = (tmp_path / "clocks.md").read_text()
    assert "| throughput | tcp-tx | sriov | 0.00 | 10.00 |" in text
    assert "virtual, quiet (3)" in text and "busy" not in text
    assert (tmp_path / "clocks.png").stat().st_size > 0
