"""Frames that are known again by their name, whatever a NIC does to them on the way."""

from __future__ import annotations

import pytest

from harness.qualify.checks.isolation import (
    MAC_CONTROL,
    PAUSE,
    PAUSE_ADDRESS,
    framed,
    named,
    pause_frame,
)
from harness.qualify.rig.frames import Frame
from harness.qualify.rig.node import Node

OURS, THEIRS = "02:6e:00:00:00:01", "02:6e:00:00:00:02"


@pytest.mark.parametrize("vlan", [None, 42])
def test_a_frame_is_known_by_its_name_among_others(vlan: int | None) -> None:
    data = framed("wire to VF", OURS, THEIRS, vlan=vlan)
    heard = Frame(data, None, "unknown")
    assert named((Frame(bytes(60), None, "unknown"), heard)) == {"wire to VF": heard}


def test_a_tag_stands_where_ieee_802_1q_has_it_and_frames_are_long_enough() -> None:
    assert framed("a", OURS, THEIRS, vlan=42)[12:18].hex(" ", 2) == "8100 002a 88b5"
    assert len(framed("a", OURS, THEIRS)) == 60


def test_a_pause_frame_is_one() -> None:
    node = Node(None, "red", "eth0", OURS, "", "")  # type: ignore[arg-type]
    sent = pause_frame(node)
    assert sent.place == node.place
    assert sent.data[:6].hex(":") == PAUSE_ADDRESS
    assert int.from_bytes(sent.data[12:14], "big") == MAC_CONTROL
    assert sent.data[14:16] == PAUSE
    assert set(named((Frame(sent.data, None, "unknown"),))) == {"pause"}
