"""The set-up that outlasts a boot: held against the programs that will read it, and against L1."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.cli import main as cli
from harness.core.errors import ConfigError
from harness.guest.image.rootfs import LIBRARIES, LOADER
from harness.hosts.base import CommandResult, Host
from harness.hosts.local import LocalHost
from harness.inventory import HostSpec, PortSpec
from harness.labs.base import Lab
from harness.persist.facts import Facts, PortFacts, facts
from harness.persist.files import File, Wishes, files, vf_mac
from harness.qualify.checks.digest import differences, digest
from suites.selftest.support.rooted_host import with_82599

ONE = PortFacts("0000:01:00.0", ("8086", "10fb"), "ixgbe", "ixgbevf", 63)
TWO = PortFacts("0000:03:00.0", ("8086", "10c9"), "igb", "igbvf", 7)
SPEC = HostSpec(
    "alpha",
    "alpha.lab",
    ports=(PortSpec(ONE.bdf), PortSpec(TWO.bdf)),
    cpus=(2, 3, 4, 5),
    numa=0,
    hugepages=512,
)
FACTS = Facts("INTEL_IOMMU", tuple(range(8)), (ONE, TWO), held=("0000:03:00.1",))
BY_ID = replace(SPEC, bind="new_id")
WISHES = [Wishes(), Wishes(vfs=2), Wishes(vfio=True)]


def made(spec: HostSpec = SPEC, found: Facts = FACTS, wishes: Wishes = WISHES[0]) -> dict[str, str]:
    """Path -> text."""
    return {file.path: file.text for file in files(spec, found, wishes)}


def ours(text: str) -> list[str]:
    """Lines that are no comments."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("wishes", WISHES, ids=str)
def test_each_file_says_first_where_it_belongs(wishes: Wishes) -> None:
    found = made(wishes=wishes)
    assert all(text.startswith(f"# {path}\n") for path, text in found.items())
    assert all(ours(text) for text in found.values())
    comments = [line for text in found.values() for line in text.splitlines() if line[:1] == "#"]
    assert len(comments) > len(found) and all(len(line) <= 100 for line in comments)


def words(spec: HostSpec = SPEC, found: Facts = FACTS) -> str:
    """The kernel's command line as grub-mkconfig comes to it, by a shell that reads the file."""
    text = made(spec, found)["/etc/default/grub.d/nicproof.cfg"]
    script = f'GRUB_CMDLINE_LINUX=quiet\n{text}\nprintf %s "$GRUB_CMDLINE_LINUX"'
    return LocalHost().run(("sh", "-euc", script)).text


def test_the_command_line_is_what_a_shell_makes_of_the_file() -> None:
    huge = "hugepagesz=2M hugepages=0:512"
    assert words() == f"quiet intel_iommu=on iommu=pt {huge} isolcpus=managed_irq,2-5"
    anywhere = replace(SPEC, numa=None, cpus=())
    assert words(anywhere).endswith("iommu=pt hugepagesz=2M hugepages=512")


def test_amds_iommu_is_not_told_what_it_does_not_know() -> None:
    """amd_iommu=on is no value of that parameter; the IOMMU is on by itself."""
    plain = replace(SPEC, cpus=(), hugepages=0)
    assert words(plain, replace(FACTS, iommu="AMD_IOMMU")) == "quiet iommu=pt"


def test_services_keep_off_the_cpus_of_a_run() -> None:
    path = "/etc/systemd/system.conf.d/nicproof.conf"
    assert ours(made()[path]) == ["[Manager]", "CPUAffinity=0-1,6-7"]
    assert path not in made(replace(SPEC, cpus=()))


@pytest.mark.parametrize("cpus", [range(8), range(12)])
def test_a_host_is_left_some_cpus_of_its_own(cpus: range) -> None:
    with pytest.raises(ConfigError, match=r"all CPUs that it has.*\n.*leave some out of `cpus`"):
        made(replace(SPEC, cpus=tuple(cpus)))


def tool(request: pytest.FixtureRequest, path: str, *works: str) -> tuple[str, ...]:
    """argv of a program that answers to `works`: the machine's own, else the root tree's."""
    name = path.rpartition("/")[2]
    if shutil.which(name) and LocalHost().run((name, *works), check=False).returncode == 0:
        return (name,)
    root: Path = request.getfixturevalue("debian_root")
    libraries = f"{root / LIBRARIES}:{root / LIBRARIES / 'systemd'}"
    argv = (str(root / LOADER), "--library-path", libraries, str(root / path))
    if not (root / path).exists() or LocalHost().run((*argv, *works), check=False).returncode:
        pytest.skip(f"no {name} that knows {' '.join(works)}, here or in {root}")
    return argv


