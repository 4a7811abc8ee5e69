"""QEMU from Debian's source package with our patches: what the lab runs on.

Packages are unpacked into a throw-away tree and the compiler runs in there, chrooted in a mount
namespace: no root, nothing to install, and the same libraries that the lab image has. Only what
the lab uses is compiled, and only what emulates is optimised (recipe/).

Layout of a cache entry, `qemu/<key>/`: the binary, and build.log.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.core.xdg import cache_root
from harness.hosts.guard import guarded
from harness.hosts.local import LocalHost, PipedProcess
from harness.labs.nested import cache, debian
from harness.labs.nested.progress import Steps

PROGRAM = "qemu-system-x86_64"

PATCHES = tuple(sorted((Path(__file__).parent / "upstream").glob("*.patch")))
"""In their order. Also what QEMU's mailing list is to get (docs/upstream)."""

PACKAGES = (
    # a shell's world
    *("base-files", "bash", "coreutils", "dash", "diffutils", "findutils", "grep", "gzip"),
    *("libc-bin", "mawk", "sed", "tar", "xz-utils"),
    # pip and setuptools spare QEMU's configure an installation of its own
    *("dpkg-dev", "patch", "python3", "python3-pip", "python3-setuptools"),
    *("gcc", "libc6-dev", "meson", "ninja-build", "pkgconf"),
    *("libglib2.0-dev", "libslirp-dev", "zlib1g-dev"),
)

RECIPE = Path(__file__).parent / "recipe"
"""What lies in the tree's /build beside source and patches; build.sh is run by `sh -ex`."""

BUILT = f"build/qemu/nicproof/{PROGRAM}"
"""Where the recipe leaves the program in the tree."""

ENTER = """\
exec >>"$2" 2>&1
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"
exec unshare --root="$1" --wd=/build env -i PATH=/usr/bin:/usr/sbin HOME=/build LC_ALL=C \\
    sh -ex build.sh
"""
"""Run by `sh -e` in a mount namespace: $1 is the tree, $2 the log."""

COMPILE_LIMIT = 3600.0
"""Seconds that the compiler may take: a slow machine, not a hanging one."""

ENTERING = (
    "be root, or let users make namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu "
    "kernel.apparmor_restrict_unprivileged_userns=0)"
)

CONFIGURING, COMPILING = "configuring QEMU", "compiling QEMU"

SHARES = {
    debian.INDEX: 5.0,
    debian.DOWNLOAD: 4.0,
    debian.UNPACK: 16.0,
    CONFIGURING: 22.0,
    COMPILING: 125.0,
}
"""Steps of a build with the seconds they take on two cores."""

NINJA = re.compile(r"^\[(\d+)/(\d+)\] ", re.MULTILINE)
"""Ninja's line for a step that it has done."""


@dataclass(frozen=True)
class Source:
    """A version of Debian's source package of QEMU, such as "1:10.0.13+ds-0+deb13u1"."""

    suite: str
    mirror: str
    version: str

    @property
    def key(self) -> str:
        """Names the build: the version, what is done to it and with which libraries."""
        files = (*sorted(RECIPE.glob("*.*")), *PATCHES)
        how = (*PACKAGES, *(file.read_text() for file in files))
        parts = (self.suite, self.version, *how)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def source_of(packages: str, suite: str, mirror: str) -> Source:
    """The source of the QEMU in a tree made of these packages (lines as debian.versions has them).

    A rebuild of the binary package alone, which has a +b1 at the end, is no version of its own.
    """
    found = re.search(r"^qemu-system-x86 (\S+?)(\+b\d+)? ", packages, re.MULTILINE)
    if found is None:
        raise LabError("the lab's tree has no package qemu-system-x86")
    return Source(suite, mirror, found[1])


def builds() -> Path:
    return cache_root() / "qemu"


def program(key: str) -> Path:
    """Where the build of that key is, or would be."""
    return builds() / key / PROGRAM


