"""Inventories of hosts: what is read, and what is said of one that is wrong."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.cli import main as cli
from harness.core.errors import ConfigError
from harness.hosts import sshpath
from harness.hosts.connection import Target
from harness.inventory import HostSpec, LinkPlan, PortPair, PortRef, PortSpec
from harness.inventory.fields import cpu_list
from harness.inventory.lines import locate
from harness.inventory.reading import InventoryError, parse, read
from harness.inventory.spec import Inventory
from harness.inventory.view import ranges
from harness.journal.permissions import Binding
from harness.labs.reach import inventory_at
from harness.runs.suite import ROOT

RACK = """\
[lab]
name = "rack 12"

[host.alpha]
address = "alpha.lab"
jump = "bastion,me@inner:2222"
user = "lab"
ssh_port = 2200
identity = "keys/lab key"
known_hosts = "/etc/nicproof/known hosts"
cpus = "2-4,7"
numa = 0
hugepages = 512
may = ["bind", "sriov"]
bind = "new_id"
hold = "vfio-pci"

[[host.alpha.port]]
bdf = "0000:01:00.0"
model = "82599"
partner = "0000:01:00.1"

[[host.alpha.port]]
bdf = "03:00.0"                 # of domain 0
partner = "beta/0000:02:00.0"

[host.beta]
address = "local"
[[host.beta.port]]
bdf = "0000:02:00.0"
partner = "alpha/0000:03:00.0"
"""
HERE = Path("/srv/lab/lab.toml")


def problems(text: str) -> list[tuple[int, str, str]]:
    """Line, key and what is wrong, of each problem."""
    with pytest.raises(InventoryError) as caught:
        parse(text, HERE)
    return [(each.line, each.key, each.what) for each in caught.value.problems]


def test_everything_is_read() -> None:
    rack = parse(RACK, HERE)
    assert (rack.name, rack.path) == ("rack 12", HERE)
    alpha, beta = rack.hosts
    assert alpha == HostSpec(
        name="alpha",
        address="alpha.lab",
        ports=(
            PortSpec("0000:01:00.0", "82599", PortRef("alpha", "0000:01:00.1")),
            PortSpec("0000:03:00.0", "", PortRef("beta", "0000:02:00.0")),
        ),
        jump="bastion,me@inner:2222",
        user="lab",
        ssh_port=2200,
        identity=Path("/srv/lab/keys/lab key"),
        known_hosts=Path("/etc/nicproof/known hosts"),
        cpus=(2, 3, 4, 7),
        numa=0,
        hugepages=512,
        may=frozenset({"bind", "sriov"}),
        bind="new_id",
        hold="vfio-pci",
    )
    assert beta.local and not alpha.local
    assert alpha.touchable == {"0000:01:00.0", "0000:01:00.1", "0000:03:00.0"}
    assert alpha.partners_of("0000:01:00.1") == {"0000:01:00.0"}
    assert alpha.partners_of("0000:01:00.0") == {"0000:01:00.1"}
    assert alpha.partners_of("0000:03:00.0") == beta.partners_of("0000:02:00.0") == frozenset()
    assert alpha.binding == Binding("new_id", "vfio-pci", alpha.touchable)
    assert (beta.bind, beta.hold) == ("driver_override", "pci-stub")
    assert beta.may == frozenset(), "nothing may be changed that is not allowed"


def test_options_of_ssh_are_words_of_their_own() -> None:
    options = parse(RACK, HERE).host("alpha").ssh_options()
    assert options == (
        *("-J", "bastion,me@inner:2222", "-l", "lab", "-p", "2200"),
        *("-o", 'IdentityFile="/srv/lab/keys/lab key"', "-o", "IdentitiesOnly=yes"),
        *("-o", 'UserKnownHostsFile="/etc/nicproof/known hosts"'),
        *("-o", "StrictHostKeyChecking=accept-new"),
    )
    argv = Target("alpha.lab", options).client(Path("/c"))
    assert argv[-len(options) - 1 :] == (*options, "alpha.lab")


WRONG = """\
lab = 3
[host.alpha]
adress = "alpha"
cpus = "7-2"
may = ["bind",
       "sriow"]
