"""Page that lists the records under a folder: runs, studies, inspections, evaluations, comparisons."""

import html
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kit.errors import StorageError, UserError
from kit.files import read_json
from kit.run import Run
from reports import text
from reports.elements import Metric, Note, Page, RecordList, RecordRow, Section, SummaryBox
from reports.summary import summary_facts
from search.records import StudyRecord

KINDS = {
    "run": "Runs",
    "study": "Studies",
    "inspection": "Inspections",
    "evaluation": "Evaluations",
    "comparison": "Comparisons",
}
INSIDE = {"insights", "checkpoints", "exports", "folds"}  # of a record: nothing to list
OURS = {"config.toml", "samples.csv", "predictions.csv", "metrics.json", "findings.json", "insights"}
FINISHED, DAMAGED = "finished", "damaged"
_HEAD = 1 << 16
_COMPARED = re.compile(r"<title>(\d+ runs compared)</title>.*?<p class=\"quiet\"><bdi>(.*?)</bdi>", re.DOTALL)


@dataclass(frozen=True)
class RecordFacts:
    """What is known of one record.

    Attributes:
        path: Of its folder, or of a comparison's page.
        kind: One of KINDS.
        page: None where it has not been drawn.
        state: FINISHED, DAMAGED, or how far it came: `running`, `interrupted`, `failed`.
        created: ISO 8601; empty where not known.
        score: Accuracy, or the first objective of a study; `of` says of what, `interval` is of 95%.
        images: Number of images; None where not known.
        size: Bytes on disk.
        note: Why it is damaged, or what else is to be said.
    """

    path: Path
    kind: str
    page: Path | None
    state: str = DAMAGED
    created: str = ""
    data: str = ""
    backend: str = ""
    score: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    of: str = ""
    images: int | None = None
    size: int = 0
    note: str = ""


def record_facts(folder: Path) -> list[RecordFacts]:
    """Facts of all records under a folder, the newest first; StorageError if it is no folder."""
    if not folder.is_dir():
        raise StorageError(f"{folder} is not a folder.", "Give the folder that holds runs, studies and the like.")
    return sorted(_records(folder), key=lambda one: (_reversed(one.created), str(one.path)))


def _reversed(created: str) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in created) or (0,)


def _records(folder: Path) -> Iterator[RecordFacts]:
    for where, folders, files in os.walk(folder):
        here = Path(where)
        kind = _kind(here, {*folders, *files})
        folders[:] = sorted(name for name in folders if name[0] != "." and not (kind and name in INSIDE))
        if kind is not None:
            page = here / "report.html"
            known = RecordFacts(here, kind, page if page.is_file() else None, size=_size(here))
            yield _told(known)
        for name in sorted(files):
            if name.endswith(".html") and name not in ("report.html", "index.html"):
                yield from _comparison(here / name)


def _kind(folder: Path, names: set[str]) -> str | None:
    """Kind of a record, damaged ones included; None for any other folder."""
    if "study.toml" in names:
        return "study"
    if "manifest.json" not in names:
        return None
    try:
        kind = read_json(folder / "manifest.json").get("kind")
        return kind if kind in ("run", "inspection", "evaluation") else None
    except (UserError, AttributeError):
        # other programs have manifest.json too
        if not names & OURS:
            return None
        return "run" if "config.toml" in names else "evaluation" if "predictions.csv" in names else "inspection"


def _told(known: RecordFacts) -> RecordFacts:
    read: Mapping[str, Callable[[RecordFacts], RecordFacts]]
    read = {"run": _run, "study": _study, "inspection": _inspection, "evaluation": _evaluation}
    try:
        return read[known.kind](known)
    except UserError as error:
        return replace(known, note=text.without_folders(error.what))
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        why = text.without_folders(f"{type(error).__name__} {error}")
        return replace(known, note=f"its record cannot be read: {why}")


def _run(known: RecordFacts) -> RecordFacts:
    run = Run.open(known.path)
    manifest = run.manifest
    measured = summary_facts(run.metrics if (known.path / "metrics.json").exists() else {})
    data = manifest.get("data") or {}
    images = sum((data.get("photos") or {}).values())
    return replace(
        _scored(known, measured),
        state=manifest["status"],
        created=manifest.get("created", ""),
        data=data.get("name") or "",
        backend=(manifest.get("environment") or {}).get("backend", ""),
        images=images or None,
        note=text.without_folders(manifest.get("error") or ""),
    )


def _scored(known: RecordFacts, measured: Any) -> RecordFacts:
    if measured.accuracy is None:
        return known
    interval = measured.interval and (measured.interval[0], measured.interval[1])
    of = {"out-of-fold": "cross-validated accuracy"}.get(measured.split, f"{measured.split} accuracy")
    return replace(known, score=measured.accuracy, interval=interval, n=measured.n, of=of)


