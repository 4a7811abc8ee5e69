"""Where self-tests find what is no program."""

from __future__ import annotations

from harness.runs.suite import ROOT

CAPTURED = ROOT / "suites" / "selftest" / "data"
"""Texts and files of real tools, of several ages."""
