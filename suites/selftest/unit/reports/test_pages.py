"""The pages as a browser shows them: who cannot read them, what scrolls, sorts, and answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from harness.comparison.outcome import compare
from harness.records.cases import VERDICTS, CaseRecord, DeviceFact, Subject, save
from harness.records.run import Run
from reports.certificate import document as certificate
from reports.comparison import document as regression
from reports.run import document
from reports.run.cells import Cell, Table
from reports.run.page import templates
from suites.selftest.support import chromium
from suites.selftest.support.chromium import Page
from suites.selftest.support.synthetic_run import make_run, write_run

PAGES = ("report", "regression", "certificate")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, with all that it can say."""
    directory = tmp_path_factory.mktemp("pages")
    made = (_report(directory), _regression(directory), _certificate(directory))
    return dict(zip(PAGES, made, strict=True))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium.page() as opened:
        yield opened


def _report(directory: Path) -> Path:
    paths, workloads = ("native", "e1000e", "virtio", "sriov"), ("tcp-tx", "udp", "latency")
    info, trials = make_run(2, paths=paths, workloads=workloads, flaws=True)
    info = replace(info, clock="virtual")
    virtual = [replace(trial, clock="virtual") for trial in trials]
    return document.render(write_run(directory / "run", info, virtual))[0]


def _regression(directory: Path) -> Path:
    runs = [Run(*make_run(6, paths=("sriov", "virtio"), seed=seed)) for seed in (1, 2)]
    slow = [
        replace(t, metrics={name: value * 0.7 for name, value in t.metrics.items()})
        for t in runs[1].trials
    ]
    new = Run(replace(runs[1].info, run="slower"), tuple(slow))
    return regression.write(compare(runs[0], new), directory / "against")