def _study(known: RecordFacts) -> RecordFacts:
    study = StudyRecord.load(known.path)
    counts, best = study.counts, study.best_trial
    values = study.trial(best).values if best is not None else ()
    open_trials = counts.running + counts.waiting
    note = f"{text.count(counts.finished, 'trial')} finished" + (f", {counts.failed} failed" if counts.failed else "")
    return replace(
        known,
        state="running" if open_trials or best is None else FINISHED,
        created=study.created,
        data=study.data.get("name") or "",
        backend=str(study.config.get("backend", "")),
        score=values[0] if values else None,
        of=f"validation {study.objectives[0].replace('_', ' ')} of the best trial",
        note=note,
    )


def _inspection(known: RecordFacts) -> RecordFacts:
    manifest = read_json(known.path / "manifest.json")
    summary = manifest["summary"]
    findings = sum(entry["count"] for entry in summary.get("finding_counts", ()))
    return replace(
        known,
        state=manifest.get("status", "running"),
        created=manifest.get("created", ""),
        data=summary.get("name") or "",
        images=summary.get("images"),
        note=f"{text.count(len(summary['classes']), 'class', 'classes')}, {text.count(findings, 'finding')}",
    )


def _evaluation(known: RecordFacts) -> RecordFacts:
    manifest = read_json(known.path / "manifest.json")
    scores = read_json(known.path / "metrics.json")["all"] if (known.path / "metrics.json").exists() else {}
    scored = bool(scores.get("n"))
    return replace(
        known,
        state=manifest.get("status", "running"),
        created=manifest.get("created", ""),
        data=manifest.get("name") or "",
        backend=(manifest.get("environment") or {}).get("backend", ""),
        score=scores["accuracy"] if scored else None,
        interval=tuple(scores["accuracy_interval"]) if scored else None,
        n=scores["n"] if scored else None,
        of="accuracy of other images",
        images=scores["n"] if scored else None,
        note=f"of {Path(manifest['run']).name}",
    )


def _comparison(page: Path) -> Iterator[RecordFacts]:
    """A page that `report RUN RUN` drew: it is its own record."""
    try:
        with page.open("rb") as file:
            found = _COMPARED.search(file.read(_HEAD).decode("utf-8", "replace"))
        status = page.stat()
    except OSError:
        return
    if found:
        drawn = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
        of = f"{found[1]}: {html.unescape(found[2])}"
        yield RecordFacts(page, "comparison", page, FINISHED, drawn, size=status.st_size, note=of)


def _size(folder: Path) -> int:
    sizes = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                sizes += os.lstat(os.path.join(where, name)).st_size
            except OSError:  # gone meanwhile: a run may be writing
                continue
    return sizes


# === Page ===


def index_page(folder: Path, place: Path) -> Page:
    """Page of all records under a folder, to be written to `place`: links are relative to it."""
    facts = record_facts(folder)
    counts = Counter(one.kind for one in facts)
    kinds = tuple(Metric(plural, f"{counts[kind]:,}") for kind, plural in KINDS.items() if counts[kind])
    open_ones = sum(one.state not in (FINISHED, DAMAGED) for one in facts)
    damaged, bare = sum(one.state == DAMAGED for one in facts), sum(one.page is None for one in facts)
    notes = []
    if damaged:
        notes.append(Note(f"{text.count(damaged, 'record')} cannot be read; the list says why.", "warning"))
    says = f"{open_ones:,} not finished, {damaged:,} damaged, {bare:,} without a page."
    name = text.name(folder.resolve().name)
    most = max((one.n or 0 for one in facts if one.score is not None), default=0)
    rows = tuple(_row(one, folder, place, most or None) for one in facts)
    nothing = Note("There is no run, study, inspection, evaluation or comparison in this folder.", "missing")
    listed = RecordList("records", f"Records under {name}", rows, tuple(KINDS))
    return Page(
        title=f"{name}: what was recorded",
        subtitle=f"{text.count(len(facts), 'record')}, the newest first",
        summary_box=SummaryBox("Records", f"{len(facts):,}", says, kinds) if facts else None,
        sections=(Section("list", "Records", (listed if facts else nothing,)),),
        notes=tuple(notes),
    )


def _row(one: RecordFacts, folder: Path, place: Path, most: int | None) -> RecordRow:
    """Row of a record; shares have the digits that `most` images, the most behind any score, allow."""
    relative = os.path.relpath(one.path, folder)
    name = text.name(folder.resolve().name if relative == "." else relative, 60)
    share = one.kind != "study" or "accuracy" in one.of
    score = "" if one.score is None else text.share(one.score, most) if share else text.number(one.score)
    note = one.note
    if one.page is None:
        note = f"{note}{'. ' if note else ''}No page yet: transferkit report {text.name(relative, 80)}"
    return RecordRow(
        name=name,
        href=""
        if one.page is None
        else quote(os.fsencode(os.path.relpath(one.page, place.parent)).replace(b"\\", b"/")),
        kind=one.kind,
        state=one.state,
        score=score,
        value=one.score,
        interval=text.interval(one.interval, most) if one.interval else "",
        of=one.of if one.score is not None else "",
        data=text.name(one.data) if one.data else "",
        images=one.images,
        created=text.name(one.created[:16].replace("T", " ")) if one.created else "",
        size=text.size(one.size),
        bytes=one.size,
        backend=text.name(one.backend) if one.backend else "",
        note=text.name(note, 240) if note else "",
    )
