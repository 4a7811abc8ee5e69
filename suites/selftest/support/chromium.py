"""A headless Chromium for the self-tests, told what to do by its DevTools protocol over two pipes:
https://chromedevtools.github.io/devtools-protocol/, and --remote-debugging-pipe."""

from __future__ import annotations

import base64
import itertools
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.core.deadline import Deadline

NAMES = ("chromium", "chromium-browser", "google-chrome")
LIMIT = 120.0
"""Seconds for an answer; a busy machine fails no test."""

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def program() -> str:
    """Where Chromium is; skips the test that asks for it where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"pages in a browser: none of {', '.join(NAMES)} is installed")
    return found


def axe() -> str:
    """The source of axe-core, which looks for what keeps people from reading a page."""
    return (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")


AXE = """
    /* A figure is one image with a text: its parts are nothing to look at, and thousands. */
    document.querySelectorAll("figure svg").forEach((each) => each.replaceChildren());
    const { violations, passes } = await axe.run(document, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] });
    return { passes: passes.map((each) => each.id), violations: violations.flatMap(
        (each) => each.nodes.map((node) => [each.id, node.html, node.failureSummary])) };
"""


class Page:
    """A page, and what its console said that is no mere remark."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session = ""
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, address: str) -> None:
        """Go there, and wait until it is loaded, its script run."""
        self._call("Page.navigate", url="about:blank")  # else a new fragment would load nothing
        self._call("Page.navigate", url=address)
        self.until("document.readyState == 'complete' && location.href != 'about:blank'")

    def look(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """Be so wide, in CSS pixels, and of that colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to; AssertionError if it throws."""
        found = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def run(self, body: str) -> Any:
        """What the body of an asynchronous function of JavaScript returns."""
        return self.value(f"(async () => {{ {body} }})()")

    def violations(self) -> list[list[str]]:
        """What axe-core finds on the page: rule, element, and why. AssertionError if it did not
        look at what matters most."""
        self.value(axe())
        found = self.run(AXE)
        assert {"color-contrast", "html-has-lang", "page-has-heading-one"} <= set(found["passes"])
        return list(found["violations"])

    def until(self, expression: str) -> None:
        Deadline(LIMIT, expression).poll(lambda: bool(self.value(expression)), interval=0.05)

    def picture(self, file: Path) -> None:
        """What is seen, as PNG."""
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, msgspec.json.encode(message) + b"\0")
        deadline = Deadline(LIMIT, f"Chromium's answer to {method}")
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])
            self._heard(answer)

    def _heard(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Runtime.exceptionThrown", "params": params}:
                self.complaints.append(str(params["exceptionDetails"]))
            case {
                "method": "Runtime.consoleAPICalled",
                "params": {"type": "error" | "warning"} as p,
            }:
                self.complaints.append(str(p["args"]))
            case {"method": "Log.entryAdded", "params": {"entry": entry}}:
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    def _next(self, deadline: Deadline) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(deadline.left, 0))
            assert ready, f"{deadline}: nothing came"
            part = os.read(self._read, 1 << 16)
            assert part, "Chromium ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = msgspec.json.decode(message)
        return found


@contextmanager
def page() -> Iterator[Page]:
    """A page of a Chromium of its own, which has ended when the context has; skips the test that
    asks for it where there is none."""
    binary = program()
    with ExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        for ours in (ours_in, ours_out):
            stack.callback(os.close, ours)
        null = os.open(os.devnull, os.O_RDWR)
        try:
            pid = os.posix_spawn(
                binary,
                [binary, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
                os.environ,
                file_actions=[
                    *((os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)),
                    *_moved(theirs_in, theirs_out),
                ],
                setsid=True,
            )
        finally:
            for theirs in (theirs_in, theirs_out, null):
                os.close(theirs)
        stack.callback(_end, pid)
        yield Page(ours_in, ours_out)


def _moved(read: int, write: int) -> list[tuple[int, int, int]]:
    """Chromium reads from 3 and writes to 4, which ours may have themselves."""
    high = 200
    return [
        (os.POSIX_SPAWN_DUP2, read, high),
        (os.POSIX_SPAWN_DUP2, write, high + 1),
        (os.POSIX_SPAWN_DUP2, high, 3),
        (os.POSIX_SPAWN_DUP2, high + 1, 4),
    ]


def _end(pid: int) -> None:
    """It and all processes that it started: they are of its session."""
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
