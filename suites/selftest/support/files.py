"""Where self-tests find what is no program."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""The checkout."""

CAPTURED = ROOT / "suites" / "selftest" / "data"
"""Texts and files of real tools, of several ages."""
