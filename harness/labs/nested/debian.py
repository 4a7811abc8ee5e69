"""A Debian root tree from packages, without root and without running anything of it.

mmdebstrap resolves, downloads and unpacks (variant "extract", no chroot, no user namespace); the
few things that the packages' scripts would have done and the lab needs are done here. That is
three times as fast as a full installation, and the same for every user.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired, LabError, MissingCapability
from harness.guest.image.modules import MODULES, KernelTree
from harness.guest.image.rootfs import through_loader
from harness.hosts.base import CommandResult
from harness.hosts.guard import guarded
from harness.hosts.local import LocalHost, LocalProcess, PipedProcess
from harness.labs.nested.cache import remove_tree
from harness.labs.nested.progress import Steps

MIRROR = "http://deb.debian.org/debian"
MIRROR_VARIABLE = "NICPROOF_DEBIAN_MIRROR"
PACKAGES_LIMIT = 900.0
"""Seconds that mmdebstrap may take: a slow mirror, not a hanging one."""

REMEDY = "sudo apt-get install mmdebstrap debian-archive-keyring e2fsprogs openssh-client"

NO_MODULES = (
    *("sound", "net/bluetooth", "net/mac80211", "net/wireless"),
    *("drivers/ata", "drivers/bluetooth", "drivers/comedi", "drivers/gpu", "drivers/hid"),
    *("drivers/iio", "drivers/infiniband", "drivers/input", "drivers/isdn", "drivers/leds"),
    *("drivers/md", "drivers/media", "drivers/message", "drivers/misc", "drivers/mmc"),
    *("drivers/mtd", "drivers/net/can", "drivers/net/phy", "drivers/net/usb"),
    *("drivers/net/wireless", "drivers/nfc", "drivers/nvme", "drivers/platform"),
    *("drivers/power", "drivers/scsi", "drivers/staging", "drivers/target", "drivers/usb"),
    *("drivers/video", "drivers/w1", "drivers/watchdog"),
)
"""Drivers of what no virtual machine has: two thirds of the modules, and of depmod's time."""

DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "dev", "var/lib")

GET = re.compile(r"^Get:\d+ \S+ \S+ \S+ (?P<name>\S+) (?P<arch>\S+) (?P<version>\S+) \[")
"""apt's line for a package that it downloads."""

ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    "tcpdump:x:101:101::/nonexistent:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\ntty:x:5:\nkvm:x:102:\ntcpdump:x:101:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:20000:0:99999:7:::\n",
}


def found(tool: str) -> str:
    """A program that may lie outside an ordinary user's PATH. MissingCapability if it is absent."""
    path = shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        raise MissingCapability(tool, "it is not installed", remedy=REMEDY)
    return path


@dataclass(frozen=True)
class Packages:
    """What a root tree is made of."""

    suite: str
    mirror: str
    names: tuple[str, ...]


def mirror() -> str:
    """The Debian mirror to use."""
    return os.environ.get(MIRROR_VARIABLE, "") or MIRROR


def bootstrap_argv(packages: Packages, root: Path, log: Path) -> tuple[str, ...]:
    """argv of mmdebstrap."""
    return (
        *("mmdebstrap", "--mode=chrootless", "--variant=extract", "--format=directory"),
        *("--architectures=amd64", "--verbose", f"--logfile={log}"),
        f"--include={','.join(packages.names)}",
        *(packages.suite, str(root), packages.mirror),
    )


def make_root(packages: Packages, root: Path, log: Path, steps: Steps) -> str:
    """Make the tree at `root`; what mmdebstrap says goes to `log`.

    Returns the exact versions, a line "name version architecture" each, sorted. Raises
    MissingCapability if mmdebstrap is not there and LabError with its last lines if it fails.
    """
    bootstrap(bootstrap_argv(packages, root, log), root, log, steps)
    steps.step("finishing the tree")
    _finish(root)
    return versions(log.read_text(errors="replace"))


def versions(log: str) -> str:
    """The packages that an mmdebstrap log says were downloaded, a line each."""
    got = (GET.match(line) for line in log.splitlines())
    lines = {f"{m['name']} {m['version']} {m['arch']}\n" for m in got if m}
    return "".join(sorted(lines))


