"""A page of the format `web` in headless Chromium: the model it holds, as the parity check runs models.

It is opened from disk, with no network, as its user opens it.
"""

import atexit
import base64
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kit.errors import ExportError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_ARGUMENTS = ("--disable-gpu", "--disable-background-networking", "--disable-component-update")
_SECONDS = 120  # for the page to unpack its model


def find_program() -> str:
    """The browser of CHROMIUM, or of the path, or empty: then Playwright's own is tried."""
    return os.environ.get("CHROMIUM") or next((found for name in PROGRAMS if (found := shutil.which(name))), "")


class BrowserModel:
    """Model of a page, called with uint8 (n, S, S, 3), 0-255, for probabilities (n, classes).

    A strangeness, where the page has one, is one more column.
    """

    def __init__(self, page: Path):
        from playwright.sync_api import Error, sync_playwright

        driver = sync_playwright().start()
        atexit.register(driver.stop)
        program = find_program()
        # Chromium's sandbox refuses root, as in containers; the page is our own, and asks for nothing from elsewhere.
        sandbox = () if getattr(os, "geteuid", lambda: 1)() else ("--no-sandbox",)
        try:
            self._browser = driver.chromium.launch(executable_path=program or None, args=[*_ARGUMENTS, *sandbox])
        except Error as error:
            raise ExportError(
                f"The page is compared in headless Chromium, which does not start: {str(error).splitlines()[0]}",
                "Install Chromium or Chrome, let CHROMIUM name its program, or run `playwright install chromium`.",
            ) from None
        self._page = self._browser.new_context(offline=True).new_page()
        self._page.set_default_timeout(1000 * _SECONDS)
        self._page.goto(page.absolute().as_uri())
        self._page.evaluate("check.ready")

    @property
    def version(self) -> str:
        """Of the browser."""
        return self._browser.version

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        found = self._page.evaluate("([text, count]) => check.answer(text, count)", [_text(pixels), len(pixels)])
        return np.array(found, np.float32).reshape(len(pixels), -1)

    def times_ms(self, pixels: np.ndarray, repeats: int, seconds: float) -> list[float]:
        """Milliseconds of passes of a batch, measured in the page."""
        rules = {"warm": 2, "least": 3, "most": repeats, "seconds": seconds}
        return self._page.evaluate("(given) => check.times(...given)", [_text(pixels), len(pixels), rules])

    def from_files(self, files: Sequence[Path]) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """Pixels and probabilities of files that the page decodes by itself; None where the browser cannot."""
        return [self._of_file(file) for file in files]

    def _of_file(self, file: Path) -> tuple[np.ndarray, np.ndarray] | None:
        from playwright.sync_api import Error

        try:
            found: Any = self._page.evaluate("(text) => check.file(text)", _text(file.read_bytes()))
        except Error:
            return None
        pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
        side = round((pixels.size / 3) ** 0.5)
        return pixels.reshape(side, side, 3), np.array(found["probabilities"], np.float32)


def _text(content: np.ndarray | bytes) -> str:
    return base64.b64encode(content if isinstance(content, bytes) else content.tobytes()).decode()
