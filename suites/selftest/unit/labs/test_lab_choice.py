"""Which lab a run takes: pure decisions on inventories, and the files they are read from."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main as cli
from harness.core.errors import ConfigError
from harness.hosts.local import LocalHost
from harness.inventory.reading import parse
from harness.journal.permissions import EVERYTHING
from harness.labs.choice import (
    Choice,
    NestedChoice,
    RealChoice,
    automatic,
    choose,
    of_inventory,
    require_room,
    require_together,
)
from harness.labs.shape import LabShape, Machine
from harness.runs.asked import Asked
from harness.runs.options import BenchOptions
from harness.runs.suite import ROOT, workers_of
from suites.selftest.unit.records.test_history_bench import without_lab

ONE, TWO, THREE, FOUR = (f"0000:0{number}:00.0" for number in (1, 2, 3, 4))

RACK = f"""
[host.alone]
address = "alone.lab"
[[host.alone.port]]
bdf = "{ONE}"

[host.alpha]
address = "alpha.lab"
may = ["bind", "sriov"]
[[host.alpha.port]]
bdf = "{ONE}"
[[host.alpha.port]]
bdf = "{TWO}"
partner = "{THREE}"

[host.beta]
address = "local"
[[host.beta.port]]
bdf = "{ONE}"
partner = "{TWO}"
[[host.beta.port]]
bdf = "{THREE}"
partner = "{FOUR}"
"""

APART = f"""
[host.alpha]
address = "alpha.lab"
[[host.alpha.port]]
bdf = "{ONE}"
partner = "beta/{TWO}"
[host.beta]
address = "beta.lab"
[[host.beta.port]]
bdf = "{TWO}"
"""

LONELY = f"""
[host.alpha]
address = "alpha.lab"
[[host.alpha.port]]
bdf = "{ONE}"
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to be in, and no inventory of the user's."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return directory


def rack(name: str = "", text: str = RACK) -> RealChoice:
    return of_inventory(parse(text, Path("rack.toml")), name, "so it is")


def test_the_first_port_with_a_partner_on_its_own_host_is_taken() -> None:
    choice = rack()
    assert (choice.host.name, choice.ports.dut, choice.ports.partner) == ("alpha", TWO, THREE)
    assert choice.ports.may == {"bind", "sriov"}
    assert choice.ports.binding.ports == choice.host.touchable >= {TWO, THREE}
    assert choice.describe() == f"alpha (alpha.lab), {TWO} against {THREE}: so it is"
    assert choice.restore(choice.host) == "nicproof restore alpha --inventory rack.toml"
    assert choice.claims == ((choice.host, (TWO, THREE)),)


def test_a_host_is_taken_by_name() -> None:
    choice = rack("beta")
    assert (choice.ports.dut, choice.ports.partner) == (ONE, TWO)
    assert choice.describe().startswith("beta (this machine), ")
    with pytest.raises(ConfigError, match=r"no host 'bete'\n.*did you mean 'beta'"):
        rack("bete")


def test_the_port_to_qualify_may_be_any_that_is_cabled_on_the_host() -> None:
    choice = rack("beta")
    assert choice.testing(FOUR).ports.dut == FOUR
    assert choice.testing(FOUR).ports.partner == THREE
    assert choice.testing(ONE) == choice
    message = f"no port {ONE} of alpha has its partner on the same host"
    with pytest.raises(ConfigError, match=message):
        rack("alpha").testing(ONE)
    with pytest.raises(ConfigError, match="of alpha, beta has its partner on the same host"):
        rack().testing("0000:09:00.0")


def test_the_nested_lab_has_two_ports_where_all_may_be_changed() -> None:
    choice = NestedChoice("so it is")
    assert choice.ports.may == EVERYTHING
    assert choice.testing(TWO).ports.dut == TWO
    with pytest.raises(ConfigError, match=f"--nic {FOUR}: no port of this lab"):
        choice.testing(FOUR)


def test_a_partner_may_be_on_another_host() -> None:
    choice = rack(text=APART)
    assert choice.describe() == (
        f"alpha (alpha.lab), {ONE} against {TWO} of beta (beta.lab): so it is"
    )
    assert choice.remote_partner is not None and choice.remote_partner.name == "beta"
    assert choice.ports.here == (ONE,) and choice.ports.binding.ports == {ONE}
    assert choice.most == 1
    assert choice.restore(choice.remote_partner) == "nicproof restore beta --inventory rack.toml"
    with pytest.raises(ConfigError, match="no port of beta has a partner"):
        rack("beta", APART)


