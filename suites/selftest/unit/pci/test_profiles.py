"""The profiles, and devices held against them: real dumps, and QEMU's igb, which is no 82576."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from harness.core.errors import ConfigError
from harness.net.ethtool import Abilities, parse_features
from harness.pci.capability import STANDARD
from harness.pci.compare import Expectation, compare
from harness.pci.dump import parse_dump
from harness.pci.extended import EXTENDED
from harness.pci.profiles import Expected, Fact, Profile, parse_profile, profile_for, profiles
from harness.pci.survey import Running, Survey, from_dump
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED
MODELS = ("82576", "I350", "82599", "X540")

RESETS = {"device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus"}
"""What reset_method may say (drivers/pci/pci.c, pci_reset_fn_methods)."""


def of(name: str, address: str) -> Survey:
    """One function of a captured dump."""
    found = from_dump(parse_dump((DATA / "pci" / f"{name}.txt").read_text()))
    chosen = next(each for each in found if each.address == address)
    assert isinstance(chosen, Survey)
    return chosen


def offered(features: str) -> tuple[str, ...]:
    return tuple(name for name, each in parse_features(features).items() if each.offered)


def compared(survey: Survey) -> dict[str, Expectation]:
    findings = compare(survey, profile_for(*survey.ids))
    by_name = {finding.what: finding for finding in findings}
    assert len(by_name) == len(findings), "each thing is compared once"
    return by_name


def agreement(survey: Survey) -> dict[str, str]:
    return {what: finding.agrees for what, finding in compared(survey).items()}


def test_the_models_that_are_supported_are_there_whole() -> None:
    for model in MODELS:
        profile = profiles()[model]
        assert not profile.generic and profile.vendor == "8086"
        assert profile.vfs is not None and profile.link is not None and profile.speed is not None
        assert profile.vfs.driver.value == profile.vfs.device.value - 1, "one pool is the PF's"
        assert profile.pf.queues is not None and profile.vf.queues is not None
        assert profile.pf.ids and profile.vf.ids and profile.errata


def test_no_id_belongs_to_two() -> None:
    ids = Counter(
        id for profile in profiles().values() for id in (*profile.pf.ids, *profile.vf.ids)
    )
    assert [id for id, times in ids.items() if times > 1] == []


@pytest.mark.parametrize(
    ("device", "name", "driver"),
    [
        ("10c9", "82576", "igb"),
        ("1526", "82576", "igb"),
        ("10ca", "82576 VF", "igbvf"),
        ("1521", "I350", "igb"),
        ("1520", "I350 VF", "igbvf"),
        ("10fb", "82599", "ixgbe"),
        ("154d", "82599", "ixgbe"),
        ("10ed", "82599 VF", "ixgbevf"),
        ("1528", "X540", "ixgbe"),
        ("1515", "X540 VF", "ixgbevf"),
    ],
)
def test_a_function_is_known_by_its_ids(device: str, name: str, driver: str) -> None:
    profile = profile_for("8086", device)
    assert profile.name("8086", device) == name
    assert profile.is_vf(device) == name.endswith("VF")
    known = profile.expected(device).driver
    assert known is not None and known.value == driver


@pytest.mark.parametrize("ids", [("8086", "1533"), ("1af4", "10c9"), ("ffff", "ffff")])
def test_what_is_not_known_gets_the_generic_profile(ids: tuple[str, str]) -> None:
    profile = profile_for(*ids)
    assert profile.generic and profile.name(*ids) == ":".join(ids)
    assert profile.pf == profile.vf == Expected() and profile.vfs is None


def test_names_in_the_profiles_are_those_that_tools_print() -> None:
    """A name that no tool prints would make every device disagree."""
    titles = {kind.TITLE for kind in (*STANDARD.values(), *EXTENDED.values())}
    features = (DATA / "ethtool" / "pf-features.txt").read_text().replace(" [fixed]", "")
    for profile in profiles().values():
        for expected in (profile.pf, profile.vf):
            assert _values(expected.offloads) <= set(offered(features))
            assert _values(expected.capabilities) <= titles
            assert _values(expected.resets) <= RESETS


def _values(fact: Fact[tuple[str, ...]] | None) -> set[str]:
    return set(fact.value) if fact else set()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model = ", "profile x.toml: "),
        ('title = "X"', "missing required field `model`"),
        ('model = "X"\ntitle = "X"\nspeed = 1000', r"\$\.speed"),
        ('model = "X"\ntitle = "X"\nspeed = { value = 1 }', "`source`"),
        ('model = "X"\ntitle = "X"\nspeed = { value = 1, source = "" }', r"\$\.speed\.source"),
        ('model = "X"\ntitle = "X"\nspeeed = 1', "unknown field `speeed`"),
        ('model = "X"\ntitle = "X"\n[pf]\nmsix = { value = -1, source = "s" }', r"\$\.pf\.msix"),
        ('model = "X"\ntitle = "X"\n[pf.ids]\n0x10c9 = "X"', r"\$\.pf\.ids"),
    ],
)
def test_a_wrong_profile_is_refused_by_key(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_profile(text, "x.toml")


def test_a_real_82576_is_what_its_profile_says() -> None:
    findings = agreement(of("82576", "0000:01:00.0"))
    assert set(findings.values()) == {"yes"}
    assert {"VFs of the device", "first VF offset", "MSI-X vectors", "capabilities"} <= set(
        findings
    )


def test_of_a_real_82599_only_what_was_read_is_judged() -> None:
    findings = compared(of("82599", "0000:01:00.0"))
    assert findings["MSI-X vectors"].agrees == findings["link width"].agrees == "yes"
    assert findings["VFs of the device"].agrees == findings["capabilities"].agrees == "unknown"
    trained = findings["link, as trained"]
    assert (trained.expected, trained.found, trained.agrees) == ("5 GT/s x8", "2.5 GT/s x2", "no")


def test_a_real_i350_in_256_and_in_64_bytes() -> None:
    whole, header = (
        agreement(of("i350", "0000:03:00.0")),
        agreement(of("i350-header", "0000:02:00.0")),
    )
    assert [what for what, agrees in whole.items() if agrees == "no"] == []
    assert whole["MSI-X vectors"] == whole["link, as trained"] == "yes"
    assert set(header.values()) == {"unknown"}, "nothing is wrong that was not seen"


def test_qemus_igb_is_found_to_differ_from_silicon() -> None:
    findings = compared(of("qemu-igb", "0000:01:00.0"))
    differs = {what: found.found for what, found in findings.items() if found.agrees == "no"}
    assert differs == {"capabilities": "lacks Device Serial Number", "link width": "x1"}
    assert findings["first VF offset, ARI"].agrees == "yes", "its ARI hierarchy is on"
    assert findings["capabilities"].source == "dump"


def test_a_vf_is_held_against_what_is_known_of_vfs() -> None:
    findings = agreement(of("qemu-igb", "0000:01:10.0"))
    assert findings == {"MSI-X vectors": "yes"}


RUNNING = Running(
    driver="igb",
    interface="eth1",
    pf="",
    iommu_group="6",
    group_size=1,
    numa_node=-1,
    total_vfs=7,
    vfs=0,
    resets=("flr", "pm", "bus"),
    abilities=Abilities(
        driver="igb",
        version="6.12",
        firmware="2.1.0",
        speeds=(10, 100, 1000),
        offloads=offered((DATA / "ethtool" / "pf-features.txt").read_text()),
        channels=8,
        clock=True,
        max_mtu=9216,
    ),
)
"""QEMU's igb as the nested lab showed it."""


