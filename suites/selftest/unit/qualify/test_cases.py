"""From a case's mark to the verdict in the certificate, by real pytest sessions."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from harness.records.cases import CaseRecord, Subject, save
from reports.certificate import document as certificate
from suites.selftest.support import command

pytest_plugins = ["pytester"]

CASES = '''
import pytest
from fixtures.qualification import cases
from harness.core.errors import CommandFailed, LabError, MissingCapability
from harness.qualify.rig.act import under_test
from harness.qualify.checks.guest_lifecycle import properties
from harness.qualify.fidelity import Deviation

LISTED = {{
    "lifecycle.known",
    "lifecycle.known-act",
    "lifecycle.mended",
    "lifecycle.known-but-rig-fails",
    "lifecycle.known-and-clean-up-fails",
}}

@pytest.fixture(autouse=True)
def around(request):
    cases.on_emulation(request.node)
    if (name := cases.case_id(request.node)) in LISTED:
        cases.expect_failure(request.node, Deviation(case=name, cause="no igb.c", silicon="does"))
    yield
    if "complains" in request.node.name:
        raise cases.KernelComplaint("BUG: refcount")
    if "good" in request.node.name:
        request.node.user_properties.append((cases.SUSPECT, "igb: Reset adapter"))

@pytest.fixture
def lacking():
    raise MissingCapability("PTP", "no clock")

@pytest.fixture
def broken():
    raise LabError("the lab fell over", remedy="lift it")

@pytest.fixture
def dead_product():
    with under_test("passing the VF to a guest"):
        raise LabError("QEMU refused to start: vfio")

@pytest.fixture
def mess():
    yield
    raise LabError("could not undo")

case = pytest.mark.case

@case("driver")
def test_good(evidence):
    """The first line
    and the second.

    No more than that."""
    evidence("7 VFs")
    evidence("all bound")

@case("device")
def test_bad():
    assert 1 + 1 == 3, "one and one are two"

@case("kernel")
def test_not_refused():
    with pytest.raises(LabError):
        pass

@case("device")
def test_known():
    assert not "dropped", "the frame got through"

@case("device")
def test_mended():
    pass

@case("device")
def test_known_but_rig_fails():
    raise LabError("ssh is gone")

@case("driver")
def test_complains():
    pass

@case("driver")
def test_lacks_in_the_middle():
    raise MissingCapability("ethtool reset", "not supported")

@case("kernel")
def test_lacks(lacking):
    pass

@case("kernel")
def test_rig(broken):
    pass

@case("driver")
def test_refused():
    with under_test("making 7 VFs"):
        raise CommandFailed("l1", ("dd",), 1, "", "Cannot allocate memory")

@case("driver")
def test_refused_around():
    raise CommandFailed("l1", ("dd",), 1, "", "Cannot allocate memory")

@case("driver")
def test_passed_on(dead_product):
    pass

@case("driver")
def test_lacks_in_its_act():
    with under_test("the FLR"):
        raise MissingCapability("FLR", "reset by bus")

@case("driver")
def test_known_act():
    with under_test("the FLR"):
        raise LabError("I/O error")

@case("driver")
def test_clean_up_fails_too():
    try:
        assert not "alive", "the VF never answered"
    finally:
        raise LabError("could not undo")

@case("driver")
def test_known_and_clean_up_fails():
    try:
        assert not "alive", "the VF never answered"
    finally:
        raise LabError("could not undo")

@case("driver")
def test_only_clean_up_fails(mess):
    pass

@case("driver")
def test_fails_and_leaves_a_mess(mess):
    assert not "alive", "the VF never answered"

@case("driver")
def test_bug():
    properties(("-netdev", "tap"))

@case("driver")
def test_handled():
    try:
        assert not "alive"
    except AssertionError as error:
        raise LabError("the guest is gone") from error

@case("qemu")
@pytest.mark.parametrize("way", ["there", "back"])
def test_twice(way):
    pass
'''

VERDICTS = {
    "good": ("pass", ""),
    "bad": ("fail", "one and one are two"),
    "not-refused": ("fail", "DID NOT RAISE LabError"),
    "known": ("deviation", "no igb.c"),
    "mended": ("fail", "passes, although it is listed as a deviation: no igb.c"),
    "known-but-rig-fails": ("error", "ssh is gone"),
    "complains": ("fail", "BUG: refcount"),
    "lacks-in-the-middle": ("skip", "ethtool reset: not supported"),
    "lacks": ("skip", "PTP: no clock"),
    "rig": ("error", "the lab fell over"),
    "refused": (
        "fail",
        "making 7 VFs failed: l1: dd ended with status 1: Cannot allocate memory",
    ),
    "refused-around": ("error", "l1: dd ended with status 1: Cannot allocate memory"),
    "passed-on": ("fail", "passing the VF to a guest failed: QEMU refused to start: vfio"),
    "lacks-in-its-act": ("skip", "FLR: reset by bus"),
    "known-act": ("deviation", "no igb.c"),
    "clean-up-fails-too": ("fail", "the VF never answered; after that: could not undo"),
    "known-and-clean-up-fails": ("error", "could not undo"),
    "only-clean-up-fails": ("error", "could not undo"),
    "fails-and-leaves-a-mess": ("fail", "the VF never answered"),
    "bug": ("error", "('-netdev', 'tap')"),
    "handled": ("error", "the guest is gone"),
    "twice[there]": ("pass", ""),
    "twice[back]": ("pass", ""),
}

PLUGINS = (
    "common.options",
    "common.progress",
    "common.errors",
    "qualification.cases",
    "qualification.certificate",
)


def run(pytester: pytest.Pytester, run_dir: Path, *more: str) -> pytest.RunResult:
    pytester.makepyfile(test_lifecycle=CASES.replace("{{", "{").replace("}}", "}"))
    plugins = [f"-pfixtures.{name}" for name in PLUGINS]
    return command.session(pytester, *plugins, f"--run-dir={run_dir}", *more)


def subject(
    emulated: bool = True, finished: bool = True, selection: str = "", host: str = ""
) -> Subject:
    return Subject(
        run="r",
        version="0",
        created="2026-01-01T00:00:00+00:00",
        fidelity="nested-tcg" if emulated else "hardware",
        clock="virtual" if emulated else "wall",
        model="82576",
        host=host,
        bdf="0000:01:00.0",
        emulated=emulated,
        profile="82576",
        finished=finished,
        selection=selection,
        sections={"host": {"kernel": "6.12 | with <bars>"}},
    )


def found(run_dir: Path) -> dict[str, CaseRecord]:
    lines = (run_dir / "cases.jsonl").read_bytes().splitlines()
    records = [msgspec.json.decode(line, type=CaseRecord) for line in lines]
    return {record.id.removeprefix("lifecycle."): record for record in records}


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one process", "two workers"])
def test_verdicts(pytester: pytest.Pytester, tmp_path: Path, workers: tuple[str, ...]) -> None:
    result = run(pytester, tmp_path, *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    records = found(tmp_path)
    assert {name: (each.verdict, each.reason) for name, each in records.items()} == VERDICTS
    good = records["good"]
    assert good.title == "The first line and the second."
    assert good.evidence == ("7 VFs", "all bound")
    assert good.suspect == ("igb: Reset adapter",)
    assert good.silicon.startswith("evidence: the driver")
    assert records["bad"].silicon.startswith("no evidence: QEMU's model")
    assert records["rig"].silicon == "no evidence"


def test_families_can_be_chosen(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(pytester, tmp_path, "--family=ptp")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result = run(pytester, tmp_path, "--family=ptp,liveliness")
    result.stderr.fnmatch_lines("*'liveliness' is no family of cases*")


def test_certificate_tells_everything(pytester: pytest.Pytester, tmp_path: Path) -> None:
    save(subject(), tmp_path)
    result = run(pytester, tmp_path)
    result.stdout.fnmatch_lines(
        ["certificate: *", "The emulated 82576 is not fit to carry VMs: 8 cases failed"]
    )
    whole = json.loads((tmp_path / "certificate.json").read_text())
    assert whole["verdict"] == "not fit"
    assert {case["id"] for case in whole["cases"]} == {f"lifecycle.{name}" for name in VERDICTS}
    assert set(whole["cases"][0]) >= {"id", "family", "verdict", "reason", "evidence", "seconds"}
    for kind in ("html", "md"):
        text = (tmp_path / f"certificate.{kind}").read_text()
        assert "one and one are two" in text
        assert "Suspect, not counted: igb: Reset adapter" in text
        assert "In 1 case the kernel said of the port under test" in text
        assert "6.12 | with <bars>" not in text, "not escaped"


def case(verdict: str, name: str = "x") -> CaseRecord:
    form = {"id": f"ptp.{name}", "family": "ptp", "title": "T", "decided_by": "device"}
    return msgspec.convert({**form, "verdict": verdict, "reason": "r"}, type=CaseRecord)


@pytest.mark.parametrize(
    ("verdicts", "finished", "selection", "whole"),
    [
        (["pass", "skip", "deviation"], True, "", "fit"),
        (["pass", "fail", "error"], True, "", "not fit"),
        (["pass", "fail"], False, "", "not fit"),
        (["pass", "error"], True, "", "undecided"),
        (["pass"], False, "", "undecided"),
        (["skip", "deviation"], True, "", "undecided"),
        (["pass"], True, "-k mac", "undecided"),
    ],
)
def test_whole_verdict(verdicts: list[str], finished: bool, selection: str, whole: str) -> None:
    of = subject(finished=finished, selection=selection)
    issued = certificate.issue(of, [case(each) for each in verdicts])
    assert issued.verdict == whole
    assert f"is {whole} " in certificate.headline(issued) or whole == "undecided"


def test_a_run_on_several_hosts_is_one_certificate_if_they_are_alike(tmp_path: Path) -> None:
    port = {"model": "82576", "driver": "igb", "firmware-version": "1.0"}
    each = [
        replace(subject(host=name), sections={"port under test": {**port, "BDF": name}})
        for name in ("alpha", "beta")
    ]
    whole = replace(each[0], others=(each[1],))
    save(whole, tmp_path)
    made = [replace(case("pass", name), host=name) for name in ("alpha", "beta")]
    (tmp_path / "cases.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, made)))
    page, _ = certificate.render(tmp_path)
    text = page.with_suffix(".md").read_text()
    assert "is fit to carry VMs" in text
    assert "made on 2 hosts: alpha (82576 0000:01:00.0), beta (82576 0000:01:00.0)." in text
    assert "on alpha" in text and "port under test of beta" in text
    newer = {"port under test": {**port, "firmware-version": "1.1"}}
    apart = replace(whole, others=(replace(each[1], model="I350", sections=newer),))
    issued = certificate.issue(apart, made)
    assert issued.verdict == "undecided"
    assert issued.because.endswith("differ in firmware-version of the port under test")
    assert "82576 or I350" in certificate.headline(issued)
    assert certificate.issue(apart, [*made, case("fail")]).verdict == "not fit"
