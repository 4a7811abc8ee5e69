"""Faults of nicproof's own: told in one line, with an exit status that is no verdict.

The traceback is for whoever mends it, so it is kept in a file; in a CI job, whose machine may be
gone soon, it is printed too.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from harness import __version__
from harness.core.errors import ConfigError, HarnessError
from harness.core.signals import is_told, unwind_when_told
from harness.core.status import Status
from harness.core.xdg import cache_root, cached

_ROOT = Path(__file__).resolve().parents[2]
_OURS = tuple(str(_ROOT / name) + os.sep for name in ("harness", "reports", "fixtures", "suites"))


def guarded(command: Callable[[], int | None]) -> int:
    """The exit status of `command`, whatever it raises: see harness.core.status."""
    try:
        if not is_told():
            unwind_when_told()
        status = int(command() or Status.OK)
        if sys.stdout is not None:  # it may have been closed before we came
            sys.stdout.flush()  # what nobody reads is found out here, not at the interpreter's end
    except ConfigError as error:
        print(f"nicproof: {error}", file=sys.stderr)
        return Status.USAGE
    except HarnessError as error:
        print(f"nicproof: {error}", file=sys.stderr)
        return Status.FAILED
    except BrokenPipeError:  # of `nicproof lab status | head -1`, say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.UNHEARD
    except KeyboardInterrupt:
        print("nicproof: interrupted", file=sys.stderr)
        return Status.INTERRUPTED
    except Exception as error:
        print(f"nicproof: {describe(error)}", file=sys.stderr)
        return Status.CRASHED
    return status


def describe(error: BaseException) -> str:
    """What to say of a fault, in a line; its traceback is kept."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get("CI"):
        print(text, file=sys.stderr)
    what = " ".join("".join(traceback.format_exception_only(error)).split())
    return f"a fault of nicproof's own, no verdict: {what}; at {_place(error)}; {_kept(text)}"


def _place(error: BaseException) -> str:
    """The innermost line of ours, else the innermost one."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_OURS)] or frames
    if not ours:
        return "an unknown place"
    file = Path(ours[-1].filename)
    return f"{file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else file}:{ours[-1].lineno}"


def _crashes() -> Path:
    return cached(cache_root() / "crashes")


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


def _kept(text: str) -> str:
    """Write the traceback where there is room for it, and say where; else it is in what is said."""
    whole = f"nicproof {__version__}, Python {sys.version}\n{text}"
    for place in (_crashes, _temporary):
        try:
            number, name = tempfile.mkstemp(prefix="nicproof-", suffix=".txt", dir=place())
            with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(whole)
        except (OSError, ConfigError):  # ConfigError: a user without a home
            continue
        return f"the traceback is in {name}"
    return f"the traceback can be written nowhere:\n{text}"