def bootstrap(argv: tuple[str, ...], root: Path, log: Path, steps: Steps) -> None:
    """Run mmdebstrap and show what it does until it has ended well. Raises as make_root does."""
    found("mmdebstrap")
    # Guarded: mmdebstrap's children would write on after a SIGKILL of ours.
    with closing(PipedProcess("localhost", guarded(argv))) as process:
        _follow(process, root, log, steps, Deadline(PACKAGES_LIMIT, "the Debian root tree"))


def _follow(process: LocalProcess, root: Path, log: Path, steps: Steps, deadline: Deadline) -> None:
    """Show what mmdebstrap does until it has ended well."""
    phase = ""

    def look() -> None:
        nonlocal phase
        text = log.read_text(errors="replace") if log.exists() else ""
        now, fraction = progress(text, _count(root / "usr/share/doc"))
        if now != phase:
            steps.step(phase := now)
        steps.fraction(fraction)

    result = watched(process, look, 0.2, deadline, log)
    if result.returncode != 0:
        output = last_lines(log) if log.exists() else result.error
        raise LabError(
            f"mmdebstrap ended with status {result.returncode}; the end of {log}:\n{output}",
            remedy=f"if it is the network: set {MIRROR_VARIABLE} to a mirror that answers",
        )


def watched(
    process: LocalProcess, look: Callable[[], None], every: float, deadline: Deadline, log: Path
) -> CommandResult:
    """The result of a process at its end; until then `look` is called `every` so many seconds.

    DeadlineExpired, naming the log, if it does not come in time.
    """
    while process.poll() is None:
        look()
        try:
            process.wait(min(every, deadline.left))
        except DeadlineExpired:
            deadline.check(f"see {log}")
    return process.wait(1.0)


def last_lines(log: Path) -> str:
    """The end of a log, for an error message."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return "\n".join(f"    {line}" for line in lines[-12:])


INDEX, DOWNLOAD, UNPACK = "reading Debian's index", "downloading packages", "unpacking packages"


def progress(log: str, unpacked: int) -> tuple[str, float]:
    """The phase that mmdebstrap's log shows and how much of it is done.

    `unpacked` is the number of packages that have left their documentation in the tree.
    """
    got = sum(1 for line in log.splitlines() if GET.match(line))
    if "I: extracting archives" in log:
        return UNPACK, unpacked / max(got, 1)
    planned = re.search(r"(\d+) newly installed", log)
    if planned and got:
        return DOWNLOAD, got / max(int(planned[1]), 1)
    return INDEX, 0.0


def _count(directory: Path) -> int:
    return len(os.listdir(directory)) if directory.is_dir() else 0


def _finish(root: Path) -> None:
    for path in DROPPED:
        remove_tree(root / path)
    for path in ("dev", "proc", "sys", "run", "root", "mnt", "tmp", "var/lib", "var/tmp"):
        (root / path).mkdir(parents=True, exist_ok=True)
    for path, text in ACCOUNTS.items():
        (root / path).write_text(text)
    (root / "usr/bin/awk").symlink_to("mawk")
    for path in NO_MODULES:
        for directory in (root / MODULES).glob(f"*/kernel/{path}"):
            remove_tree(directory)
    for directory in (root / MODULES).iterdir():
        depmod(root, directory.name)


def depmod(root: Path, release: str) -> None:
    """Index the tree's modules with the tree's own kmod."""
    argv = (*through_loader(root, "usr/sbin/depmod"), "-b", str(root), release)
    LocalHost().run(argv, timeout=120)


def unpack_modules(root: Path, names: tuple[str, ...]) -> None:
    """Decompress these modules and their dependencies in place, so that loading them is quick."""
    kernel = KernelTree.find(root)
    index = kernel.index()
    for name in index.closure(names):
        file = kernel.directory / index.paths[name]
        if file.suffix == ".xz":
            file.with_suffix("").write_bytes(kernel.load(index.paths[name]))
            file.unlink()
    depmod(root, kernel.release)
