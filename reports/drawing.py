"""`write_report` and `write_index` of the Python API, and `draw`, the hook at a command's end."""

import base64
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from kit.errors import ConfigError, StorageError
from kit.files import read_json, write_text
from kit.run import Run, path_of
from reports import text
from reports.compare import compare_page
from reports.data_page import data_page
from reports.elements import Chart, FileName, Page
from reports.evaluation import evaluation_page
from reports.index_page import index_page
from reports.links import links_html, links_of, members, refresh, related, run_links
from reports.predictions import GRID
from reports.run_page import run_page
from reports.trials import study_page

ENDING = 9  # letters at the end of a name that stay, such as 00036.jpg
KINDS = ("run", "inspection", "evaluation", "study")
Name = str | os.PathLike[str]
Record = Name | Run


def write_report(records: Record | Iterable[Record], out: Name | None = None, *, grid: int = GRID) -> Path:
    """Draw one HTML page that needs no network, from what was recorded.

    Args:
        records: Folder of a run, a study, an inspection or an evaluation; several runs are compared.
        out: Default `report.html` in the folder, for several runs `comparison.html` in the working directory.
        grid: Images in each grid of predictions, 1 to 96.

    Raises:
        UserError: If a folder is none of these, a record in it is damaged, or `out` is a folder.
    """
    if not 1 <= grid <= 96:
        raise ConfigError(f"grid must be from 1 to 96, not {grid}.")
    given: list[Any] = [records]
    if isinstance(records, Iterable) and not isinstance(records, str | os.PathLike):
        given = list(records)
    folders = [_folder(record) for record in given]
    path = None if out is None else Path(out)
    if path is not None and path.is_dir():
        raise StorageError(f"{path} is a folder.", "Name a file to be, such as page.html.")
    if len(folders) == 1:
        return _write_record(folders[0], path or folders[0] / "report.html", grid)
    if not folders:
        raise ConfigError("No record was given.", "Give the folder of a run, a study, an inspection or an evaluation.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("The same folder was given twice.", "Give each run once.")
    for folder in folders:
        kind = kind_of(folder)
        if kind not in ("run", None):
            article = "an" if kind in ("inspection", "evaluation") else "a"
            raise StorageError(f"{folder} is the record of {article} {kind}.", "Only runs are compared: give it alone.")
    path = path or Path("comparison.html")
    compared = replace(compare_page(folders), links=run_links(folders, path), members=members(folders, path))
    write_page(compared, path)
    refresh(folders)
    return path


def write_index(folder: Name = ".", out: Name | None = None) -> Path:
    """Draw one HTML page that lists the runs, studies, inspections, evaluations and comparisons under a folder.

    Records that are unfinished or damaged are listed as such.

    Args:
        folder: Searched at any depth.
        out: Default `index.html` in the folder. Links to pages are relative to it.

    Raises:
        UserError: If `folder` is none, or `out` is one.
    """
    root = path_of(folder, "a folder", "Give the folder that holds runs, studies and the like.")
    path = root / "index.html" if out is None else Path(out)
    if path.is_dir():
        raise StorageError(f"{path} is a folder.", "Name a file to be, such as index.html.")
    return write_page(index_page(root, path), path)


def _folder(record: Record) -> Path:
    return path_of(record, "a record", "Give the folder of a run, a study, an inspection or an evaluation.")


def draw(folder: Path) -> Path | None:
    """Draw `report.html` into a record folder; None where it is none."""
    return None if kind_of(folder) is None else _write_record(folder, folder / "report.html", GRID)


def _write_record(folder: Path, path: Path, grid: int) -> Path:
    """Write the page of a record; those that it links to link back."""
    write_page(replace(page_of(folder, grid), links=links_of(folder, path)), path)
    refresh(record.path for record in related(folder))
    return path


def kind_of(folder: Path) -> str | None:
    """One of KINDS; None for anything else."""
    if (folder / "study.toml").is_file():
        return "study"
    manifest = folder / "manifest.json"
    kind = read_json(manifest).get("kind") if manifest.is_file() else None
    return kind if kind in KINDS else None


def page_of(folder: Path, grid: int = GRID) -> Page:
    """Page of one record folder; StorageError if it is none, or damaged.

    `grid` is the number of images in each grid of predictions, of runs and evaluations.
    """
    kind = kind_of(folder)
    if kind is None:
        missing = "is not a record of transferkit" if folder.is_dir() else "is not a folder"
        raise StorageError(
            f"{folder} {missing}.",
            "Give the folder that `train`, `inspect`, `evaluate RUN DATA` or `study run` printed at its end.",
        )
    if kind == "run":
        return run_page(folder, grid)
    if kind == "evaluation":
        return evaluation_page(folder, grid)
    return study_page(folder) if kind == "study" else data_page(folder)


def write_page(page: Page, path: Path) -> Path:
    """Write a page atomically."""
    write_text(path, render(page))
    return path


def render(page: Page, date: datetime | None = None) -> str:
    """Page as HTML; the same page and date give the same bytes.

    `date` is when it was drawn; default SOURCE_DATE_EPOCH in the environment, else now.
    """
    sections = tuple(section for section in page.sections if section.elements)
    needed = dict.fromkeys(
        element.script for section in sections for element in section.elements if hasattr(element, "script")
    )
    names = ("theme.js", "page.js", "tables.js", *needed, *(["live.js"] if page.live else []))
    theme, *rest = (_template_text(name) for name in names)
    # a page without a figure does without the library, which is most of its size
    figures = any(isinstance(element, Chart) for section in sections for element in section.elements)
    scripts = (*((_plotly(),) if figures else ()), *rest)
    return (
        environment()
        .get_template("page.html")
        .render(
            page=page,
            sections=sections,
            policy=_policy((theme, *scripts)),
            theme=Markup(theme),
            scripts=[Markup(script) for script in scripts],
            styles=Markup(_template_text("page.css")),
            drawn=(drawn := date or _now()).strftime("%Y-%m-%d %H:%M UTC"),
            moment=drawn.isoformat(timespec="seconds"),
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
def environment() -> jinja2.Environment:
    """Templates, which escape what they are given, with the filters that they use."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["figure"] = figure_json
    made.filters["data_url"] = lambda jpeg: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    made.filters["cut"] = cut
    made.filters["axes"] = lambda axes: script_json([asdict(axis) for axis in axes])
    made.filters["name"] = text.name
    made.filters["json"] = script_json
    made.filters["code"] = _code
    made.filters["links"] = links_html
    made.tests["file_name"] = lambda cell: isinstance(cell, FileName)
    made.tests["element"] = lambda element, name: type(element).__name__ == name
    return made


def cut(name: str) -> Markup:
    """Name of a file that loses its middle where there is no room for all of it; as `cut` of templates/browser.js."""
    shown = name.strip("\N{FIRST STRONG ISOLATE}\N{POP DIRECTIONAL ISOLATE}")  # the element isolates it
    halves = shown[:-ENDING], shown[-ENDING:]
    return Markup('<bdi class="cut" title="{}"><span>{}</span><span>{}</span></bdi>').format(shown, *halves)


def figure_json(figure: Any) -> Markup:
    """Figure as JSON."""
    content = figure.to_plotly_json()
    content["layout"].pop("template", None)  # the page's colours come in the browser
    return script_json(content)


def script_json(content: Any) -> Markup:
    """JSON that can neither end its script element nor begin a tag."""
    encoded = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for letter in "<>&":
        encoded = encoded.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(encoded)


def _code(sentence: str) -> Markup:
    """Sentence whose parts in backticks are code."""
    parts = sentence.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 and place < len(parts) - 1 else part
        for place, part in enumerate(parts)
    )


@cache
def _template_text(name: str) -> str:
    return files("reports").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    # `</script` in a string of the bundle would end the script element
    return get_plotlyjs().replace("</script", "<\\/script")


def _now() -> datetime:
    """Now, or SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/)."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        hint = "Give seconds since 1970, or unset it."
        raise ConfigError(
            f"SOURCE_DATE_EPOCH in the environment must be a whole number, not {fixed!r}.", hint
        ) from None
