"""Hosts that are reserved in labgrid, by a coordinator of labgrid's that these tests start."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, LabError
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.inventory.reading import InventoryError, parse
from harness.inventory.spec import HostSpec, Place
from harness.labs.choice import of_inventory
from harness.labs.real.lab import open_real_lab
from harness.labs.real.place import place_held
from harness.runs.suite import ROOT

RACK = """
[lab]
labgrid = "{coordinator}"
[host.alpha]
address = "127.0.0.1"
ssh_port = {closed}
ssh_config = "/dev/null"
place = "alpha"
[[host.alpha.port]]
bdf = "0000:01:00.0"
partner = "0000:02:00.0"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def client(coordinator: str, *argv: str, user: str = "") -> CommandResult:
    host = LocalHost(env={"LG_USERNAME": user, "LG_HOSTNAME": "desk"} if user else {})
    whole = (sys.executable, "-m", "labgrid.remote.client", "-x", coordinator, *argv)
    return host.run(whole, timeout=60, check=False)


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one that knows the places alpha and alphabet. It keeps its state where it is
    started."""
    if importlib.util.find_spec("labgrid") is None:
        pytest.skip("labgrid (pip install 'labgrid>=25'; `make test` installs it)")
    address = f"127.0.0.1:{free_port()}"
    start = 'cd "$1" && shift && exec "$@"'
    argv = (sys.executable, "-m", "labgrid.remote.coordinator", "-l", address)
    directory = str(tmp_path_factory.mktemp("coordinator"))
    with LocalHost().spawn(("sh", "-c", start, "sh", directory, *argv)) as process:

        def answers() -> bool:
            assert process.poll() is None, process.wait(1).error
            return client(address, "places").returncode == 0

        Deadline(60, "the coordinator's first answer").poll(answers)
        for name in ("alpha", "alphabet"):
            client(address, "-p", name, "create").checked()
        yield address


@pytest.fixture
def alpha(coordinator: str) -> Iterator[HostSpec]:
    """A host whose place is free, and is free again in the end."""
    yield HostSpec("alpha", "alpha.lab", place=Place(coordinator, "alpha"))
    assert who(coordinator) == {}


def who(coordinator: str) -> dict[str, str]:
    """Place -> user, of places that are acquired."""
    rows = client(coordinator, "who").checked().text.splitlines()[1:]
    return {row.split()[2]: row.split()[0] for row in rows}


def test_a_place_is_held_while_a_run_lasts_and_released_after_a_failure(
    alpha: HostSpec, coordinator: str
) -> None:
    with pytest.raises(LabError, match="it broke"), place_held(alpha):
        assert list(who(coordinator)) == ["alpha"]
        raise LabError("it broke")


def test_one_that_another_has_is_refused_with_the_name(alpha: HostSpec, coordinator: str) -> None:
    client(coordinator, "-p", "alpha", "acquire", user="ada").checked()
    try:
        with (
            pytest.raises(ConfigError, match="alpha is already acquired by desk/ada") as refused,
            place_held(alpha),
        ):
            pass
        assert f"labgrid-client -x {coordinator} who" in refused.value.remedy
        assert who(coordinator) == {"alpha": "ada"}
    finally:
        client(coordinator, "-p", "alpha", "release", user="ada").checked()


def test_one_that_the_user_had_before_stays_the_users(alpha: HostSpec, coordinator: str) -> None:
    client(coordinator, "-p", "alpha", "acquire").checked()
    with place_held(alpha):
        pass
    assert list(who(coordinator)) == ["alpha"]
    client(coordinator, "-p", "alpha", "release").checked()


def test_one_that_is_taken_away_meanwhile_is_told(alpha: HostSpec, coordinator: str) -> None:
    with (
        pytest.raises(LabError, match="is not released: place alpha is not acquired"),
        place_held(alpha),
    ):
        client(coordinator, "-p", "alpha", "release").checked()


def test_a_place_that_there_is_not_is_told(coordinator: str) -> None:
    """Not one whose name is longer, as labgrid's client would have it."""
    spec = HostSpec("alpha", "alpha.lab", place=Place(coordinator, "alphabe"))
    with (
        pytest.raises(ConfigError, match="there is no place alphabe") as refused,
        place_held(spec),
    ):
        pass
    assert refused.value.remedy == "did you mean 'alphabet'?"
    assert who(coordinator) == {}


@pytest.mark.usefixtures("coordinator")
def test_a_coordinator_that_does_not_answer_is_told() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    spec = HostSpec("alpha", "alpha.lab", place=Place(nowhere, "alpha"))
    with pytest.raises(ConfigError, match="Could not connect to coordinator"), place_held(spec):
        pass


def test_without_labgrid_the_remedy_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    spec = HostSpec("alpha", "alpha.lab", place=Place("lab", "alpha"))
    with (
        pytest.raises(ConfigError, match="labgrid's client is not installed") as refused,
        place_held(spec),
    ):
        pass
    assert "pip install 'labgrid" in refused.value.remedy


def test_a_host_that_cannot_be_reached_gives_its_place_back(coordinator: str) -> None:
    text = RACK.format(coordinator=coordinator, closed=free_port())
    choice = of_inventory(parse(text, Path("lab.toml")), "alpha", "so it is")
    with (
        pytest.raises(LabError, match="alpha: cannot connect"),
        open_real_lab(choice, run="run", progress=False),
    ):
        pass
    assert who(coordinator) == {}


HOLD = """
import sys, time
from harness.inventory.spec import HostSpec, Place
from harness.labs.real.place import place_held
from harness.core.signals import unwind_when_told
unwind_when_told()
with place_held(HostSpec("alpha", "alpha.lab", place=Place(sys.argv[1], "alpha"))):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.usefixtures("alpha")
def test_a_run_that_is_ended_gives_its_place_back(coordinator: str) -> None:
    """By SIGTERM, of which the suites make what Ctrl-C is."""
    argv = (sys.executable, "-c", HOLD, coordinator)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as run:
        assert run.stdout is not None and run.stdout.readline() == b"held\n"
        assert list(who(coordinator)) == ["alpha"]
        run.send_signal(signal.SIGTERM)
        run.wait(60)


@pytest.mark.parametrize(
    ("lab", "more", "key", "what"),
    [
        ("", "", "host.a.place", "no coordinator of labgrid is named"),
        ('labgrid = "lab:20408"', 'place = "a"', "host.b.place", "a is the place of host a"),
        ('labgrid = "-x"', "", "lab.labgrid", "is not an address of a labgrid coordinator"),
        ('labgrid = "lab"', 'place = "*"', "host.b.place", "is not a name"),
    ],
)
def test_what_is_wrong_with_places_is_told(lab: str, more: str, key: str, what: str) -> None:
    text = f'[lab]\n{lab}\n[host.a]\naddress="a"\nplace="a"\n[host.b]\naddress="b"\n{more}\n'
    with pytest.raises(InventoryError) as refused:
        parse(text, Path("lab.toml"))
    (problem,) = refused.value.problems
    assert problem.key == key and what in problem.what


def test_a_place_is_read_with_its_coordinator() -> None:
    text = RACK.format(coordinator="lab.example:20408", closed=22)
    (host,) = parse(text, Path("lab.toml")).hosts
    assert host.place == Place("lab.example:20408", "alpha")
