"""Links between the pages of records that belong together, found on disk.

A run belongs to the study that kept it, to inspections of the same images, to evaluations of other images by it, and to
comparisons of it with others. Records are looked for beside a record and where commands put them, pages of comparisons
beside a run's folder and up to two folders above it.
"""

import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from kit.errors import UserError
from kit.files import read_json, write_text
from reports import text
from reports.elements import Link

HOMES = ("runs", "studies", "inspections", "evaluations")
NEWEST = 200  # records of a folder that are looked at
NEAR = 4  # folders that a link climbs at most
SHOWN = 8  # links to records of one kind
BEGIN, END = "<!--links-->", "<!--/links-->"
MEMBERS = "transferkit-compares"  # name of the meta element of a comparison that lists its runs
_HEAD = 8192  # bytes at a page's beginning that hold MEMBERS
_WORDS = {
    "study": "Study {name}, which kept this run",
    "run": "Run {name}",
    "inspection": "Data of {name}",
    "evaluation": "Evaluation {name}",
    "comparison": "Comparison {name}",
}


@dataclass(frozen=True)
class Record:
    """Record folder: `data` is the fingerprint of its images, `run` the folder of the run that it scored or kept."""

    path: Path
    kind: str
    data: str = ""
    run: Path | None = None

    @property
    def page(self) -> Path:
        """Where its page is drawn."""
        return self.path / "report.html"


def links_of(folder: Path, page: Path) -> tuple[Link, ...]:
    """Links of a record's page at `page` to the pages of records that belong to it, where these exist."""
    start = page.absolute().parent.resolve()
    found: dict[str, list[tuple[str, Path]]] = {kind: [] for kind in _WORDS}
    for record in related(folder):
        if record.page.is_file() and _is_near(record.page, start):
            found[record.kind].append((record.path.name, record.page))
    own = _read(folder)
    if own is not None and own.kind == "run":
        found["comparison"] = [(path.name, path) for path in _comparisons(own.path) if path.resolve() != page.resolve()]
    links = [_link(kind, name, path, start) for kind, pages in found.items() for name, path in sorted(pages)[-SHOWN:]]
    return tuple(links)


def run_links(folders: Sequence[Path], page: Path) -> tuple[Link, ...]:
    """Links of a comparison's page at `page` to the pages of its runs, where these exist."""
    start = page.absolute().parent.resolve()
    pages = [folder.resolve() / "report.html" for folder in folders]
    return tuple(
        _link("run", path.parent.name, path, start) for path in pages if path.is_file() and _is_near(path, start)
    )


def members(folders: Sequence[Path], page: Path) -> tuple[str, ...]:
    """Folders of compared runs, relative to the page, for its meta element MEMBERS."""
    start = page.absolute().parent.resolve()
    places = [folder.resolve() for folder in folders]
    return tuple(Path(os.path.relpath(place, start)).as_posix() for place in places if _is_near(place, start))


def links_html(links: Sequence[Link]) -> Markup:
    """Links as a page shows them."""
    items = (Markup('<a href="{}"><bdi>{}</bdi></a>').format(_url(link.href), link.text) for link in links)
    return Markup('<p class="quiet" data-links>{}</p>' if links else "").format(Markup(" · ").join(items))


def _url(path: str) -> str:
    return quote(os.fsencode(path))  # names of files may hold bytes that are no text


def related(folder: Path) -> list[Record]:
    """Records that belong to one, by path; a neighbour that cannot be read is passed over."""
    own = _read(folder)
    if own is None:
        return []
    return sorted((other for other in _neighbours(own) if _belong(own, other)), key=lambda record: record.path)


def refresh(records: Iterable[Path]) -> None:
    """Write the links of pages that exist anew, the rest of a page unchanged."""
    for folder in records:
        page = folder / "report.html"
        try:
            content = page.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        before, begin, rest = content.partition(BEGIN)
        _, end, after = rest.partition(END)
        changed = f"{before}{BEGIN}{links_html(links_of(folder, page))}{END}{after}"
        if begin and end and changed != content:
            write_text(page, changed)


def _is_near(path: Path, start: Path) -> bool:
    """Whether a relative path says nothing of the disk beyond the folders that hold the records."""
    common = os.path.commonpath([path, start])
    return common != path.anchor and len(start.parts) - len(Path(common).parts) <= NEAR


def _link(kind: str, name: str, page: Path, start: Path) -> Link:
    return Link(_WORDS[kind].format(name=text.name(name)), Path(os.path.relpath(page, start)).as_posix())


def _belong(a: Record, b: Record) -> bool:
    """Whether two records belong together; one of them is a run."""
    if b.kind == "run":
        a, b = b, a
    if a.kind != "run":
        return False
    if b.kind == "inspection":
        return a.data == b.data != ""
    return b.kind in ("study", "evaluation") and b.run == a.path


def _neighbours(own: Record) -> Iterator[Record]:
    """Records beside one, in HOMES of the folders above it, and what a study kept or an evaluation names."""
    above = own.path.parents[:3]
    places = [above[0], *(place / home for place in above for home in HOMES)]
    folders = [folder for place in dict.fromkeys(places) for folder in _newest(place)]
    kept = [folder / "best" for folder in folders]
    named = [] if own.run is None else [own.run]
    for folder in dict.fromkeys([above[0], *named, *folders, *kept]):
        if folder != own.path and (record := _read(folder)) is not None:
            yield record


def _newest(place: Path) -> list[Path]:
    try:
        folders = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(place) if entry.is_dir()]
    except OSError:
        return []
    return [Path(path) for _, path in sorted(folders)[-NEWEST:]]


def _read(folder: Path) -> Record | None:
    """Record in a folder; None where it is none that a run may belong to."""
    path = folder.resolve()
    try:
        if (path / "study.toml").is_file():
            return Record(path, "study", run=path / "best")
        if not (path / "manifest.json").is_file():
            return None
        manifest: Any = read_json(path / "manifest.json")
        kind = manifest.get("kind")
        if kind == "run":
            return Record(path, kind, (manifest.get("data") or {}).get("fingerprint") or "")
        if kind == "inspection":
            return Record(path, kind, manifest.get("data_fingerprint") or "")
        if kind == "evaluation":
            return Record(path, kind, run=Path(manifest["run"]).resolve())
    except (UserError, OSError, AttributeError, KeyError, TypeError, ValueError):
        pass
    return None


def _comparisons(run: Path) -> list[Path]:
    """Pages of comparisons that this run is part of."""
    found = []
    for place in (run, *run.parents[:3]):
        for path in sorted(place.glob("*.html"))[:NEWEST]:
            if any((path.parent / member).resolve() == run for member in _members(path)):
                found.append(path)
    return found


def _members(page: Path) -> list[str]:
    try:
        with page.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", "replace")
        listed = re.search(f'<meta name="{MEMBERS}" content="([^"]*)">', head)
        found = json.loads(html.unescape(listed[1])) if listed else []
        return [member for member in found if isinstance(member, str)]
    except (OSError, ValueError):
        return []
