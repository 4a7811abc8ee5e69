"""What ping prints at its end, in text that real ones printed."""

from __future__ import annotations

from harness.net.ping import Pings, answered, summaries, summary

IPUTILS = """\
PING 127.0.0.1 (127.0.0.1) 56(84) bytes of data.

--- 127.0.0.1 ping statistics ---
3 packets transmitted, 3 received, 0% packet loss, time 51ms
rtt min/avg/max/mdev = 0.054/0.061/0.075/0.009 ms
"""
"""iputils 20240905, -q -c 3 -i 0.02."""

BUSYBOX = """\
PING 127.0.0.1 (127.0.0.1): 56 data bytes

--- 127.0.0.1 ping statistics ---
2 packets transmitted, 2 packets received, 0% packet loss
round-trip min/avg/max = 0.084/0.090/0.096 ms
"""
"""BusyBox 1.37.0, -q -c 2."""


def test_both_pings_are_read() -> None:
    assert summaries(IPUTILS + BUSYBOX) == (Pings(3, 3), Pings(2, 2))
    assert summary(BUSYBOX) == Pings(2, 2)


def test_what_was_lost_is_what_was_sent_and_not_answered() -> None:
    found = summary(IPUTILS.replace("3 received, 0%", "1 received, +1 duplicates, 66%"))
    assert found == Pings(3, 1) and found.lost == 2


def test_a_ping_that_came_to_no_end_has_no_summary() -> None:
    assert summary(IPUTILS.partition("\n---")[0]) is None


def test_only_answers_count_as_answered() -> None:
    text = (
        "64 bytes from 127.0.0.1: icmp_seq=1 ttl=64 time=0.270 ms\n"
        "From 192.168.7.1 icmp_seq=2 Destination Host Unreachable\n"
    )
    assert answered(text) == {1}
