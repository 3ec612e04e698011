"""Sections -> one HTML file that needs no network, and which page a folder gets.

Security: names of files and classes come from strangers. Jinja2 escapes all text; figures are JSON in a data block that
is never executed, with < > & escaped; the page's Content-Security-Policy allows the two scripts by their hashes and
nothing else to run or load. Styles are `unsafe-inline`, for plotly writes style attributes.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from kit.errors import ConfigError, StorageError
from kit.files import read_json, write_text
from reports.blocks import Page

KINDS = ("run", "inspection", "study")


def draw(folder: Path, **options: Any) -> Path | None:
    """Draws the page of a record folder into it, as `report.html`.

    Args:
        folder: Of a run, a study or an inspection.
        options: As for `page_of`.

    Returns:
        The page; None where the folder is of another kind.
    """
    if kind_of(folder) is None:
        return None
    return write_page(page_of(folder, **options), folder / "report.html")


def kind_of(folder: Path) -> str | None:
    """`run`, `inspection` or `study`; None for anything else."""
    if (folder / "study.toml").is_file():
        return "study"
    manifest = folder / "manifest.json"
    kind = read_json(manifest).get("kind") if manifest.is_file() else None
    return kind if kind in KINDS else None


def page_of(folder: Path, **options: Any) -> Page:
    """The page of one record folder.

    Args:
        folder: Of a run, a study or an inspection.
        options: `grid`, photos in each grid of predictions (runs only).

    Raises:
        StorageError: If the folder is none of these, or a record in it is damaged.
    """
    from reports.data_page import data_page
    from reports.run_page import run_page
    from reports.study_page import study_page

    kind = kind_of(folder)
    if kind is None:
        missing = "is not a record of transferkit" if folder.is_dir() else "is not a folder"
        raise StorageError(
            f"{folder} {missing}.", "Give the folder that `train`, `inspect` or `study run` printed at its end."
        )
    pages: dict[str, Callable[..., Page]] = {"run": run_page, "inspection": data_page, "study": study_page}
    return pages[kind](folder, **(options if kind == "run" else {}))


def write_page(page: Page, path: Path) -> Path:
    """Writes a page, whole or not at all."""
    write_text(path, render(page))
    return path


def render(page: Page, date: datetime | None = None) -> str:
    """A page as HTML; the same page and date give the same bytes.

    Args:
        page: What to show.
        date: When it was drawn; SOURCE_DATE_EPOCH in the environment, or now, where none is given.
    """
    scripts = (_plotly(), _template_text("page.js"))
    sections = tuple(section for section in page.sections if section.blocks)
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            sections=sections,
            policy=_policy(scripts),
            scripts=[Markup(script) for script in scripts],
            styles=Markup(_template_text("page.css")),
            drawn=(date or _now()).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def _policy(scripts: tuple[str, ...]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    rules = (
        "default-src 'none'",
        f"script-src {hashes}",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = figure_json
    environment.filters["data_url"] = lambda jpeg: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    environment.tests["block"] = lambda block, name: type(block).__name__ == name
    return environment


def figure_json(figure: Any) -> Markup:
    """A figure for a `<script type="application/json">`: nothing in it can end the block or begin a tag."""
    content = figure.to_plotly_json()
    content["layout"].pop("template", None)  # the page's colours come in the browser
    encoded = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for letter in "<>&":
        encoded = encoded.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(encoded)


@cache
def _template_text(name: str) -> str:
    return files("reports").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    # `</script` in a string of the bundle would end the script element
    return get_plotlyjs().replace("</script", "<\\/script")


def _now() -> datetime:
    """https://reproducible-builds.org/specs/source-date-epoch/"""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        hint = "Give seconds since 1970, or unset it."
        raise ConfigError(
            f"SOURCE_DATE_EPOCH in the environment must be a whole number, not {fixed!r}.", hint
        ) from None
