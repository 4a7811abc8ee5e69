"""Figures: what their files and their place in a page hold beside what is drawn."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.core.percentiles import BEYOND
from harness.records.run import Run
from reports.run import canvas, document, figures, frames, svg, tables
from suites.selftest.support.synthetic_run import make_run

NAMESPACE = "{http://www.w3.org/2000/svg}"


def data(run: Run, **rtts: np.ndarray) -> canvas.Data:
    measured, exits = frames.measurements(run), frames.exits(run)
    boots = frames.per_boot(measured)
    found = {path: {0: each} for path, each in rtts.items()}
    return canvas.Data(run, boots, frames.exits_per_boot(exits), found, tables.estimates(boots))


def titles(drawing: str) -> list[str]:
    root = ElementTree.fromstring(drawing)
    return [each.text or "" for each in root.iter(f"{NAMESPACE}title")]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[canvas.Data, Path]:
    directory = tmp_path_factory.mktemp("figures")
    made = data(Run(*make_run(2, paths=("virtio", "sriov"), workloads=("tcp-tx", "latency"))))
    figures.draw_all(made, directory)
    return made, directory


def test_every_boot_and_every_part_tells_its_value(drawn: tuple[canvas.Data, Path]) -> None:
    made, directory = drawn
    told = titles((directory / "throughput.svg").read_text())
    for path in ("virtio", "sriov"):
        for boot, value in made.by_boot(path, "tcp-tx", "throughput"):
            assert f"{path}, boot {boot}: {value:.0f} Mbit/s" in told
        assert any(text.startswith(f"{path}: ") and "lowest and highest boot" in text
                   for text in told)  # fmt: skip
    parts = titles((directory / "exits-per-packet.svg").read_text())
    assert any(re.match(r"virtio: npf [\d.]+ exits/packet, \d+ % of the bar", text)
               for text in parts)  # fmt: skip


def test_a_drawing_in_a_page_has_the_pages_colours_and_no_id_of_another(
    drawn: tuple[canvas.Data, Path],
) -> None:
    _, directory = drawn
    drawing = (directory / "exits-per-packet.svg").read_text()
    part = svg.inline(drawing, "exits", 'said & "quoted"')
    root = ElementTree.fromstring(part)
    assert root.get("aria-label") == 'said & "quoted"' and root.get("role") == "img"
    assert all(each.get("id", "exits-").startswith("exits-") for each in root.iter())
    colours = re.findall(r"(?<!, )#[0-9a-f]{6}\b", part)
    assert colours == [], "each is a variable's last resort"
    assert "var(--ink, " in part and "var(--page, " in part and "<style" not in part
    assert titles(part) == titles(drawing)


def test_a_line_of_latency_ends_where_evidence_does() -> None:
    axes = Figure().subplots()
    for count, marks in ((9, 0), (19, 0), (20, 1), (100, 2), (1000, 3), (10_000, 4)):
        figures._tail(axes, np.arange(1, count + 1) * 1000.0, str(count), points=500)
        line = axes.get_lines()[-1]
        left = np.asarray(line.get_ydata())[-1] * count
        assert round(left) == min(BEYOND, count), count
        assert len(np.atleast_1d(np.asarray(line.get_markevery()))) == marks, (
            "of half, 10 %, 1 %, 0.1 %"
        )


def test_the_legend_of_latency_is_in_the_order_of_the_lines_right_ends() -> None:
    random = np.random.default_rng(1)
    run = Run(*make_run(2, paths=("virtio", "sriov", "passthrough"), workloads=("latency",)))
    quick, slow, slower = (random.lognormal(np.log(us * 1000), 0.1, 2000) for us in (20, 50, 90))
    made = figures.latency(data(run, virtio=slower, sriov=slow, passthrough=quick))
    assert made is not None
    entries = [text.get_text() for text in made[0].legends[0].get_texts()]
    assert entries[0] != entries[-1]
    assert [each for each in _by_rows(entries, 3) if each in run.paths] == [
        "passthrough", "sriov", "virtio"
    ]  # fmt: skip


def _by_rows(entries: list[str], columns: int) -> list[str]:
    """As they are read, of entries column by column."""
    whole, more = divmod(len(entries), columns)
    heights = [whole + (column < more) for column in range(columns)]
    starts = [sum(heights[:column]) for column in range(columns)]
    return [
        entries[start + row]
        for row in range(max(heights))
        for start, height in zip(starts, heights, strict=True)
        if row < height
    ]


def test_figures_stand_in_order_and_alone_where_half_a_column_would_be_empty() -> None:
    def figure(name: str, height: float) -> canvas.Drawn:
        return canvas.Drawn(name, "", "", "", height)

    every = [figure("a", 8), figure("b", 9), figure("c", 4), figure("d", 8), figure("e", 8)]
    rows = [[each.name for each in row] for row in document.in_rows(every)]
    assert rows == [["a", "b"], ["c"], ["d", "e"]]
