"""Chromium for the tests of what a person does on a page: `chromium` and `show_page`."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Headless Chromium; skips where it, or playwright, is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not program:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def show_page(chromium) -> Iterator[Callable[..., Any]]:
    """Opens a page file: `show_page(path, width, **options)`; nothing may be logged until the module's tests end."""
    contexts, logged = [], []

    def show(path: Path, width: int = 1280, **options: Any) -> Any:
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert logged == []


@pytest.fixture(scope="session")
def axe() -> Callable[[Any], list[tuple[str, str]]]:
    """Serious violations that axe-core finds in a page: (rule, element); none without AXE_CORE."""
    script = Path(os.environ["AXE_CORE"]).read_text(encoding="utf-8") if os.environ.get("AXE_CORE") else ""

    def violations(page: Any) -> list[tuple[str, str]]:
        if not script:
            return []
        page.evaluate(script)
        found = page.evaluate("axe.run()")["violations"]
        return [(rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in ("serious", "critical")]

    return violations
