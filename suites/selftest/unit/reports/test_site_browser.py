"""A team's pages as a browser shows them: Chromium, without a screen, from files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.records.history.runs import open_history
from reports.site import directory
from reports.site.main import gather
from suites.selftest.support import chromium
from suites.selftest.support.chromium import Page
from suites.selftest.support.qualified import qualified
from suites.selftest.unit.reports.test_site import FLR, run_of


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of ten runs on each of two hosts, and of two qualifications that differ in a case."""
    scratch = tmp_path_factory.mktemp("site")
    out = scratch / "site"
    with open_history(str(scratch / "history.db")) as history:
        for host in ("alpha", "beta"):
            for day in range(1, 11):
                run = run_of(day, host=host)
                history.add(run.info, run.trials, "main")
        for day, verdict in enumerate(("pass", "fail"), 1):
            history.qualifications.add(*qualified(day, {FLR: verdict}))  # type: ignore[dict-item]
        pages = gather(history, out, ("throughput", "exits_per_packet"), None, 100).pages
    directory.write(out, pages)
    return out


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium.page() as opened:
        yield opened


SHOWN = "[...document.querySelectorAll('table.live tbody tr')].filter(row => !row.hidden)"


def column(page: Page, number: int) -> list[str]:
    """The texts of a column's cells, in the rows that are shown, from above."""
    found: list[str] = page.value(f"{SHOWN}.map(row => row.cells[{number}].innerText.trim())")
    return found


def click(page: Page, selector: str) -> None:
    page.value(f"document.querySelector({selector!r}).click()")


def choose(page: Page, name: str, value: str) -> None:
    """As a person does: the box changes, and says so."""
    page.value(
        f"(select => {{ select.value = {value!r}; select.dispatchEvent(new Event('change')) }})"
        f"(document.querySelector('select[name={name}]'))"
    )


def test_rows_are_chosen_and_put_in_order(page: Page, site: Path) -> None:
    page.look(1280)
    page.open(f"{site.as_uri()}/index.html")
    assert len(column(page, 0)) == 8
    choose(page, "host", "beta")
    choose(page, "path", "sriov")
    assert set(column(page, 4)) == {"beta"} and set(column(page, 1)) == {"sriov"}
    assert page.value("document.querySelector('output').innerText") == "2 of 8 rows"
    click(page, "form.filters button")
    assert len(column(page, 0)) == 8, "all of them again"
    for head, number in (("last", 7), ("runs", 10)):
        values: dict[str, list[float]] = {}
        for _ in range(2):
            click(page, f"th[data-name={head}] button")
            way = page.value(f"document.querySelector('th[data-name={head}]').ariaSort")
            values[way] = page.value(
                f"{SHOWN}.map(row => parseFloat(row.cells[{number}].dataset.sort ?? "
                f"row.cells[{number}].innerText))"
            )
        assert values["ascending"] == sorted(values["descending"])
        assert values["descending"] == sorted(values["ascending"], reverse=True)
    click(page, "th[data-name=figure] button")
    assert column(page, 0) == sorted(column(page, 0))
    assert not page.complaints


def test_what_was_chosen_is_in_the_address(page: Page, site: Path) -> None:
    page.open(f"{site.as_uri()}/index.html")
    choose(page, "host", "alpha")
    click(page, "th[data-name=last] button")
    address = page.value("location.href")
    assert address.endswith("#host=alpha&sort=last")
    shown = column(page, 7)
    page.open(f"{site.as_uri()}/cases.html")
    page.open(address)
    assert (column(page, 7), set(column(page, 4))) == (shown, {"alpha"})
    page.open(f"{site.as_uri()}/index.html#host=nowhere&sort=nothing&colour=red")
    assert len(column(page, 0)) == 8, "what there is not chooses nothing"
    assert not page.complaints


def test_a_flaky_case_comes_first_by_its_rate(page: Page, site: Path) -> None:
    page.open(f"{site.as_uri()}/cases.html#sort=-flakes")
    assert column(page, 0)[0] == FLR and column(page, 5)[0] == "1 of 1"
    choose(page, "verdict", "fail")
    assert column(page, 0) == [FLR]
    assert not page.complaints


def test_without_a_script_all_rows_stand(page: Page, site: Path) -> None:
    page._call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(f"{site.as_uri()}/index.html#host=alpha")
        assert len(column(page, 0)) == 8
        assert page.value("document.querySelector('form.filters').offsetHeight") == 0
    finally:
        page._call("Emulation.setScriptExecutionDisabled", value=False)


CONTRAST = """(() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(each => {
      const part = each / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = each => {
    for (; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const worst = {};
  for (const each of document.querySelectorAll("body *")) {
    if (![...each.childNodes].some(node => node.nodeType == 3 && node.data.trim())) continue;
    if (each.closest("script, title")) continue;
    const style = getComputedStyle(each);
    const colours = [each.closest("svg") ? style.fill : style.color, behind(each)].map(light);
    const ratio = (Math.max(...colours) + 0.05) / (Math.min(...colours) + 0.05);
    const name = `${each.tagName} ${each.getAttribute("class") ?? ""}`;
    worst[name] = Math.min(worst[name] ?? 21, ratio);
  }
  return worst;
})()"""
"""Of texts to what is behind them, the least by tag and class: WCAG 2.1's definitions of relative
luminance and contrast ratio."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_and_can_be_read(page: Page, site: Path, width: int, scheme: str) -> None:
    page.look(width, scheme=scheme)
    pages = ("index.html", "cases.html", *(f"{each}/*.html" for each in ("series", "runs")))
    backgrounds = set()
    for pattern in pages:
        file = next(site.glob(pattern))
        page.open(file.as_uri())
        assert page.value("document.documentElement.scrollWidth") <= width, file.name
        ratios: dict[str, Any] = page.value(CONTRAST)
        assert len(ratios) > 5
        assert not {name: each for name, each in ratios.items() if each < 4.5}, file.name
        assert page.violations() == [], file.name
        backgrounds.add(page.value("getComputedStyle(document.body).backgroundColor"))
    assert backgrounds == {"rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 28)"}
    assert not page.complaints


def test_the_console_would_be_heard(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>console.error('one'); nothing.here()</script><img src=gone.png>")
    page.open(broken.as_uri())
    heard = " ".join(page.complaints)
    page.complaints.clear()
    assert "one" in heard and "nothing is not defined" in heard and "gone.png" in heard
