"""How the link partner is undone when it was made only in part, in namespaces of this machine.

That it is undone when it was made is shown in the lab.
"""

from __future__ import annotations

import pytest

from harness.hosts.local import LocalHost
from harness.paths.partner import BACK

INSIDE = 'mount -t tmpfs run /run && mkdir /run/netns || exit 99; eval "$1"; shift; "$@"'
"""$1 makes a part of it; the rest is a command."""

MADE = {"the namespace": "ip netns add part", "a file for it": ": >/run/netns/part"}


@pytest.mark.parametrize("part", MADE)
def test_a_partner_is_undone_from_whatever_was_made_of_it(part: str) -> None:
    undo = (
        "sh",
        "-c",
        f"{BACK}status=$?; ls /run/netns; exit $status",
        "sh",
        "part",
        "eth7",
        "false",
    )
    argv = ("unshare", "--mount", "--net", "--map-root-user", "sh", "-c", INSIDE, "sh")
    result = LocalHost().run((*argv, MADE[part], *undo), check=False)
    if result.returncode == 99 or "unshare failed" in result.error:
        pytest.skip(f"namespaces: {result.error.strip()}")
    assert (result.returncode, result.text) == (0, ""), result.error