def ensure_build(source: Source, steps: Steps) -> Path:
    """The mended QEMU, built if it is not there yet. Concurrent builders wait for one another.

    Raises MissingCapability if mmdebstrap is not there; LabError, with the end of the log, if
    the build fails.
    """
    entry = builds() / source.key
    cache.ensure(entry, "the build of QEMU", lambda into: _build(source, into, steps), steps.say)
    return program(source.key)


def _build(source: Source, entry: Path, steps: Steps) -> None:
    _check_entering()
    log = builds() / "build.log"
    log.unlink(missing_ok=True)
    tree = entry / "tree"
    packages = debian.Packages(source.suite, source.mirror, PACKAGES)
    argv = bootstrap_argv(packages, source.version, tree, log)
    debian.bootstrap(argv, tree, log, steps)
    for file in (*RECIPE.glob("*.*"), *PATCHES):
        shutil.copy(file, tree / "build")
    (tree / "build/cc.sh").chmod(0o755)
    _compile(tree, log, steps)
    (tree / BUILT).rename(entry / PROGRAM)
    shutil.copy(log, entry / "build.log")
    cache.remove_tree(tree)


def bootstrap_argv(
    packages: debian.Packages, version: str, tree: Path, log: Path
) -> tuple[str, ...]:
    """argv of mmdebstrap for a tree that also holds the source package, not yet unpacked.

    The controller's apt, with the tree's configuration, fetches it and checks its signature.
    """
    *options, suite, root, mirror = debian.bootstrap_argv(packages, tree, log)
    return (
        *options,
        f"--extract-hook={fetch_hook(version)}",
        *(suite, root, mirror, f"deb-src {packages.mirror} {packages.suite} main"),
    )


def fetch_hook(version: str) -> str:
    """Text for the shell that mmdebstrap starts outside of the tree, whose path is $1."""
    fetch = ("apt-get", "source", "--download-only", "-q", "-o", "APT::Sandbox::User=root")
    return (
        'mkdir "$1/build" && cd "$1/build" && '
        f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {shlex.join((*fetch, f"qemu={version}"))}'
    )


def compile_argv(tree: Path, log: Path) -> tuple[str, ...]:
    """argv that runs the recipe in the tree; its output is appended to `log`.

    For a user who is not root, a user namespace makes him root of the mounts and of nothing else.
    """
    return (*_unshare(), "sh", "-ec", ENTER, "sh", str(tree), str(log))


def _unshare() -> tuple[str, ...]:
    """argv prefix of what runs with mounts of its own."""
    return ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


def _check_entering() -> None:
    """LabError, before anything is downloaded, if this user cannot enter a tree."""
    tried = LocalHost().run((*_unshare(), "true"), check=False)
    if tried.returncode != 0:
        raise _no_entry(tried.error)


def _no_entry(message: str) -> LabError:
    return LabError(f"no tree can be entered to build QEMU in: {message.strip()}", remedy=ENTERING)


def _compile(tree: Path, log: Path, steps: Steps) -> None:
    steps.step(CONFIGURING)
    begun = False

    def look() -> None:
        nonlocal begun
        done = compiled(log.read_text(errors="replace"))
        if done and not begun:
            steps.step(COMPILING)
            begun = True
        steps.fraction(done)

    deadline = Deadline(COMPILE_LIMIT, "the build of QEMU")
    with closing(PipedProcess("localhost", guarded(compile_argv(tree, log)))) as process:
        result = debian.watched(process, look, 1.0, deadline, log)
    if result.returncode != 0:
        if output := result.error.strip():  # what runs in the tree speaks to the log
            raise _no_entry(output)
        raise LabError(
            f"QEMU's source does not build; the end of {log}:\n{debian.last_lines(log)}",
            remedy=f"if the source has changed, mend {Path(__file__).name} and its patches",
        )


def compiled(log: str) -> float:
    """The share of ninja's steps that a log shows as done."""
    steps = NINJA.findall(log)
    return int(steps[-1][0]) / int(steps[-1][1]) if steps else 0.0
