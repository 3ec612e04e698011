"""The page of a run: which sections, in which order. What the record lacks becomes a sentence, never an error."""

from pathlib import Path
from typing import Any

from kit.errors import UserError
from kit.insights.records import Insights
from kit.records import PREDICTION_COLUMNS, SAMPLE_COLUMNS, RunFolder, make_table
from kit.training.history import History
from reports import text
from reports.blocks import Note, Page
from reports.calibration import calibration_facts, calibration_section
from reports.confusion import confusion_facts, confusion_section
from reports.curves import curves_facts, curves_section
from reports.dataset import dataset_facts, dataset_sections
from reports.headline import headline, headline_facts
from reports.learning import doubts_section, learning_facts, learning_section
from reports.predictions import (
    GRID,
    maps_section,
    pair_verdicts,
    predictions_facts,
    predictions_section,
    scored_split,
)
from reports.provenance import network_section, provenance_facts, provenance_section

_STATUS = {
    "running": "The run has not ended, or was killed: the page shows what is recorded so far.",
    "interrupted": "The run was interrupted: the page shows what is recorded so far.",
    "failed": "The run failed: the page shows what is recorded so far.",
}


def run_page(folder: Path, grid: int = GRID) -> Page:
    """The page of a run folder, whatever it holds.

    Args:
        folder: A run folder.
        grid: Photos in each grid of predictions.

    Raises:
        StorageError: If it is no run folder, or a record in it is damaged.
    """
    run = RunFolder.open(folder)
    manifest, insights = run.manifest, Insights(run.insights)
    summary, album = insights.summary, insights.album("thumbnails")
    metrics = run.metrics if (folder / "metrics.json").exists() else {}
    verdicts = run.verdicts if (folder / "predictions.csv").exists() else _empty(PREDICTION_COLUMNS)
    history = run.history if (folder / "history.csv").exists() else History()
    classes = manifest.get("classes", [])
    split = scored_split(verdicts)
    said = predictions_facts(verdicts, summary["sample"], grid)
    confusion = confusion_facts(split, metrics[split], classes) if split and split in metrics else None
    pairs = (
        {pair: pair_verdicts(verdicts, split, pair.label, pair.predicted) for pair in confusion.pairs}
        if confusion
        else {}
    )
    learning = learning_facts(
        insights.doubted, insights.learning_curve, metrics.get("validation", {}).get("n", 0), summary["missing"]
    )
    provenance = provenance_facts(manifest, folder.resolve().name)
    samples = run.samples if (folder / "samples.csv").exists() else _empty(SAMPLE_COLUMNS)
    used = samples[samples["finding"].isna() & samples["split"].notna()]
    data = dataset_facts(used, len(samples) - len(used), insights.images, insights.findings, classes, album)
    data_section, samples_section, findings_section = dataset_sections(data, album)
    sections = (
        curves_section(curves_facts(history, _monitor(run))),
        predictions_section(said, album),
        maps_section(
            said,
            album,
            insights.album("activation-predicted"),
            insights.album("activation-label"),
            summary["missing"].get("activation", ""),
        ),
        confusion_section(confusion, pairs, album),
        calibration_section(calibration_facts(verdicts)),
        doubts_section(learning, album),
        learning_section(learning),
        data_section,
        samples_section,
        findings_section,
        network_section(provenance),
        provenance_section(provenance),
    )
    name = text.name((manifest.get("data") or {}).get("name") or folder.resolve().name)
    return Page(
        title=f"{name}: a trained classifier",
        subtitle=_subtitle(manifest, classes, folder),
        headline=headline(headline_facts(metrics)),
        sections=sections,
        notes=_notes(manifest),
    )


def _subtitle(manifest: dict[str, Any], classes: list[str], folder: Path) -> str:
    photos = (manifest.get("data") or {}).get("photos") or {}
    counted = ", ".join(f"{count:,} {split}" for split, count in photos.items())
    made = [
        text.name(folder.resolve().name),
        f"{text.count(len(classes), 'class', 'classes')}" if classes else "",
        f"photos: {counted}" if counted else "",
        (manifest.get("environment") or {}).get("backend", ""),
        manifest.get("created", "")[:10],
    ]
    return " · ".join(part for part in made if part)


def _notes(manifest: dict[str, Any]) -> tuple[Note, ...]:
    notes = []
    if manifest["status"] in _STATUS:
        error = f" It ended with: {text.name(manifest['error'], 200)}" if manifest.get("error") else ""
        notes.append(Note(_STATUS[manifest["status"]] + error, "warning"))
    notes += [Note(text.name(warning, 300), "warning") for warning in manifest.get("warnings", [])[:5]]
    return tuple(notes)


def _monitor(run: RunFolder) -> str:
    try:
        return run.config.training.monitor
    except UserError:  # killed before config.toml was written, or edited since: the default, then
        return "val_accuracy"


def _empty(columns: tuple[str, ...]):
    return make_table({column: [] for column in columns})
