"""Logins by files whose paths have something special for ssh, and logins that are refused."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from harness.core.errors import ConfigError
from harness.hosts import sshpath
from harness.hosts.refusal import LoginRefused
from harness.hosts.ssh import connect
from harness.inventory.reading import parse
from harness.inventory.spec import HostSpec
from harness.labs.nested import accel
from harness.labs.nested import lab as nested
from harness.labs.nested.image import LabImage
from harness.labs.nested.keeper import login_lines
from harness.labs.nested.lab import NestedLab
from harness.labs.nested.login import ssh_options
from harness.labs.nested.machine import DESTINATION, NAME, Keys
from harness.labs.nested.vm import LabMachine, Vm
from harness.labs.reach import reached

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


FRAME = "@" * 59
REFUSED = {
    "mode 0644": (
        f"{FRAME}\n@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\n{FRAME}\n"
        "Permissions 0644 for '/the keys/client' are too open.\n"
        "It is required that your private key files are NOT accessible by others.\n"
        "This private key will be ignored.\n"
        'Load key "/the keys/client": bad permissions\n'
        "root@127.0.0.1: Permission denied (publickey).",
        "chmod 600 '/the keys/client'",
    ),
    "another key": (
        "root@127.0.0.1: Permission denied (publickey).",
        "a key or an agent must do",
    ),
    "a torn key": (
        'Load key "/the keys/client": error in libcrypto\n'
        "root@127.0.0.1: Permission denied (publickey).",
        "/the keys/client is no private key that ssh can use",
    ),
    "another host key": (
        f"{FRAME}\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n{FRAME}\n"
        "Offending ED25519 key in /the keys/known_hosts:1\n"
        "Host key for nicproof-lab has changed and you have requested strict checking.\n"
        "Host key verification failed.",
        "remove line 1 of /the keys/known_hosts",
    ),
}
"""What OpenSSH 9.2 says, and what is to be told."""


class Running:
    """L1's QEMU, as far as a login asks it."""

    def check(self) -> None:
        pass

    def diagnose(self) -> str:
        return "its QEMU still runs"


@pytest.mark.parametrize("how", REFUSED)
def test_a_login_that_is_refused_is_told_at_once_with_its_remedy(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one attempt: however long the lab may take to boot, to wait would help nothing. (By an ssh
    that only says so: L1's sshd shuts out for a while whoever was refused.)"""
    message, remedy = REFUSED[how]
    (tmp_path / "said").write_text(message)
    log, ssh = tmp_path / "log", tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho attempt >>{log}\ncat {tmp_path}/said >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LoginRefused, match="cannot log in: ") as refused, connect("root@alpha"):
        pass
    assert remedy in refused.value.remedy
    assert "@ " not in refused.value.message and " @" not in refused.value.message
    log.unlink()
    machine = LabMachine(LabImage(tmp_path), accel.TCG)
    vm = cast(Vm, Running())
    with pytest.raises(LoginRefused) as of_lab, ExitStack() as stack:
        nested.log_in(machine, vm, 2222, 5.0, stack)
    assert log.read_text() == "attempt\n"
    assert f"remove {tmp_path}; " in of_lab.value.remedy