def test_a_partner_on_the_same_host_goes_before_one_on_another() -> None:
    """Of the same host, and of hosts that stand further up."""
    cabled = f'[[host.alone.port]]\nbdf = "{FOUR}"\npartner = "alpha/{ONE}"\n'
    choice = rack(text=RACK + cabled)
    assert choice.remote_partner is None and choice.host.name == "alpha"
    far = rack("alone", RACK + cabled)
    assert far.remote_partner is not None and (far.ports.dut, far.ports.partner) == (FOUR, ONE)


def test_whoever_is_under_test_two_runs_claim_the_same_host_first() -> None:
    back = APART + f'partner = "alpha/{ONE}"\n'
    one, other = rack("alpha", back), rack("beta", back)
    assert [host.name for host, _ in one.claims] == ["alpha", "beta"]
    assert one.claims == other.claims == ((one.host, (ONE,)), (other.host, (TWO,)))


def test_a_qualification_wants_both_ports_on_one_host() -> None:
    require_together(rack())
    require_together(NestedChoice("so it is"))
    with pytest.raises(ConfigError, match=r"needs both ports on one host.*of beta \(beta"):
        require_together(rack(text=APART))
    mixed = RACK + f'[[host.beta.port]]\nbdf = "0000:05:00.0"\npartner = "alone/{ONE}"'
    with pytest.raises(ConfigError, match=r"no port 0000:05:00\.0 of beta has its partner on"):
        rack("beta", mixed).testing("0000:05:00.0")


def test_without_an_inventory_the_nested_lab_is_taken(here: Path) -> None:
    assert not list(here.iterdir())
    choice = choose("auto")
    assert choice.describe() == (
        "the nested lab: there is no lab.toml here, nor in ~/.config/nicproof"
    )


def test_an_inventory_that_can_be_used_is_taken_of_itself(here: Path) -> None:
    (here / "lab.toml").write_text(RACK)
    choice = choose("auto")
    assert isinstance(choice, RealChoice) and choice.host.name == "alpha"
    assert choice.describe().endswith(": lab.toml lists them")
    assert isinstance(choose("nested"), NestedChoice)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[host.a]\n[host.b]\n", "lab.toml has 2 errors"),
        ("no TOML", "lab.toml has 1 error,"),
        (LONELY, "no port of alpha has a partner"),
        (b"\xff", "cannot read lab.toml"),
    ],
)
def test_one_that_cannot_be_used_is_told_as_the_reason(
    text: str | bytes, reason: str, here: Path
) -> None:
    (here / "lab.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    choice = automatic(Path("lab.toml"))
    assert isinstance(choice, NestedChoice)
    assert reason in choice.why and "\n" not in choice.why
    assert choice.why.endswith("see nicproof inventory check lab.toml")


def test_a_file_that_is_named_must_be_fit(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read none\.toml"):
        choose("none.toml")
    (here / "odd#name.toml").write_text(RACK)
    (here / "rack.toml").write_text(RACK)
    taken: dict[str, Choice] = {
        asked: choose(asked) for asked in ("rack.toml", "rack.toml#beta", "odd#name.toml")
    }
    hosts = [choice.host.name for choice in taken.values() if isinstance(choice, RealChoice)]
    assert hosts == ["alpha", "beta", "alpha"]


def test_only_the_nested_lab_has_the_virtual_clock(here: Path) -> None:
    (here / "lab.toml").write_text(RACK)
    assert isinstance(choose("nested", LabShape("virtual")), NestedChoice)
    assert isinstance(choose("auto", LabShape("wall")), RealChoice)
    for shape in (
        LabShape("virtual"),
        LabShape("virtual-smp"),
        LabShape(cpus=8),
        LabShape("auto", None, 9),
    ):
        with pytest.raises(ConfigError, match=r"^--.*: only the nested lab can have that") as error:
            choose("auto", shape)
        assert "--lab nested, or leave --" in error.value.remedy


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"clock": "virtual", "lab_cpus": 4}, "--lab-cpus 4: by --clock virtual all CPUs"),
        ({"clock": "virtual", "exit_cost": 5}, "--exit-cost 5: --clock virtual has no price"),
        ({"clock": "wall", "exit_cost": 5}, "--exit-cost 5: --clock wall has no price"),
    ],
)
def test_a_machine_that_no_clock_can_have_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as error:
        Machine(**options).shape()
    assert "--clock virtual-smp" in error.value.remedy


