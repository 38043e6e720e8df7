"""Headless Chromium for tests, by the DevTools protocol over a WebSocket: no driver, and nothing leaves this machine.

with Browser() as browser, browser.page("http://127.0.0.1:8007/echo", width=360) as page:
    page.type("#message", "hello")
    page.wait_for("document.querySelectorAll('li.received').length === 1")
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
from websockets.sync.client import connect

from echod.testing.output import Output
from tests.daemon import SECONDS

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--remote-debugging-port=0",
    *("--disable-gpu", "--disable-quic", "--disable-sync", "--disable-dev-shm-usage", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
    *("--no-first-run", "--no-default-browser-check", "--force-color-profile=srgb", "--hide-scrollbars"),
    "--proxy-server=direct://",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE ::1, EXCLUDE localhost",
)
LARGEST: Final = 64 * 1024 * 1024  #: bytes of a message of the protocol: a screenshot has a megabyte


class Browser:
    """One Chromium process with an empty profile. Skips the test if Chromium is not installed."""

    def __init__(self, *flags: str) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("chromium is not installed")
        self._words = [program, *FLAGS, *flags]
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(prefix="echod-chromium-", ignore_cleanup_errors=True)
        quiet = subprocess.DEVNULL
        words = [*self._words, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        self._stderr = Output(self._process.stderr)
        url = self._stderr.wait_for(r"DevTools listening on (ws://\S+)")[1]
        # Without pings: their replies are not read while the test reads no events, nor while the browser is stopped.
        connecting = connect(url, max_size=LARGEST, compression=None, open_timeout=SECONDS, ping_interval=None)
        self._connection = self._stack.enter_context(connecting)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(Exception):
            self.call("Browser.close")
        self._stack.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(SECONDS)
        self._stderr.close()
        self._profile.cleanup()

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result. Events that arrive before it are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._connection.recv(SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._events.append(answer)

    def events(self, session: str) -> list[dict[str, Any]]:
        """Every event of a page so far."""
        self.call("Runtime.evaluate", session, expression="0")
        return [event for event in self._events if event.get("sessionId") == session]

    @contextmanager
    def page(
        self,
        url: str,
        *,
        width: int = 1200,
        height: int = 800,
        dark: bool = False,
        language: str = "en",
        strict: bool = True,
    ) -> Iterator[Page]:
        """A page of its own browser context, loaded. At the end, a `strict` page must not have logged an error."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        phone = width < 600
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", session, features=[scheme])
        self.call("Emulation.setFocusEmulationEnabled", session, enabled=True)
        self.call("Network.setExtraHTTPHeaders", session, headers={"Accept-Language": language})
        page = Page(self, session)
        page.load(url)
        yield page
        assert not strict or page.complaints() == []
        self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """One page. Scripts of a test run by the protocol, which the policy of the page does not affect."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def load(self, url: str) -> None:
        """Go to a URL, and wait until the page is loaded."""
        failed = self._call("Page.navigate", url=url).get("errorText")
        assert failed is None, f"{url}: {failed}"
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = SECONDS) -> None:
        """Wait until an expression is true; fails with the text of the page. An error counts as false."""
        ends = time.monotonic() + seconds
        while not self._is_true(condition):
            assert time.monotonic() < ends, f"not in time: {condition}\n{self.value('document.body.innerText')}"
            time.sleep(0.02)

    def _is_true(self, condition: str) -> bool:
        try:
            return bool(self.value(f"Boolean({condition})"))
        except AssertionError:  # the page is being replaced by another one
            return False

    def click(self, selector: str) -> None:
        """Click the middle of an element, which must be visible."""
        self.value(f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest'}})")
        box = self.value(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        assert box["width"] > 0, f"{selector} is not visible"
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **point)

    def type(self, selector: str, text: str) -> None:
        """Replace the text of an input as a person does, and press Enter."""
        self.click(selector)
        self.value(f"document.querySelector({selector!r}).select()")
        self.insert(text)
        self.press("Enter", "\r")

    def insert(self, text: str) -> None:
        """Insert text at the cursor."""
        self._call("Input.insertText", text=text)

    def press(self, key: str, text: str = "", **more: Any) -> None:
        """Press and release a key."""
        codes = {"Enter": 13, "Tab": 9, " ": 32, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37}
        event = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key], **more}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **event)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def text(self, selector: str) -> str:
        """The text of an element, as it is shown."""
        return str(self.value(f"document.querySelector({selector!r}).innerText"))

    def texts(self, selector: str) -> list[str]:
        """The text of each element that matches."""
        return list(self.value(f"[...document.querySelectorAll({selector!r})].map((each) => each.innerText)"))

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the screen."""
        return int(self.value("document.documentElement.scrollWidth - innerWidth"))

    def screenshot(self, file: Path) -> None:
        """Write a PNG of what is visible."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, violations of the policy, and exceptions; not the status 404."""
        found = []
        for event in self._browser.events(self._session):
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(parameters["args"]))
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
        return [text for text in found if not re.search(r"the server responded with a status of 404", text)]
