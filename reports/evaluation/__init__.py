"""Page of an evaluation: other images than a run's, beside those that the run measured itself on."""

import shlex
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from kit.csv_tables import read_table
from kit.errors import StorageError
from kit.files import read_json
from kit.insights import Insights
from reports import text
from reports.calibration import calibration_facts, calibration_section
from reports.confusion import confusion_facts, confusion_section
from reports.elements import Note, Page, Section, Table
from reports.evaluation.drift import drift_facts, drift_section
from reports.evaluation.facts import ORIGIN_NEW, EvaluationFacts, evaluation_facts
from reports.evaluation.scores import evaluation_box, recall_section
from reports.predictions import GIVEN, GRID, NEW, predictions_facts, predictions_section
from reports.provenance import ProvenanceFacts, pairs_of, provenance_section
from reports.sizes import Sizes, sizes_facts
from reports.summary import independent_n
from reports.threshold import threshold_facts, threshold_picker

COLUMNS = ("path", "split", "label", "predicted", "confidence")
ORIGINS = {
    ORIGIN_NEW: "new to the run",
    "train": "the run was trained on",
    "validation": "the run was validated with",
    "test": "the run was tested on",
}


def evaluation_page(folder: Path, grid: int = GRID) -> Page:
    """Page of what `transferkit evaluate RUN DATA` recorded; StorageError if that is damaged.

    `grid` is the number of images in each grid of predictions.
    """
    manifest = read_json(folder / "manifest.json")
    if manifest.get("status") != "finished":
        hint = f"Score them again: `{_command(manifest)}`." if "run" in manifest else "Score the images again."
        raise StorageError(f"{folder} is not whole: the evaluation did not end.", hint)
    metrics, predictions = read_json(folder / "metrics.json"), read_table(folder / "predictions.csv", COLUMNS)
    insights, classes = Insights(folder), manifest["classes"]
    album = insights.album("thumbnails")
    # images that the run has itself would flatter the new ones, or repeat the test
    fresh = predictions[predictions["split"] == ORIGIN_NEW]
    shown = fresh.assign(split=NEW) if len(fresh) else predictions.assign(split=GIVEN)
    facts = evaluation_facts(metrics, classes)
    said = predictions_facts(shown, insights.summary["sample"], grid)
    threshold = threshold_facts(shown, independent_n(facts.scores))
    picker = None if threshold is None else threshold_picker(threshold, Path(manifest["run"]).name)
    sections = (
        recall_section(facts),
        drift_section(drift_facts(metrics["drift"]), facts, _sizes(insights.images, shown, classes)),
        predictions_section(said, album, classes),
        confusion_section(confusion_facts(facts.shown, facts.scores, classes)),
        calibration_section(calibration_facts(shown, independent_n(facts.scores)), picker),
        _images_section(manifest, predictions),
        _provenance_section(manifest),
    )
    name = text.name(manifest.get("name") or folder.resolve().name)
    run = text.name(Path(manifest["run"]).name)
    made = (manifest.get("environment") or {}).get("backend", ""), manifest.get("created", "")[:10]
    scored = f"images: {manifest['images']['scored']:,} scored, {manifest['images'][ORIGIN_NEW]:,} new"
    return Page(
        title=f"{name}, scored by the model of {run}",
        subtitle=" · ".join(part for part in (text.name(folder.resolve().name), scored, *made) if part),
        summary_box=evaluation_box(facts),
        sections=sections,
        notes=_notes(facts),
    )


def _sizes(images: pd.DataFrame, shown: pd.DataFrame, classes: list[str]) -> Sizes | None:
    paths = set(shown["path"].tolist())
    rows = images[[path in paths for path in images["path"].tolist()]]
    return sizes_facts(rows, shown, classes) if len(rows) else None


def _notes(facts: EvaluationFacts) -> tuple[Note, ...]:
    notes = []
    if facts.shown == GIVEN:
        none = "None of these images is new to the run: what it scores on them says nothing about new images."
        notes.append(Note(none, "warning"))
    if facts.alone is not None:
        alone = text.name(facts.alone)
        only = f"All of these images are of {alone}. They tell how many of {alone} the model finds: the recall of that"
        notes.append(
            Note(f"{only} class. Accuracy over all classes, precision and macro F1 take images of the others.")
        )
    elif facts.absent:
        absent = text.joined([text.name(label) for label in facts.absent])
        notes.append(Note(f"The model also knows classes of which no image was given: {absent}."))
    return tuple(notes)


def _images_section(manifest: Mapping[str, Any], predictions: pd.DataFrame) -> Section:
    """What the images are to the run, which of them were scored, and what was left out."""
    counts, right = manifest["images"], (predictions["label"] == predictions["predicted"]).to_numpy()
    rows = []
    masks = {origin: (predictions["split"] == origin).to_numpy() for origin in ORIGINS}
    fewest = min(filter(None, (int(of.sum()) for of in masks.values())), default=0)
    for origin, words in ORIGINS.items():
        of = masks[origin]
        scored, hits = int(of.sum()), int(right[of].sum())
        accuracy = text.share(hits / scored, fewest) if scored else "–"
        rows.append((words, f"{counts[origin]:,}", f"{scored:,}", f"{hits:,}" if scored else "–", accuracy))
    why = ", ".join(f"{count:,} {text.name(kind)}" for kind, count in manifest["left_out"].items())
    rows.append(("left out", f"{counts['left_out']:,}", "0", "–", "–"))
    inspect = f"`transferkit inspect {text.name(_name(manifest['data']), 200)}` names the files."
    note = f"Left out: {why}. {inspect}" if why else ""
    head = ("images", "usable files", "scored", "right", "accuracy")
    lead = "An image is the run's own if its bytes are those of one of the run's images."
    seen = counts["train"] + counts["validation"]
    if seen and manifest["options"].get("include_seen"):
        lead += " Those that chose its weights were scored as well, and flatter the model."
    elif seen:
        lead += (
            " Those that chose its weights were left out; `transferkit evaluate RUN DATA --include-seen` scores them."
        )
    if counts[ORIGIN_NEW] and counts["scored"] > counts[ORIGIN_NEW]:
        lead += " The parts above are of the new ones alone."
    table = Table("The images by what the run knows of them", head, tuple(rows), note)
    return Section("images", "Which images", (table,), lead)


def _command(manifest: Mapping[str, Any]) -> str:
    options = []
    for name, value in (manifest.get("options") or {}).items():
        options += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return text.name(shlex.join(["transferkit", "evaluate", manifest["run"], manifest["data"], *options]), 2000)


def _name(path: str) -> str:
    """Path as it was typed; of an absolute one the last name, for the others tell of the author's disk."""
    return PurePath(path).name if PurePath(path).is_absolute() else path


def _provenance_section(manifest: Mapping[str, Any]) -> Section:
    names = {key: _name(manifest[key]) for key in ("run", "data")}
    origin = {"started": manifest.get("created"), **names}
    environment = pairs_of(manifest.get("environment") or {})
    facts = ProvenanceFacts(environment, pairs_of(origin), (), _command({**manifest, **names}))
    return provenance_section(facts, "the folder that holds the run and the images")
