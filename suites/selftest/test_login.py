"""Logins by files whose paths have something special for ssh, and logins that are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.host import sshpath
from harness.host.local import LocalHost
from harness.host.refusal import LoginRefused
from harness.host.ssh import connect
from harness.inventory.reach import reached
from harness.inventory.reading import parse
from harness.inventory.spec import HostSpec
from harness.lab import accel, nested
from harness.lab.image import LabImage
from harness.lab.keeper import login_lines
from harness.lab.login import ssh_options
from harness.lab.machine import DESTINATION, NAME, Keys
from harness.lab.nested import NestedLab
from harness.lab.vm import LabMachine

ODD = 'a b, 50% %h %% "q" it\'s \\ \\\\ $HOME'
"""A name that a directory may have."""


def test_what_ssh_would_replace_is_no_path() -> None:
    for path in ("/a/${HOME}/key", "/a\nb"):
        with pytest.raises(ConfigError, match="no path that ssh would take literally"):
            sshpath.option("IdentityFile", Path(path))


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    spec = HostSpec("alpha", "root@192.0.2.1", identity=tmp_path / "none")
    with pytest.raises(ConfigError, match=f"alpha: there is no key {tmp_path}/none"), reached(spec):
        pass


def test_a_disk_whose_path_has_a_comma_is_one_file_for_qemu() -> None:
    argv = LabMachine(LabImage(Path("/a b,50%d")), accel.TCG).argv()
    drive = argv[argv.index("-drive") + 1]
    assert drive.startswith("file=/a b,,50%d/lab.img,if=none,")


def test_the_lab_tells_an_inventory_its_key_whatever_the_path() -> None:
    lines = "\n".join(login_lines("l1", 2222, Path("/") / ODD / "client"))
    (host,) = parse(lines, Path("/lab.toml")).hosts
    assert host.identity == Path("/") / ODD / "client"


def keys_in(directory: Path, lab: NestedLab) -> Keys:
    """A copy of the lab's keys."""
    shutil.copytree(lab.image.keys.directory, directory)
    return Keys(directory)


@pytest.mark.lab
def test_the_files_of_a_login_may_have_any_name(lab: NestedLab, tmp_path: Path) -> None:
    """Of the lab itself, and of a host of an inventory, which learns the key into such a file."""
    keys = keys_in(tmp_path / ODD, lab)
    with connect(DESTINATION, options=ssh_options(keys, lab.ssh_port)) as host:
        assert host.run(("hostname",)).text.strip() == NAME
    known = keys.directory / f"learnt {ODD}"
    spec = HostSpec(
        "l1",
        DESTINATION,
        ssh_port=lab.ssh_port,
        identity=keys.client,
        ssh_config=Path("/dev/null"),
        known_hosts=known,
    )
    for _ in ("the key is learnt", "and stood by"):
        with connect(spec.address, options=spec.ssh_options()) as host:
            assert host.run(("hostname",)).text.strip() == NAME
    assert "127.0.0.1" in known.read_text()


def too_open(keys: Keys) -> None:
    keys.client.chmod(0o644)


def strange(keys: Keys) -> None:
    keys.client.unlink()
    argv = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys.client))
    LocalHost().run(argv, stdin=b"y\n")


def torn(keys: Keys) -> None:
    keys.client.write_bytes(keys.client.read_bytes()[:100])


def another_host(keys: Keys) -> None:
    strange(keys)
    _, key = keys.client.with_suffix(".pub").read_text().split()[:2]
    keys.known_hosts.write_text(f"{NAME} ssh-ed25519 {key}\n")


REFUSED: dict[str, tuple[Callable[[Keys], None], str]] = {
    "mode 0644": (too_open, "chmod 600 {client}"),
    "another key": (strange, "a key or an agent must do"),
    "a torn key": (torn, "{client} is no private key that ssh can use"),
    "another host key": (another_host, "remove line 1 of {known_hosts}"),
}


@pytest.mark.lab
@pytest.mark.parametrize("how", REFUSED)
def test_a_login_that_is_refused_is_told_at_once_with_its_remedy(
    how: str, lab: NestedLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one attempt: however long the lab may take to boot, to wait would help nothing."""
    spoil, remedy = REFUSED[how]
    image = LabImage(tmp_path)
    keys = keys_in(image.keys.directory, lab)
    spoil(keys)
    files = {"client": keys.client, "known_hosts": keys.known_hosts}
    with (
        pytest.raises(LoginRefused, match="cannot log in: ") as refused,
        connect(DESTINATION, options=ssh_options(keys, lab.ssh_port)),
    ):
        pass
    assert remedy.format_map(files) in refused.value.remedy
    assert "@@" not in refused.value.message

    attempts = []

    def counted(*args: Any, **options: Any) -> Any:
        attempts.append(args)
        return connect(*args, **options)

    monkeypatch.setattr(nested, "connect", counted)
    machine = LabMachine(image, accel.TCG)
    with pytest.raises(LoginRefused) as of_lab, ExitStack() as stack:
        nested._log_in(machine, lab.vm, lab.ssh_port, nested.BOOT_LIMIT, stack)
    assert len(attempts) == 1
    assert str(image.directory) in of_lab.value.remedy
