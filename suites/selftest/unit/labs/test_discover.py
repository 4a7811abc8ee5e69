"""A first inventory, written from what a server with a real 82599 has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import inventory as commands
from harness.cli import main as cli
from harness.core.errors import ConfigError
from harness.inventory import HostSpec, PortRef, PortSpec
from harness.inventory.reading import parse, read
from harness.labs.real import discover, ports
from harness.labs.real.discover import Port, render
from harness.pci.dump import parse_dump
from harness.pci.in_use import Verdict
from harness.pci.survey import from_dump
from suites.selftest.support.answering import answering
from suites.selftest.support.rooted_host import DUMP, RootedHost, with_82599

HERE = Path("/srv/lab/lab.toml")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RootedHost:
    """Both ports of a real 82599; the second one is in use."""
    verdicts = iter([Verdict((), ("a warning",)), Verdict(("eth1 is a member of bridge br0",), ())])
    monkeypatch.setattr(discover, "inspect", lambda *_: next(verdicts))
    return with_82599(tmp_path / "alpha")


def test_a_first_inventory_is_written_from_what_is_found(server: RootedHost) -> None:
    found = answering(discover.ports(server))
    bdfs = [port.bdf for port in found]
    text = render(HostSpec("alpha", "alpha.lab", jump="bastion", ssh_port=2200), found, ())
    written = parse(text, HERE)
    assert written.hosts == (
        HostSpec(
            "alpha",
            "alpha.lab",
            (PortSpec(bdfs[0], "82599"),),
            jump="bastion",
            ssh_port=2200,
            cpus=tuple(range(8, 16)),
            numa=1,
        ),
    )
    assert "firmware 0x61c10001, NUMA node 1, 63 VFs" in text
    assert "# note: a warning" in text
    assert "# left out, since eth1 is a member of bridge br0" in text
    assert f'# bdf = "{bdfs[1]}"' in text


@pytest.mark.parametrize("node", ["1\n", "-1\n"])
def test_cpus_that_are_all_there_are_are_no_choice(server: RootedHost, node: str) -> None:
    """One socket, or firmware that tells of no nodes: persist would leave the host none."""
    server.put("/sys/devices/system/cpu/online", "8-15\n")
    one, other = (path.rpartition("/")[2] for path in server.glob("/sys/bus/pci/devices/*"))
    for bdf in (one, other):
        server.put(f"/sys/bus/pci/devices/{bdf}/numa_node", node)
    text = render(HostSpec("alpha", "alpha.lab"), discover.ports(server), ())
    assert parse(text, HERE).host("alpha").cpus == ()
    assert '# cpus = "8-15"' in text and "leave the first ones to the host" in text


def test_cables_that_were_found_are_written_down(server: RootedHost) -> None:
    found = answering(discover.ports(server))
    one, other = (replace(port, verdict=Verdict((), ())) for port in found)
    text = render(HostSpec("alpha", "local"), (one, other), ((one.bdf, other.bdf),))
    ports = parse(text, HERE).host("alpha").ports
    assert [port.partner for port in ports] == [
        PortRef("alpha", other.bdf),
        PortRef("alpha", one.bdf),
    ]


@given(st.text(max_size=30))
def test_whatever_a_device_says_stays_a_comment(firmware: str) -> None:
    (device, *_) = parse_dump(DUMP.read_text())
    message = Verdict((f"it says {firmware}",), (firmware,))
    (found,) = answering(from_dump((device,), str(device.address)))
    text = render(HostSpec("a", "a"), (Port(found, message, "0"),), ())
    assert parse(text, HERE).host("a").ports == ()


def test_discovery_writes_a_file_but_never_over_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discover, "ports", lambda _: ())  # whatever this machine has
    out = tmp_path / "lab.toml"
    assert cli.main(["inventory", "discover", "local", "--out", str(out)]) == 0
    assert read(out).hosts[0].local
    before = out.read_text()
    assert cli.main(["inventory", "discover", "local", "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_text() == before
    assert cli.main(["inventory", "discover", "local", "--name", "x"]) == 0
    assert "[host.x]" in capsys.readouterr().out
    missing = str(tmp_path / "no" / "lab.toml")
    assert cli.main(["inventory", "discover", "local", "--out", missing]) == 2
    assert "No such file" in capsys.readouterr().err


def test_only_a_port_that_is_listed_and_what_it_should_be_may_be_touched(
    server: RootedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (port.bdf for port in answering(discover.ports(server)))
    spec = HostSpec("alpha", "x", (PortSpec(one, "82599", PortRef("alpha", other)),))
    monkeypatch.setattr(ports, "refusals", lambda *_: ())
    for bdf in (one, other):
        ports.require(server, spec, bdf)
    with pytest.raises(ConfigError, match=r"lists no port 0000:99:00\.0, so it is left alone"):
        ports.require(server, spec, "0000:99:00.0")
    absent = replace(spec, ports=(PortSpec("0000:99:00.0"),))
    with pytest.raises(ConfigError, match=r"no PCI function 0000:99:00\.0"):
        ports.require(server, absent, "0000:99:00.0")
    wrong = replace(spec, ports=(PortSpec(one, "I350"),))
    with pytest.raises(ConfigError, match="is of model 82599, the inventory says I350"):
        ports.require(server, wrong, one)
    monkeypatch.setattr(ports, "refusals", lambda *_: ("eth0 does this", "eth0 does that"))
    with pytest.raises(ConfigError, match="in use: eth0 does this; eth0 does that"):
        ports.require(server, spec, one)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["local"], "here"),
        (["root@alpha.lab"], "alpha"),
        (["10.0.0.7"], "host"),
        (["fd00::7"], "host"),
        (["alpha.lab", "--name", "rack-12"], "rack-12"),
    ],
)
def test_a_host_gets_a_name(
    arguments: list[str], name: str, capsys: pytest.CaptureFixture[str], nowhere: list[HostSpec]
) -> None:
    assert cli.main(["inventory", "discover", *arguments]) == 0
    assert f"[host.{name}]" in capsys.readouterr().out
    assert nowhere[0].address == arguments[0]


def test_options_of_ssh_reach_the_inventory(
    capsys: pytest.CaptureFixture[str], nowhere: list[HostSpec]
) -> None:
    options = ["--jump", "bastion", "--user", "lab", "--ssh-port", "2200", "--identity", "/k"]
    assert cli.main(["inventory", "discover", "alpha", *options]) == 0
    (written,) = parse(capsys.readouterr().out, HERE).hosts
    assert written == nowhere[0]
    assert written.ssh_options()[:6] == ("-J", "bastion", "-l", "lab", "-p", "2200")


def test_a_host_of_the_inventory_is_looked_at_by_its_login(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    nowhere: list[HostSpec],
) -> None:
    monkeypatch.chdir(tmp_path)
    login = 'address = "10.0.0.7"\nssh_port = 2200\nidentity = "key"\n'
    Path("lab.toml").write_text(f'[host."rack.12"]\n{login}')
    assert cli.main(["inventory", "discover", "rack.12"]) == 0
    (written,) = parse(capsys.readouterr().out, HERE).hosts
    assert written == nowhere[0]
    assert (written.name, written.address, written.ssh_port) == ("rack.12", "10.0.0.7", 2200)
    assert written.identity == tmp_path / "key"
    assert cli.main(["inventory", "discover", "rack.12", "--name", "alpha"]) == 0
    assert "[host.alpha]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["local", "--jump", "bastion"], "--jump: it is for ssh"),
        (["alpha", "--ssh-port", "0"], "0 is not a TCP port"),
        (["me@alpha", "--user", "you"], "--user: the address names me already"),
        (["alpha", "--name", "a;id"], "'a;id' is not a name"),
    ],
)
@pytest.mark.usefixtures("nowhere")
def test_options_that_contradict_the_host_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inventory", "discover", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[HostSpec]:
    """Whatever host is asked for has nothing; the list says who was."""
    asked: list[HostSpec] = []

    @contextmanager
    def reached(spec: HostSpec) -> Iterator[RootedHost]:
        asked.append(spec)
        yield RootedHost(tmp_path)

    monkeypatch.setattr(commands, "reached", reached)
    return asked
