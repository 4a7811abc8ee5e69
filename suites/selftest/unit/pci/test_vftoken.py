"""VF tokens: what is asked of vfio in their name, and that they stay secret.

That vfio goes by them is the qualification's case isolation.vf-token.
"""

from __future__ import annotations

import json
import stat
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.core.errors import LabError, MissingCapability
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal
from harness.pci.sriov import functions_made, require_no_vfs
from harness.pci.vftoken import VfToken, refusal
from harness.qemu import vftoken
from harness.qemu.vftoken import qemu_device
from suites.selftest.support.rooted_host import RootedHost, with_82599


def test_a_token_is_another_uuid_each_time_and_shows_nowhere() -> None:
    one, two = VfToken(), VfToken()
    assert one != two and uuid.UUID(one.value).version == 4
    assert one.value not in f"{one} {one!r} {[one]}"


class Asked(LocalHost):
    """Remembers what it was asked, and answers nothing."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,  # noqa: ARG002
        stdin: bytes | None = None,
        check: bool = True,  # noqa: ARG002
    ) -> CommandResult:
        self.argv, self.stdin = tuple(argv), stdin or b""
        return CommandResult(self.name, self.argv, 0, b"", b"")


def test_a_token_goes_to_a_host_by_standard_input_only() -> None:
    host, token = Asked(), VfToken()
    refusal(host, "0000:01:10.0", token)
    assert json.loads(host.stdin)["token"] == token.value
    assert not any(token.value in word for word in host.argv)


def test_qemus_file_is_its_owners_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vftoken, "RUN", str(tmp_path / "run"))
    journal, token = Journal(LocalHost(), "run", root=str(tmp_path / "journal")), VfToken()
    with qemu_device(LocalHost(), "0000:01:10.0", token, journal) as (option, path):
        assert option == "-readconfig"
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        assert f'vf-token = "{token.value}"' in Path(path).read_text()
        assert token.value not in path
        written = [each.read_text() for each in tmp_path.glob("journal/run/*")]
        assert len(written) == 1 and token.value not in written[0]
    assert not Path(path).exists()


def test_a_qemu_reads_that_file(
    qemu_argv: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds no fault with what is written there, only no such function on this machine."""
    monkeypatch.setattr(vftoken, "RUN", str(tmp_path))
    nowhere, journal = "ffff:00:1f.7", Journal(LocalHost(), "run", root=str(tmp_path / "journal"))
    with qemu_device(LocalHost(), nowhere, VfToken(), journal) as device:
        machine = ("-nodefaults", "-display", "none", "-machine", "q35", "-S")
        output = subprocess.run(
            (*qemu_argv, *machine, *device), capture_output=True, text=True, timeout=60
        )
    assert output.returncode != 0
    assert f"{nowhere}: no such host device" in output.stderr, output.stderr


def test_a_pf_that_has_vfs_is_left_alone(tmp_path: Path) -> None:
    """They may be somebody's, and go with the driver of their PF."""
    host = with_82599(tmp_path / "alpha")
    pf = host.glob("/sys/bus/pci/devices/*")[0].rpartition("/")[2]
    require_no_vfs(host, pf)
    journal = Journal(host, "run")
    host.put(f"/sys/bus/pci/devices/{pf}/sriov_numvfs", "3\n")
    host.put(f"/sys/bus/pci/devices/{pf}/sriov_drivers_autoprobe", "1\n")
    with pytest.raises(LabError, match=f"{pf} already has 3 VFs"):
        require_no_vfs(host, pf)
    with (
        pytest.raises(LabError, match=f"{pf} already has 3 VFs"),
        functions_made(host, pf, 1, journal),
    ):
        pass


def test_a_qemu_without_the_property_is_told(tmp_path: Path) -> None:
    host = RootedHost(tmp_path, {"qemu -device vfio-pci,help": "  vf-token=<str>\n"})
    vftoken.require_qemu(host, ("qemu",))
    host.answers = {"qemu -device vfio-pci,help": "  host=<str>\n"}
    with pytest.raises(MissingCapability, match="QEMU has no property vf-token"):
        vftoken.require_qemu(host, ("qemu",))