def _certificate(directory: Path) -> Path:
    directory = directory / "qualification"
    directory.mkdir()
    fact = DeviceFact(what="vendor", found="8086", expected="8086", source="datasheet", agrees=True)
    save(
        Subject(
            run="1", version="0", created="2026-01-01T00:00:00Z", fidelity="nested-tcg",
            clock="virtual", model="82576", bdf="0000:01:00.0", emulated=True, profile="82576",
            sections={"host": {"kernel": "6.12"}}, findings=(fact, replace(fact, agrees=False)),
            finished=True,
        ),
        directory,
    )  # fmt: skip
    cases = [
        CaseRecord(
            id=f"datapath.{verdict}", family="datapath", title="A frame arrives", verdict=verdict,
            decided_by="driver", seconds=1.5, evidence=("seen",), reason="why",
            silicon="evidence",
        )
        for verdict in VERDICTS
    ]  # fmt: skip
    (directory / "cases.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, cases)))
    return certificate.render(directory)[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_keeps_people_from_reading_a_page(
    name: str, scheme: str, pages: dict[str, Path], page: Page
) -> None:
    page.look(1280, scheme=scheme)
    page.open(pages[name].as_uri())
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.violations() == []
    assert not page.complaints


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_never_scrolls_sideways_but_its_tables_do(
    name: str, width: int, pages: dict[str, Path], page: Page
) -> None:
    script = """
        const root = document.documentElement;
        const outside = [...document.querySelectorAll("body *")].filter((each) =>
            !each.closest(".scroll") &&
            each.getBoundingClientRect().right > root.clientWidth + 1);
        const small = [...document.querySelectorAll("figure text")].filter((each) =>
            each.getBoundingClientRect().height < 9);
        return [innerWidth, root.scrollWidth - root.clientWidth,
            ...[...outside, ...small].map((each) => each.outerHTML.slice(0, 200))];
    """
    page.look(width)
    page.open(pages[name].as_uri())
    assert page.run(script) == [width, 0]


ROWS = {
    "8,357 virtual Mbit/s": "a10",
    "≥\N{NO-BREAK SPACE}12,000 virtual Mbit/s": "a9",
    "—": "b",
    "0.0174 virtual Mbit/s": "a",
    "3.1e-05 virtual Mbit/s": "c",
    "n/a": "d",
    "-2.5 virtual Mbit/s": "e",
}


def test_a_table_sorts_by_its_heads_and_comes_back(tmp_path: Path, page: Page) -> None:
    rows = tuple((Cell(name), Cell(value, "[1, 2]")) for value, name in ROWS.items())
    page.open(_page_of(Table((("name",), ("figure", "unit")), rows), directory=tmp_path))
    script = """
        const [first, second] = document.querySelectorAll("thead th");
        const seen = [];
        for (const head of [second, second, second, first, second]) {
            const button = head.querySelector("button"); /* so Enter is a click */
            button.click();
            seen.push([[...document.querySelectorAll("tbody th")].map((each) => each.textContent),
                       first.ariaSort, second.ariaSort]);
        }
        return seen;
    """
    up, down, first, by_name, again = page.run(script)
    assert up == [["e", "c", "a", "a10", "a9", "b", "d"], None, "ascending"]
    assert down == [["a9", "a10", "a", "c", "e", "b", "d"], None, "descending"]
    assert first == [list(ROWS.values()), None, None]
    assert by_name == [["a", "a9", "a10", "b", "c", "d", "e"], "ascending", None]
    assert again == up


ORDERED = (
    ("-12.0 %", "+150 %", "x 3.2", "from none to 3 us"),
    ("2 of 2", "9 of 12", "10 of 11"),
    ("4 Mbit/s", "5 us", "30 us"),
    ("0000:01:00.0", "0000:01:02.0", "0000:01:10.0"),
    ("-∞", "7", "∞"),
    ("boot 2", "boot 10"),
)


def test_numbers_sort_as_what_they_mean(tmp_path: Path, page: Page) -> None:
    wrong = [Table((("figure",),), tuple((Cell(v),) for v in values[::-1])) for values in ORDERED]
    script = """
        document.querySelectorAll("thead button").forEach((each) => each.click());
        return [...document.querySelectorAll("table")].map((table) =>
            [...table.querySelectorAll("tbody th")].map((each) => each.textContent));
    """
    page.open(_page_of(*wrong, directory=tmp_path))
    assert [tuple(each) for each in page.run(script)] == list(ORDERED)


def _page_of(*tables: Table, directory: Path) -> str:
    """Its address."""
    template = templates(directory).from_string(
        '{% extends "page.html.j2" %}{% from "table.html.j2" import show %}{% block body %}'
        "{% autoescape true %}{% for table in tables %}{{ show(table) }}{% endfor %}"
        "{% endautoescape %}{% endblock %}"
    )
    file = directory / "page.html"
    file.write_text(template.render(tables=tables), encoding="utf-8")
    return file.as_uri()


def test_figures_tell_their_values_where_the_pointer_is(pages: dict[str, Path], page: Page) -> None:
    text = pages["report"].read_text()
    assert "sriov, boot 1: " in text.partition("<script>")[0], "without the script, too"
    script = """
        const told = [];
        for (const mark of document.querySelectorAll("[data-tip]")) {
            mark.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: 1270 }));
            const tip = document.querySelector(".tip");
            const box = tip.getBoundingClientRect();
            told.push([tip.textContent, box.width > 0 && box.right <= innerWidth]);
        }
        document.body.dispatchEvent(new PointerEvent("pointermove", { bubbles: true }));
        return { told, hidden: document.querySelector(".tip").hidden,
                 titles: document.querySelectorAll("figure title").length };
    """
    page.look(1280)
    page.open(pages["report"].as_uri())
    found = page.run(script)
    assert found["hidden"] and not found["titles"]
    assert all(shown for _, shown in found["told"])
    told = [text for text, _ in found["told"]]
    for figure in ("Mbit/s, lowest and highest boot [", "half took ", " % of the bar", "in all"):
        assert any(figure in text for text in told), figure