@pytest.mark.parametrize(
    ("command", "text", "reason"),
    [
        ("bench", LONELY, "no port of alpha has a partner"),
        ("qualify", LONELY, "no port of alpha has a partner"),
        ("qualify", APART, "qualify needs both ports on one host"),
    ],
)
def test_commands_tell_a_lab_that_cannot_be_before_anything_starts(
    command: str, text: str, reason: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rack.toml").write_text(text)
    assert cli.main([command, "--lab=rack.toml"]) == 2
    assert reason in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["rack.toml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lab=rack.toml", "-n3"), "there are 2: alpha, beta"),
        (("--lab=rack.toml", "--", "-n", "3"), "there are 2: alpha, beta"),
        (("--lab=rack.toml#beta", "-n2"), "there are 1: beta"),
        (("--lab=rack.toml", f"--nic={FOUR}", "-n2"), "there are 1: beta"),
    ],
)
def test_more_workers_than_hosts_are_told_before_anything_starts(
    options: tuple[str, ...], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rack.toml").write_text(RACK)
    assert cli.main(["qualify", *options]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["rack.toml"]


@pytest.mark.parametrize("command", [("bench",), ("ab", "--ablate=vhost")])
def test_a_comparison_takes_one_host(
    command: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rack.toml").write_text(RACK)
    assert cli.main([*command, "--lab=rack.toml", "--", "-n2"]) == 2
    assert "a comparison takes one host" in capsys.readouterr().err


def test_a_comparison_takes_one_host_by_pytests_own_door_too(tmp_path: Path) -> None:
    """Each worker would start a lab, and make the run."""
    argv = (str(ROOT / "suites" / "comparison"), "-n2", "--lab=nested", "--no-history")
    result = without_lab(tmp_path, "pytest", *argv, f"--run-dir={tmp_path}/run", "-pwithout_lab")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, result.text + result.error
    assert "a comparison takes one host" in result.error and "Traceback" not in result.error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "workers"),
    [
        (("-n", "2"), "2"),
        (("-x", "-n3"), "3"),
        (("-nauto",), "auto"),
        (("--numprocesses=4", "-x"), "4"),
        (("-k", "no-n2", "--nic=x"), ""),
    ],
)
def test_workers_among_arguments_for_pytest(arguments: tuple[str, ...], workers: str) -> None:
    assert workers_of(arguments) == workers


def test_other_hosts_that_would_do_are_known() -> None:
    choice = rack()
    assert [each.host.name for each in choice.each] == ["alpha", "beta"]
    assert choice.most == 2 and not any(each.others for each in choice.each)
    require_room(choice, 2)
    require_room(NestedChoice("so it is"), 99)
    assert choice.testing(ONE).host.name == "beta", "on the host that has it"


def test_a_bench_knows_its_lab(here: Path) -> None:
    (here / "lab.toml").write_text(RACK)
    parser = cli.command_line()
    given = parser.parse_args(["bench", f"--run-dir={here}/run"])
    assert isinstance(BenchOptions.of(Asked.of(given)).lab, RealChoice)
    given = parser.parse_args(["ab", "--ablate=vhost", f"--run-dir={here}/run", "--lab=nested"])
    assert BenchOptions.of(Asked.of(given)).lab == NestedChoice("as --lab says")


def test_a_run_says_which_lab_it_takes_and_why_it_is_not_to_be_had(tmp_path: Path) -> None:
    """A host where nobody listens at the port of its sshd."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    host = f'address = "127.0.0.1"\nssh_port = {port}\nssh_config = "/dev/null"\n'
    (tmp_path / "lab.toml").write_text(RACK.replace('address = "alpha.lab"\n', host))
    options = (f"--lab={tmp_path}/lab.toml", f"--run-dir={tmp_path}/run", "--no-history")
    argv = (sys.executable, "-m", "harness.cli", "bench", *options, "--quick")
    result = LocalHost(env={"PYTHONPATH": str(ROOT)}).run(argv, timeout=120, check=False)
    assert result.returncode == 1
    assert f"lab: alpha (127.0.0.1), {TWO} against {THREE}: as --lab says\n" in result.text
    assert result.text.count("no lab: alpha: cannot connect: ") == 1, result.text + result.error
