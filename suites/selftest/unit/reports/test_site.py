"""A team's pages, made of a history of either database."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import msgspec
import pytest

from harness.hosts.base import CommandResult
from harness.records.history.runs import open_history
from harness.records.run import Run
from reports.run.page import HTML
from reports.site import draw
from reports.site.cases import cases
from reports.site.directory import MARK
from suites.selftest.support.command import nicproof
from suites.selftest.support.qualified import Qualified, qualified, write
from suites.selftest.support.synthetic_run import CHARACTERS, make_run

FLR = "resets.vf-flr"
ATOM = "{http://www.w3.org/2005/Atom}"


def run_of(day: int, **changes: object) -> Run:
    """A small run of the given day of January."""
    info, trials = make_run(2, paths=("virtio", "sriov"), workloads=("tcp-tx",), seed=day)
    named = {"run": f"202601{day:02}-080000", "created": f"2026-01-{day:02}T08:00:00+00:00"}
    return Run(msgspec.structs.replace(info, **named, **changes), trials)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """20 runs, oldest first; from the 12th on sriov is slower by 40 per cent."""
    with pytest.MonkeyPatch.context() as patch:
        made = [run_of(day) for day in range(1, 12)]
        slower = replace(CHARACTERS["sriov"], mbit=CHARACTERS["sriov"].mbit * 0.6)
        patch.setitem(CHARACTERS, "sriov", slower)
        return made + [run_of(day) for day in range(12, 21)]


@pytest.fixture
def filled(where: str, runs: list[Run], tmp_path: Path) -> str:
    """A history with those runs, of which the last one's report is there, and that of the one
    before has come to be another run's; and three qualifications."""
    results = tmp_path / "results"
    for place, whose in (("19", "20260119-elsewhere"), ("20", "20260120-080000")):
        (results / place).mkdir(parents=True)
        (results / place / HTML).touch()
        (results / place / "options.json").write_text(json.dumps({"run": whose}))
    with open_history(where) as history:
        for run in runs:
            directory = results / run.info.run[6:8]
            history.add(run.info, run.trials, "main", directory if run != runs[0] else None)
        other = run_of(5, host="beta", nic="I350 0000:02:00.0")
        history.add(other.info, other.trials)
        for day, verdicts in enumerate(({}, {FLR: "fail"}, {}), 1):
            subject, found = qualified(day, verdicts)  # type: ignore[arg-type]
            history.qualifications.add(subject, found, results / f"q{day}")
        write(results / "q3", (subject, found))
        (results / "q3" / "certificate.html").touch()
    return where


def site(where: str, out: Path, *options: str) -> CommandResult:
    return nicproof("history", "site", str(out), f"--history={where}", *options)


