"""Headless Chromium by its own DevTools protocol: as much of it as the tests of the pages need.

Everything is synchronous. Waiting is done inside the page, by promises that resolve when it has changed, so
no test sleeps.
"""

import asyncio
import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import Any, Self

import aiohttp

__all__ = ["Browser", "Page", "chromium"]

_ANSWER_S = 60.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever the pages or Chromium itself ask for, no name but this machine's is looked up.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
)
_WAIT_FOR = """
new Promise((resolve) => {
  const look = () => { const found = (%s); if (found) { watch.disconnect(); resolve(found); } };
  const watch = new MutationObserver(look);
  watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  look();
})
"""


def chromium() -> str | None:
    """Return the path of Chromium, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """One Chromium with a profile of its own; ends with the `with` block.

    Args:
        program: Path of Chromium.
        profile: A new, empty folder.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self._command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._loop = asyncio.new_event_loop()
        self._ids = itertools.count(1)
        self._drain: threading.Thread | None = None
        self.events: deque[dict[str, Any]] = deque()

    def __enter__(self) -> Self:
        # A process group of its own, so that its children end with it.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            address = self._address()
            # Chromium goes on talking; a full pipe would stop it.
            self._drain = threading.Thread(target=deque, args=(self._process.stderr, 0))
            self._drain.start()
            self._loop.run_until_complete(self._connect(address))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
        finally:
            self._loop.run_until_complete(self._session.close())
            self._end()

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that come meanwhile are kept."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(number, message), _ANSWER_S))

    def wait_event(self, method: str, session: str) -> dict[str, Any]:
        """Return the next event of that name, waiting for it."""
        return self._loop.run_until_complete(asyncio.wait_for(self._event(method, session), _ANSWER_S))

    def forget(self, session: str) -> None:
        """Drop the events of a page that is closed."""
        self.events = deque(event for event in self.events if event.get("sessionId") != session)

    def new_page(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> "Page":
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, target, session, width=width, height=height, dark=dark)

    def _address(self) -> str:
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            match = re.search(r"DevTools listening on (ws://\S+)", line)
            if match:
                return match[1]
        raise RuntimeError("Chromium did not start:\n" + "".join(said))

    async def _connect(self, address: str) -> None:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(address, max_msg_size=0)

    async def _ask(self, number: int, message: dict[str, Any]) -> dict[str, Any]:
        await self._socket.send_json(message)
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                break
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{message['method']}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def _event(self, method: str, session: str) -> dict[str, Any]:
        for event in self.events:
            if event.get("method") == method and event.get("sessionId") == session:
                self.events.remove(event)
                return event
        while True:
            event = await self._socket.receive_json()
            if event.get("method") == method and event.get("sessionId") == session:
                return dict(event)
            self.events.append(event)

    def _end(self) -> None:
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        if self._drain:
            self._drain.join(10)
        if self._process.stderr:
            self._process.stderr.close()
        self._loop.close()


class Page:
    """One tab.

    Args:
        browser: Its browser.
        target: Its target id.
        session: Its session id.
        width: Of the window, in CSS pixels.
        height: Of the window, in CSS pixels.
        dark: Whether the user prefers dark colours.
    """

    def __init__(
        self, browser: Browser, target: str, session: str, *, width: int, height: int, dark: bool
    ) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, still])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        failed = self.call("Page.navigate", url=url).get("errorText")
        assert not failed, f"{url}: {failed}"
        self._browser.wait_event("Page.loadEventFired", self._session)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, of what it promises where it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(json.dumps(answer["exceptionDetails"], indent=1))
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Return the first true value of an expression; it is looked at again whenever the page changes."""
        return self.evaluate(_WAIT_FOR % expression)

    def choose_files(self, selector: str, files: list[Path]) -> None:
        """Choose files in a file input, as a user does in the dialogue."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def press(self, key: str, number: int) -> None:
        """Press and release a key, given its name and its virtual key code."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number)

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def events(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of every event of that name so far."""
        self.evaluate("0")  # Its answer comes behind the events that are under way.
        return [
            event["params"]
            for event in self._browser.events
            if event.get("method") == method and event.get("sessionId") == self._session
        ]

    def requested(self) -> list[str]:
        """Return the address of every request that this page made."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Return what stands in the console: exceptions, errors, warnings; an HTTP status alone is none."""
        found = [event["exceptionDetails"]["text"] for event in self.events("Runtime.exceptionThrown")]
        calls = self.events("Runtime.consoleAPICalled")
        found += [
            json.dumps(call["args"]) for call in calls if call["type"] in ("error", "warning", "assert")
        ]
        for event in self.events("Log.entryAdded"):
            entry = event["entry"]
            if entry["level"] in ("error", "warning") and "with a status of" not in entry["text"]:
                found.append(f"{entry['text']} {entry.get('url', '')}")
        return found

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)
        self._browser.forget(self._session)