def put(directory: Path, found: dict[str, str]) -> None:
    for path, text in found.items():
        file = directory / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def checked(argv: Sequence[str]) -> CommandResult:
    return LocalHost().run(argv, timeout=60, check=False)


def configured(request: pytest.FixtureRequest, directory: Path, found: dict[str, str]) -> set[str]:
    """What modprobe understood of these files, a line each."""
    put(directory, found)
    modprobe = tool(request, "usr/sbin/modprobe", "--version")
    message = checked((*modprobe, "-C", str(directory / "etc/modprobe.d"), "--showconfig"))
    assert message.returncode == 0 and not message.error, message.error
    return {
        line for line in message.text.splitlines() if line.startswith(("options vfio", "softdep"))
    }


def test_modprobe_understands_what_goes_to_vfio(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    after = {"softdep igb pre: vfio-pci", "softdep ixgbe pre: vfio-pci"}
    by_name = made(wishes=Wishes(vfio=True))
    assert configured(request, tmp_path / "name", by_name) == after
    by_id = made(BY_ID, replace(FACTS, held=()), Wishes(vfio=True))
    assert "/etc/udev/rules.d/70-nicproof.rules" not in by_id
    ids = "options vfio_pci ids=8086:10c9,8086:10fb"
    assert configured(request, tmp_path / "id", by_id) == {ids, *after}


def test_max_vfs_is_told_for_the_drivers_that_have_it_and_not_used() -> None:
    generic = PortFacts("0000:05:00.0", ("15b3", "1017"), "mlx5_core", "", 8)
    found = made(found=replace(FACTS, ports=(ONE, TWO, generic)), wishes=Wishes(vfs=2))
    message = {
        path.rpartition("vfs-")[2]: re.findall(r"options \w+ max_vfs=\d", text)
        for path, text in found.items()
        if path.endswith(".service") and "max_vfs" not in "".join(ours(text))
    }
    assert message == {
        "0000-01-00.0.service": ["options ixgbe max_vfs=2"],
        "0000-03-00.0.service": ["options igb max_vfs=2"],
        "0000-05-00.0.service": [],
    }


def test_drivers_have_the_parameter_that_is_told(
    request: pytest.FixtureRequest, debian_root: Path
) -> None:
    modinfo = tool(request, "usr/sbin/modinfo", "--version")
    for driver in ("igb", "ixgbe"):
        (module,) = debian_root.glob(f"usr/lib/modules/*/kernel/**/{driver}.ko*")
        assert re.search(r"^max_vfs:", checked((*modinfo, "-p", str(module))).text, re.MULTILINE)


@pytest.mark.parametrize("wishes", WISHES[1:], ids=str)
def test_udev_finds_no_fault_with_the_rules(
    wishes: Wishes, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """`udevadm verify` is there since systemd 254."""
    put(tmp_path, made(wishes=wishes))
    rules = tmp_path / "etc/udev/rules.d/70-nicproof.rules"
    udevadm = tool(request, "usr/bin/udevadm", "verify", "--help")
    message = checked((*udevadm, "verify", "--no-style", str(rules)))
    assert message.returncode == 0, message.text + message.error
    broken = tmp_path / "broken.rules"
    broken.write_text(rules.read_text().replace("KERNEL", "KERNAL"))
    assert checked((*udevadm, "verify", str(broken))).returncode != 0


def test_systemd_finds_no_fault_with_the_units(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    put(tmp_path, made(wishes=Wishes(vfs=2)))
    analyze = tool(request, "usr/bin/systemd-analyze", "verify", "--help")
    units = sorted((tmp_path / "etc/systemd/system").iterdir())
    assert [unit.name for unit in units] == [
        f"nicproof-vfs-{name}.service" for name in ("0000-01-00.0", "0000-03-00.0")
    ]
    message = checked((*analyze, "verify", "--man=no", *map(str, units)))
    assert message.returncode == 0 and not message.error, message.error
    units[0].write_text(units[0].read_text().replace("oneshot", "onceshot"))
    assert "onceshot" in checked((*analyze, "verify", "--man=no", str(units[0]))).error


def test_the_rules_start_the_units_that_there_are() -> None:
    found = made(wishes=Wishes(vfs=2))
    wanted = re.findall(r'SYSTEMD_WANTS}\+="([^"]+)"', found["/etc/udev/rules.d/70-nicproof.rules"])
    assert {f"/etc/systemd/system/{unit}" for unit in wanted} == {
        path for path in found if path.endswith(".service")
    }


def test_what_shares_a_group_is_held_by_name_and_never_by_id() -> None:
    rules = ours(made(wishes=Wishes(vfio=True))["/etc/udev/rules.d/70-nicproof.rules"])
    drivers = [
        re.findall(r'KERNEL=="(\S+)", ATTR{driver_override}="(\S+)"', rule) for rule in rules
    ]
    assert [pair for (pair,) in drivers] == [
        (ONE.bdf, "vfio-pci"),
        (TWO.bdf, "vfio-pci"),
        ("0000:03:00.1", "pci-stub"),
    ]
    with pytest.raises(ConfigError, match=r"alpha: 0000:03:00\.1 cannot be told by an ID"):
        made(BY_ID, wishes=Wishes(vfio=True))


def test_a_vf_has_an_address_of_its_own_on_every_host() -> None:
    beta = replace(SPEC, name="beta")
    macs = [vf_mac(s, p, n) for s in (SPEC, beta) for p in (ONE, TWO) for n in range(64)]
    assert len(set(macs)) == len(macs)
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs), "local, and of one station"


def test_more_vfs_than_a_port_offers_are_refused() -> None:
    with pytest.raises(ConfigError, match=f"--vfs 8: alpha/{TWO.bdf} offers 7 VFs"):
        made(wishes=Wishes(vfs=8))


def test_facts_are_the_hosts_own(tmp_path: Path) -> None:
    host = with_82599(tmp_path / "alpha")
    one, two = (path.rpartition("/")[2] for path in host.glob("/sys/bus/pci/devices/*"))
    host.put("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\n")
    host.put("/sys/devices/system/cpu/online", "0-3\n")
    port = PortFacts(one, ("8086", "10fb"), "ixgbe", "ixgbevf", 63)
    assert facts(host, SPEC, (one,)) == Facts("AMD_IOMMU", (0, 1, 2, 3), (port,), twins=(two,))
    host.put("/sys/firmware/acpi/tables/DMAR")  # VT-d beside such a CPU: QEMU's machines have it
    assert facts(host, SPEC, (one,)).iommu == "INTEL_IOMMU"
    with pytest.raises(ConfigError, match=r"there is no PCI function ffff:00:00\.0"):
        facts(host, SPEC, ("ffff:00:00.0",))


LAB = """
[host.here]
address = "local"
[[host.here.port]]
bdf = "0000:01:00.0"
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "which host?"),
        (("nowhere",), "no inventory lists ports of nowhere"),
        (("here", "--vfs=-1"), "--vfs -1 is no number of VFs"),
        (("here", "--vfs=1", "--vfio"), "under vfio-pci a port's own driver makes no VFs"),
        (("here", "--port=0000:02:00.0"), "no port of here in the inventory"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_host_is_asked(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab_toml = tmp_path / "lab.toml"
    lab_toml.write_text(LAB)
    assert cli.main(["persist", f"--inventory={lab_toml}", *options]) == 2
    assert message in capsys.readouterr().err


class _Vf(msgspec.Struct):
    address: str


class _Link(msgspec.Struct):
    vfinfo_list: tuple[_Vf, ...] = ()


def commands(file: File, key: str) -> list[tuple[str, ...]]:
    """argvs of a unit's lines, as systemd comes to them: `$$` stands for `$`."""
    lines = re.findall(rf"^{key}=-?(.*)$", file.text, re.MULTILINE)
    return [tuple(shlex.split(line.replace("$$", "$"))) for line in lines]


@pytest.mark.lab
@pytest.mark.timeout(300)
def test_what_a_unit_runs_makes_vfs_and_takes_them_away(lab: Lab) -> None:
    host: Host = lab.host
    spec = HostSpec("l1", "l1", ports=(PortSpec(lab.ports.dut),))
    found = facts(host, spec, (lab.ports.dut,), change=True)
    assert found.ports[0].driver == "igb" and found.twins == (lab.ports.partner,)
    (service,) = (f for f in files(spec, found, Wishes(vfs=2)) if f.path.endswith(".service"))
    before = digest(host)
    for argv in commands(service, "ExecStart"):
        host.run(argv)
    (interface,) = host.glob(f"/sys/bus/pci/devices/{lab.ports.dut}/net/*")
    shown = host.run(("ip", "-j", "link", "show", "dev", interface.rpartition("/")[2])).text
    (link,) = msgspec.json.decode(shown, type=tuple[_Link])
    wanted = [vf_mac(spec, found.ports[0], index) for index in range(2)]
    assert [vf.address for vf in link.vfinfo_list] == wanted
    vfs = [host.exists(f"/sys/bus/pci/devices/{lab.ports.dut}/virtfn{n}/driver") for n in (0, 1)]
    assert vfs == [False, False], "the host's own driver took one"
    for argv in commands(service, "ExecStop"):
        host.run(argv)
    host.write(f"/sys/bus/pci/devices/{lab.ports.dut}/sriov_drivers_autoprobe", b"1")
    assert not differences(before, digest(host))