def running(**changes: object) -> dict[str, str]:
    survey = replace(of("82576", "0000:01:00.0"), running=replace(RUNNING, **changes))  # type: ignore[arg-type]
    return agreement(survey)


def test_what_the_kernel_says_is_compared_too() -> None:
    assert set(running().values()) == {"yes"}
    assert "channels of the driver" in running()


@pytest.mark.parametrize(
    ("changes", "what", "agrees"),
    [
        ({"driver": "vfio-pci"}, "driver", "no"),
        ({"driver": ""}, "driver", "no"),
        ({"total_vfs": 8}, "VFs of the driver", "no"),
        ({"total_vfs": None}, "VFs of the driver", "unknown"),
        ({"group_size": 4}, "IOMMU group of its own", "no"),
        ({"iommu_group": "", "group_size": 0}, "IOMMU group of its own", "unknown"),
        ({"resets": ("bus",)}, "reset methods", "no"),
        ({"resets": None}, "reset methods", "unknown"),
    ],
)
def test_a_difference_is_one_and_the_rest_stays(
    changes: dict[str, object], what: str, agrees: str
) -> None:
    findings = running(**changes)
    assert findings.pop(what) == agrees
    assert set(findings.values()) == {"yes"}


def test_what_only_an_interface_tells_is_left_out_without_one() -> None:
    assert {"largest MTU", "offloads", "speed, Mbit/s"} <= set(running())
    assert not {"largest MTU", "offloads", "speed, Mbit/s"} & set(running(abilities=None))
    assert "channels of the driver" not in running(vfs=2), "VFs take queues from their PF"


def test_a_nic_without_a_profile_is_only_asked_about_its_link() -> None:
    survey = replace(of("82599", "0000:01:00.0"), ids=("8086", "1533"), running=RUNNING)
    assert agreement(survey) == {"link, as trained": "no"}


def test_errata_of_a_vf_are_not_those_of_its_pf() -> None:
    profile: Profile = profile_for("8086", "10ed")
    assert {each.of for each in profile.errata_of("10fb")} == {"pf", "vf"}
    assert {each.of for each in profile.errata_of("10ed")} == {"vf"}