[[host.alpha.port]]
bdf = "0000:01:00.0"
model = "82598"
[[host.alpha.port]]
bdf = 7
partner = "nowhere"
[host]
"b;eta" = { address = "-oProxyCommand=id", numa = -1 }
gamma = []
[other]
"""


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert problems(WRONG) == [
        (1, "lab", "it is no table"),
        (2, "host.alpha", "it has no address"),
        (3, "host.alpha.adress", "there is no such key"),
        (4, "host.alpha.cpus", "'7-2' is no range of CPUs"),
        (5, "host.alpha.may", "'sriow' is nothing that can be allowed"),
        (9, "host.alpha.port[0].model", "no profile of a model '82598'"),
        (11, "host.alpha.port[1].bdf", "Expected `str`, got `int`"),
        (12, "host.alpha.port[1].partner", "'nowhere' is not a PCI address"),
        (14, "host.'b;eta'", "'b;eta' is not a name"),
        (14, "host.'b;eta'.address", "'-oProxyCommand=id' is not an ssh destination"),
        (14, "host.'b;eta'.numa", "-1 is not a NUMA node"),
        (15, "host.gamma", "it is no table"),
        (16, "other", "there is no such key"),
    ]


@pytest.mark.parametrize(
    ("line", "remedy"),
    [('bind = "newid"', "did you mean 'new_id'?"), ('hold = "vfio"', "did you mean 'vfio-pci'?")],
)
def test_what_binds_is_named_as_the_kernel_has_it(line: str, remedy: str) -> None:
    with pytest.raises(InventoryError, match="is none of") as caught:
        parse(f'[host.a]\naddress = "local"\n{line}\n', HERE)
    assert [each.remedy for each in caught.value.problems] == [remedy]


def test_the_text_of_an_error_says_file_line_key_and_remedy() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(WRONG, HERE)
    messages = str(caught.value).splitlines()
    assert messages[0] == "/srv/lab/lab.toml: 13 errors"
    line = messages.index("  /srv/lab/lab.toml:3: host.alpha.adress: there is no such key")
    assert messages[line + 1] == "    did you mean 'address'?"


def test_a_port_number_beside_address_is_told_its_place() -> None:
    text = '[host.a]\naddress = "a"\nport = 2222\n'
    with pytest.raises(InventoryError, match="the port of its sshd is ssh_port"):
        parse(text, HERE)


def test_a_syntax_error_keeps_its_line() -> None:
    assert problems('[host.a]\naddress = "a"\nx = = 3\n') == [(3, "", "no TOML: Invalid value")]
    ((line, _, _),) = problems('[host.a]\naddress = "a')
    assert line == 2, "where the text ends too early"


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ("", "", "it names no host"),
        ('[host.a]\naddress = "local"\njump = "b"\n', "host.a.jump", "it is for ssh"),
        ('[host.a]\naddress = "local"\nbecome = "sudo"\n', "host.a.become", "it is for ssh"),
        ('[host.a]\naddress = "b"\nbecome = "su"\n', "host.a.become", "'su' is none of sudo"),
        ('[host.a]\naddress = "me@b"\nuser = "c"\n', "host.a.user", "names me already"),
        ('[host.a]\naddress = "x"\n[host.b]\naddress = "x"\n', "host.b.address", "as host a is"),
    ],
)
def test_files_that_say_too_little_or_too_much(text: str, key: str, what: str) -> None:
    ((_, where, message),) = problems(text)
    assert where == key and what in message


def rack(*ports: str) -> str:
    """Two hosts with these ports, each "HOST BDF PARTNER"."""
    text = '[host.a]\naddress = "a"\n[host.b]\naddress = "b"\n'
    for port in ports:
        host, bdf, *partner = port.split()
        text += f'[[host.{host}.port]]\nbdf = "{bdf}"\n'
        text += f'partner = "{partner[0]}"\n' if partner else ""
    return text


@pytest.mark.parametrize(
    ("ports", "key", "what"),
    [
        (("a 01:00.0", "a 0000:01:00.0"), "host.a.port[1].bdf", "listed twice on a"),
        (("a 01:00.0 01:00.0",), "host.a.port[0].partner", "its own partner"),
        (("a 01:00.0 c/01:00.0",), "host.a.port[0].partner", "no host c"),
        (("a 01:00.0 b/01:00.0",), "host.a.port[0].partner", "b lists no port 0000:01:00.0"),
        (
            ("a 01:00.0 b/01:00.0", "b 01:00.0 b/02:00.0"),
            "host.a.port[0].partner",
            "b/0000:01:00.0 names b/0000:02:00.0 as its partner, not a/0000:01:00.0",
        ),
        (
            ("a 01:00.0 03:00.0", "a 02:00.0 03:00.0"),
            "host.a.port[1].partner",
            "a/0000:03:00.0 is the partner of a/0000:01:00.0 already",
        ),
    ],
)
def test_contradictions_are_told(ports: tuple[str, ...], key: str, what: str) -> None:
    ((_, where, message),) = problems(rack(*ports))
    assert where == key and what in message


@pytest.mark.parametrize(
    "ports",
    [
        ("a 01:00.0 02:00.0",),  # whoever names a port of the same host lists it by that
        ("a 01:00.0 02:00.0", "a 02:00.0 01:00.0"),
        ("a 01:00.0 b/01:00.0", "b 01:00.0"),
        ("a 01:00.0", "b 01:00.0"),
    ],
)
def test_what_does_not_contradict_itself_is_fine(ports: tuple[str, ...]) -> None:
    assert len(parse(rack(*ports), HERE).hosts) == 2


HOSTILE = [
    "-x",
    "--",
    "a;id",
    "$(id)",
    "`id`",
    "a b",
    "a|b",
    "a\nb",
    "a'b",
    'a"b',
    "a&b",
    "../x",
    "",
]


@pytest.mark.parametrize("word", HOSTILE)
@pytest.mark.parametrize("key", ["address", "jump", "user", "cpus"])
def test_what_could_be_an_option_or_a_command_is_refused(key: str, word: str) -> None:
    table = {"address": "a"} | {key: word}
    lines = "".join(f"{name} = {toml(value)}\n" for name, value in table.items())
    ((_, where, _),) = problems(f"[host.a]\n{lines}")
    assert where == f"host.a.{key}"


@pytest.mark.parametrize("word", HOSTILE)
def test_nor_may_a_host_a_model_or_an_address_be_one(word: str) -> None:
    assert problems(f'[host.{toml(word)}]\naddress = "a"\n')
    for key in ("bdf", "model", "partner"):
        port = {"bdf": "01:00.0"} | {key: word}
        lines = "".join(f"{name} = {toml(value)}\n" for name, value in port.items())
        assert problems(f'[host.a]\naddress = "a"\n[[host.a.port]]\n{lines}')


@pytest.mark.parametrize("key", ["identity", "ssh_config", "known_hosts"])
@pytest.mark.parametrize(
    ("word", "fine"),
    [
        ("a;id", True),
        ("a b", True),
        ("-x", False),
        ("a%h", True),
        ('a"b', True),
        ("a\\b", True),
        ("$HOME", True),
        ("${HOME}", False),
        ("a\nb", False),
        ("~nobody-of-this-name/key", False),
    ],
)
def test_a_path_is_one_word_or_refused(key: str, word: str, fine: bool) -> None:
    text = f'[host.a]\naddress = "a"\n{key} = {toml(word)}\n'
    if fine:
        options = parse(text, HERE).host("a").ssh_options()
        literal = word if key == "ssh_config" else sshpath.option("", Path(word))[1][2:-1]
        assert any(f"/srv/lab/{literal}" in option for option in options)
    else:
        assert problems(text)


def toml(word: str) -> str:
    """A basic string: JSON's escapes are among TOML's."""
    return json.dumps(word)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0", (0,)),
        ("2-4,7", (2, 3, 4, 7)),
        ("7, 2-4", (2, 3, 4, 7)),
        ("0-7:1/4", (0, 4)),
        ("0-9:2/4", (0, 1, 4, 5, 8, 9)),
    ],
)
def test_lists_of_cpus(text: str, cpus: tuple[int, ...]) -> None:
    assert cpu_list(text) == cpus


@pytest.mark.parametrize(
    "text", ["", "a", "1-", "3-1", "0-8192", "0-7:0/4", "0-7:5/4", "1,,2", "٣"]
)
def test_what_is_no_list_of_cpus_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        cpu_list(text)


@given(st.sets(st.integers(0, 200), min_size=1))
def test_cpus_are_shown_as_they_may_be_written(cpus: set[int]) -> None:
    assert cpu_list(ranges(tuple(sorted(cpus)))) == tuple(sorted(cpus))


KEYS = st.text("abc-_1", min_size=1, max_size=3)
VALUES = st.sampled_from(
    ["1", '"x"', '"""a\n[b]\n c = 1 """', "[\n 1, # [x]\n 2\n]", "'''\n'''", '{ p = 1, q = "#" }']
)


@given(st.lists(st.tuples(KEYS, VALUES), unique_by=lambda pair: pair[0], max_size=5))
@example([("a", '"""x\ny"""'), ("b", "1")])
def test_each_key_is_found_on_its_line(pairs: list[tuple[str, str]]) -> None:
    text, expected = "# a comment\n\n", {}
    for table in ("t", "u"):
        text += f"[{table}]\n"
        for key, value in pairs:
            expected[(table, key)] = text.count("\n") + 1
            text += f"{key} = {value}\n\n"
    tomllib.loads(text)
    where = locate(text)
    assert {path: where[path] for path in expected} == expected


def test_tables_of_arrays_are_counted() -> None:
    where = locate(
        "[[a.b]]\nx = 1\n[[a.b]]\ny.z = 2\n[a.b.c]\nd = 1\n[[a.b.e]]\n[[a.b.e]]\nf = 3\n"
    )
    assert where[("a", "b", 1, "y", "z")] == 4
    assert where[("a", "b", 1, "c", "d")] == 6
    assert where[("a", "b", 1, "e", 1, "f")] == 9


def test_files_are_found_where_they_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert inventory_at(None) is None
    (tmp_path / "config" / "nicproof").mkdir(parents=True)
    (tmp_path / "config" / "nicproof" / "lab.toml").write_text('[host.home]\naddress = "x"\n')
    found = inventory_at(None)
    assert found is not None and found.hosts[0].name == "home"
    Path("lab.toml").write_text('[host.cwd]\naddress = "x"\n')
    found = inventory_at(None)
    assert found is not None and found.hosts[0].name == "cwd"
    with pytest.raises(ConfigError, match=r"cannot read gone\.toml: No such file"):
        inventory_at("gone.toml")
    Path("latin.toml").write_bytes(b'name = "\xe4"')
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(Path("latin.toml"))


def test_a_host_that_is_not_there_is_told_with_the_nearest() -> None:
    inventory = parse(RACK, HERE)
    assert inventory.host("alpha").jump
    with pytest.raises(ConfigError, match="did you mean 'alpha'"):
        inventory.host("alhpa")
    with pytest.raises(ConfigError, match="there is none"):
        Inventory(HERE, ()).host("alpha")


def test_the_command_shows_what_was_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "lab.toml"
    path.write_text(RACK)
    assert cli.main(["inventory", "check", str(path)]) == 0
    output = capsys.readouterr().out
    assert "rack 12" in output and "2-4,7" in output and "bind, sriov" in output
    assert "lab@alpha.lab, port 2200, by bastion," in output and "this machine" in output
    assert "alpha/0000:01:00.0" in output and "beta/0000:02:00.0" in output
    path.write_text("[host.a]\nx = 1\n")
    assert cli.main(["inventory", "check", str(path)]) == 2
    assert f"{path}:2: host.a.x: there is no such key" in capsys.readouterr().err


def test_the_example_of_the_manual_is_right() -> None:
    manual = (ROOT / "docs/real-host/inventory.md").read_text()
    lines = [line for line in manual.splitlines() if line.startswith("    ") or not line]
    text = "\n".join(lines)
    alpha = parse(text[text.index("[lab]") :], HERE).host("alpha")
    given = {name for name in vars(alpha) if getattr(alpha, name)}
    assert given == {*vars(alpha)} - {"numa"}, "it shows every key (the node is 0)"


def test_the_inventories_on_the_manuals_way_are_right() -> None:
    pages = (ROOT / "docs/real-host" / name for name in ("inventory.md", "try.md"))
    manual = "\n".join(page.read_text() for page in pages)
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", manual, re.MULTILINE)
    found = [parse(block, HERE) for block in blocks if block.lstrip().startswith("[host.")]
    assert [each.hosts[0].name for each in found] == ["alpha", "beta", "l1"]
    for inventory, model in zip(found[:2], ("I350", "82599"), strict=True):
        one, other = inventory.hosts[0].ports
        assert one.model == other.model == model
        assert one.partner and other.partner
        assert (one.partner.bdf, other.partner.bdf) == (other.bdf, one.bdf)


def test_the_built_in_pair_is_still_what_it_was() -> None:
    assert PortPair().testing("0000:02:00.0") == PortPair("0000:02:00.0", "0000:01:00.0")
    assert LinkPlan().partner_ip == "198.18.0.1"