class Links(HTMLParser):
    """What a page links to; it fails for tags that are not closed."""

    VOID = frozenset({"meta", "link", "circle", "path", "polyline", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name == "href" and value]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag, f"</{tag}> in line {self.getpos()[0]}"

    @classmethod
    def of(cls, page: Path) -> list[str]:
        parser = cls()
        parser.feed(page.read_text())
        parser.close()
        assert not parser._open
        return parser.found


def page_of(out: Path, words: str) -> Path:
    (found,) = out.glob(f"series/{words}-*.html")
    return found


def text_of(page: Path) -> str:
    return " ".join(re.sub("<[^>]*>", " ", page.read_text()).split())


def test_the_pages_say_what_is_in_the_history(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "public" / "site"
    result = site(filled, out)
    assert result.returncode == 0, result.error
    assert result.text == (
        f"site: {out}/index.html (21 runs, 8 figures, 3 qualifications, 3 pieces of news)\n"
    )
    overview = text_of(out / "index.html")
    assert "8 figures of 2 NICs, 21 runs" in overview
    assert "I350 0000:02:00.0 beta" in overview
    changed = page_of(out, "82576-0000-01-00.0_lab_main_sriov_tcp-tx_throughput")
    assert "worse" in text_of(changed) and "20260112-080000" in text_of(changed)
    assert re.search(
        r"the level changed by \N{MINUS SIGN}\d+\.\d % with 20260112-080000", text_of(changed)
    )
    flat = page_of(out, "82576-0000-01-00.0_lab_main_virtio_tcp-tx_throughput")
    assert "no change in 20 runs" in text_of(flat)
    few = page_of(out, "i350-0000-02-00.0_beta_unnamed_sriov_tcp-tx_throughput")
    assert "too few runs to tell (1 of 8)" in text_of(few)
    tested = text_of(out / "cases.html")
    assert (
        f"{FLR} Resets and link 82576 0000:01:00.0 nicproof-lab pass 2 of 2 3 2 1 0 0 0" in tested
    )
    assert "182 cases by NIC and host: 0 failed or in error when last run, 1 flaky" in tested
    assert "fit, as emulated : no case failed" in tested


def test_links_lead_somewhere_and_to_the_right_report(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "site"
    assert site(filled, out).returncode == 0
    pages = sorted(out.rglob("*.html"))
    assert len(pages) == 2 + 8 + 2
    for page in pages:
        for link in Links.of(page):
            assert (page.parent / unquote(link)).exists(), f"{page}: {link}"
    changed = page_of(out, "82576-0000-01-00.0_lab_main_sriov_tcp-tx_throughput")
    assert f"../../results/20/{HTML}" in Links.of(changed)
    rows = text_of(changed)
    assert "20260120-080000" in rows
    assert re.search(rf"no report at \S+:{tmp_path}/results/19", rows), "it is another run's by now"
    (all_runs,) = out.glob("runs/82576*.html")
    assert text_of(all_runs).count("place not known") == 1, "that of the first run"
    assert "../results/q3/certificate.html" in Links.of(out / "cases.html")


def entries(feed: Path) -> tuple[ElementTree.Element, list[ElementTree.Element]]:
    """A feed's root and its entries, each with what RFC 4287 demands, in sections 4.1.1 and
    4.1.2."""
    root = ElementTree.parse(feed).getroot()
    assert root.tag == f"{ATOM}feed"
    found = root.findall(f"{ATOM}entry")
    assert root.find(f"{ATOM}author/{ATOM}name") is not None
    for each in (root, *found):
        for name in ("id", "title", "updated"):
            (only,) = each.findall(f"{ATOM}{name}")
            assert only.text
        assert re.fullmatch("urn:uuid:[0-9a-f-]{36}", str(each.findtext(f"{ATOM}id")))
        assert datetime.fromisoformat(str(each.findtext(f"{ATOM}updated"))).tzinfo
        assert each.find(f"{ATOM}link[@rel='alternate']") is not None
    assert len({each.findtext(f"{ATOM}id") for each in found}) == len(found)
    return root, found


def test_the_feed_tells_of_changes_by_lasting_ids(
    filled: str, runs: list[Run], tmp_path: Path
) -> None:
    out = tmp_path / "site"
    assert site(filled, out, "--url=https://ci.example.org/n").returncode == 0
    root, found = entries(out / "feed.atom")
    links = {each.get("rel"): each.get("href") for each in root.findall(f"{ATOM}link")}
    assert links["self"] == "https://ci.example.org/n/feed.atom"
    titles = [str(each.findtext(f"{ATOM}title")) for each in found]
    assert "1 for the worse, with 20260112-080000" in titles[0]
    assert [re.sub(".*: ", "", each) for each in titles[1:]] == [
        "1 verdict changed, in qualification 20260103-q",
        "1 verdict changed, 1 to fail or error, in qualification 20260102-q",
    ]
    said = str(found[0].findtext(f"{ATOM}content"))
    assert re.search(
        r"^sriov, tcp-tx: Throughput \N{MINUS SIGN}\d+\.\d % \(worse\): \d+ to \d+ Mbit/s$",
        said,
        re.M,
    )
    page = str(found[0].find(f"{ATOM}link").get("href"))  # type: ignore[union-attr]
    assert (out / page.removeprefix("https://ci.example.org/n/")).exists()
    assert str(found[1].findtext(f"{ATOM}content")) == (
        f"{FLR}: fail to pass; nothing else is known to differ"
    )
    before = [each.findtext(f"{ATOM}id") for each in found]
    with open_history(filled) as history:
        later = run_of(21)
        history.add(later.info, runs[-1].trials, "main")
    assert site(filled, out).returncode == 0
    again, found = entries(out / "feed.atom")
    assert [each.findtext(f"{ATOM}id") for each in found] == before
    assert again.findtext(f"{ATOM}id") == root.findtext(f"{ATOM}id")


def test_a_second_run_replaces_the_first_and_touches_nobody_elses_files(
    filled: str, tmp_path: Path
) -> None:
    out = tmp_path / "site"
    assert site(filled, out).returncode == 0
    pages = {path: path.stat().st_mtime_ns for path in out.rglob("*.html")}
    own = out / "CNAME"
    own.write_text("ci.example.org")
    with open_history(filled) as history:
        (beta,) = history.entries("")
        history.forget(beta.digest)
    killed = next(path for path in pages if "beta" in path.name)
    killed.with_name(f".{killed.name}.part").touch()
    assert site(filled, out).returncode == 0
    gone = {path for path in pages if not path.exists()}
    assert gone == {path for path in pages if "beta" in path.name}
    kept = [path for path in pages if "virtio_tcp-tx_throughput" in path.name and path.exists()]
    assert kept and all(path.stat().st_mtime_ns == pages[path] for path in kept), "not rewritten"
    assert own.exists() and not list(out.rglob(".*"))
    assert set(json.loads((out / MARK).read_text())["files"]) | {MARK, "CNAME"} == {
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metrics=througput",), "'througput' is no metric\n  remedy: choose from throughput"),
        (("--last=0",), "--last 0: a series has one run at least"),
    ],
)
def test_wrong_usage(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    result = site(str(tmp_path / "history.db"), tmp_path / "site", *options)
    assert result.returncode == 2
    assert message in result.error
    assert not (tmp_path / "site").exists()


def test_a_directory_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    where, out = str(tmp_path / "history.db"), tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").touch()
    for mark in (None, "{", '{"files": 3}'):
        if mark is not None:
            (out / MARK).write_text(mark)
        result = site(where, out)
        assert result.returncode == 2
        assert f"{out}: it holds something that is no site of nicproof's (chapter1.tex, ...)" in (
            result.error
        )
    file = tmp_path / "file"
    file.touch()
    assert f"{file}: no directory for a site: Not a directory" in site(where, file).error
    (out / MARK).write_text('{"files": ["../keep", "/etc/hosts"]}')
    keep = tmp_path / "keep"
    keep.touch()
    assert site(where, out).returncode == 0
    assert keep.exists() and (out / "chapter1.tex").exists()


def test_a_history_without_runs_makes_pages_that_say_so(tmp_path: Path) -> None:
    out = tmp_path / "site"
    assert site(str(tmp_path / "history.db"), out).returncode == 0
    assert "No run in the history has a figure yet" in text_of(out / "index.html")
    assert "No qualification is in the history yet" in text_of(out / "cases.html")
    assert not entries(out / "feed.atom")[1]


def test_the_newest_runs_of_one_series_are_chosen(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "site"
    assert site(filled, out, "--last=15", "--name=main", "--metrics=throughput").returncode == 0
    assert len(list(out.glob("series/*.html"))) == 2
    assert "5 older runs left out" in text_of(out / "index.html")
    (all_runs,) = out.glob("runs/*.html")
    assert "15 runs, the newest first; 5 older runs left out" in text_of(all_runs)


def test_what_records_say_is_no_markup(where: str, tmp_path: Path) -> None:
    run = run_of(1, host="<script>alert(1)</script>", nic='"><b 0000:01:00.0')
    with open_history(where) as history:
        history.add(run.info, run.trials, "main")
        subject, found = qualified(1, model="<i>&\x01")
        history.qualifications.add(subject, found)
    out = tmp_path / "site"
    assert site(where, out).returncode == 0
    for page in out.rglob("*.html"):
        assert "<script>alert" not in page.read_text() and "<b 0000" not in page.read_text()
        Links.of(page)
    entries(out / "feed.atom")


TOLD = {"host": ("kernel",)}


def test_flakes_are_counted_where_nothing_else_differs(tmp_path: Path) -> None:
    """p f p s p with one kernel, f p with the next: of 3 pairs of the first kernel 2 differ, and
    the one of the second."""
    subject = qualified(1)[0]

    def made(day: int, verdict: str, kernel: str) -> Qualified:
        sections = {**subject.sections, "host": {**subject.sections["host"], "kernel": kernel}}
        return qualified(day, {FLR: verdict}, sections=sections)  # type: ignore[dict-item]

    told = zip("pfpspfp", ("6.1",) * 5 + ("6.12",) * 2, strict=True)
    words = {"p": "pass", "f": "fail", "s": "skip"}
    with open_history(str(tmp_path / "history.db")) as history:
        for day, (verdict, kernel) in enumerate(told, 1):
            history.qualifications.add(*made(day, words[verdict], kernel))
        of = history.qualifications
        found = cases(of.entries(), of.subjects(), of.verdicts(), TOLD)
    (case,) = (each for each in found if each.id == FLR)
    assert (case.flakes, len(case.alike), case.flake_rate) == (3, 4, 0.75)
    assert [case.count(verdict) for verdict in ("pass", "fail", "skip")] == [4, 2, 1]
    *_, last = case.changes
    assert [each.verdict for each in last] == ["fail", "pass"]
    upgrade = list(case.changes)[2]
    assert upgrade[1].differs_in(upgrade[0]) == ("kernel 6.1 -> 6.12",)
    steady = next(each for each in found if each.id != FLR and each.last.verdict == "pass")
    assert steady.flake_rate == 0.0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (353.0, 574.0, [400, 450, 500, 550]),
        (0.00012, 0.00031, [0.00015, 0.0002, 0.00025, 0.0003]),
        (9e9, 9.3e9, [9e9, 9.05e9, 9.1e9, 9.15e9, 9.2e9, 9.25e9, 9.3e9]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert draw.ticks(low, high) == pytest.approx(expected)
