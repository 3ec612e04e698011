"""Page of a run. A missing record becomes a sentence, never an error."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from kit.csv_tables import PREDICTION_COLUMNS, SAMPLE_COLUMNS, make_table
from kit.errors import UserError
from kit.insights import Insights
from kit.run import Run
from kit.training.history import History
from reports import text
from reports.calibration import calibration_facts, calibration_section
from reports.confusion import confusion_facts, confusion_section
from reports.curves import curves_facts, curves_section
from reports.dataset import dataset_facts, dataset_sections
from reports.elements import Note, Page
from reports.folds import folds_facts, folds_section
from reports.formats import formats_section, read_benchmark
from reports.image_map import map_facts, map_section
from reports.label_issues import label_issues, label_issues_section
from reports.learning_curve import learning_curve_facts, learning_curve_section
from reports.network import exports_section, network_facts, network_section, read_exports
from reports.next_steps import PageFacts, next_steps, next_steps_section, scored_matrix
from reports.predictions import GRID, predictions_facts, predictions_section, scored_split
from reports.provenance import provenance_facts, provenance_section
from reports.review import Reviewing, corrections_of, page_data
from reports.summary import summary_box, summary_facts
from reports.threshold import threshold_facts, threshold_picker

NOT_DOUBTED = "This run recorded no doubted labels."
CELLS = 1_000_000  # of predictions.csv that are read whole
_STATUS = {
    "running": "The run has not ended, or was killed: the page shows what is recorded so far.",
    "interrupted": "The run was interrupted: the page shows what is recorded so far.",
    "failed": "The run failed: the page shows what is recorded so far.",
}


class PartialRun(Run):
    """Run whose missing records are empty; a damaged one raises StorageError."""

    @classmethod
    def open(cls, path: Path) -> "PartialRun":
        """Open the record of a run; StorageError if it is none."""
        return cls(Run.open(path).path)

    @property
    def monitor(self) -> str:
        """`training.monitor`; its default where config.toml cannot be read."""
        return self.settings["training"]["monitor"] if self.settings else "val_accuracy"

    @property
    def settings(self) -> dict[str, Any]:
        """Configuration as nested tables; empty where config.toml cannot be read."""
        try:
            return asdict(self.config)
        except UserError:
            return {}

    @property
    def metrics(self) -> dict[str, Any]:
        return super().metrics if self._has("metrics.json") else {}

    @property
    def history(self) -> History:
        return super().history if self._has("history.csv") else History()

    @property
    def predicted(self) -> pd.DataFrame:
        return super().predicted if self._has("predictions.csv") else _empty(PREDICTION_COLUMNS)

    @property
    def predictions(self) -> pd.DataFrame:
        return super().predictions if self._has("predictions.csv") else _empty(PREDICTION_COLUMNS)

    @property
    def samples(self) -> pd.DataFrame:
        return super().samples if self._has("samples.csv") else _empty(SAMPLE_COLUMNS)

    def _has(self, name: str) -> bool:
        return (self.path / name).exists()


def _empty(columns: tuple[str, ...]) -> pd.DataFrame:
    return make_table({name: [] for name in columns})


def run_page(folder: Path, grid: int = GRID) -> Page:
    """Page of a run folder; StorageError if it is none, or a record in it is damaged.

    `grid` is the number of images in each grid of predictions.
    """
    run = PartialRun.open(folder)
    insights = Insights(run.insights)
    manifest, metrics, samples = run.manifest, run.metrics, run.samples
    # the classes' columns take most of the memory, and serve the image browser alone
    predictions = run.predictions if len(samples) * len(manifest.get("classes", [])) <= CELLS else run.predicted
    summary, album = insights.summary, insights.album("thumbnails")
    missing = {"doubted": "" if (insights.folder / "doubted.csv").exists() else NOT_DOUBTED, **summary["missing"]}
    classes, (split, scored) = manifest.get("classes", []), scored_split(predictions)
    used = samples[samples["finding"].isna() & samples["split"].notna()]
    findings = insights.findings if (insights.folder / "findings.json").exists() else None

    measured, curves = summary_facts(metrics), curves_facts(run.history, run.monitor)
    said = predictions_facts(predictions, summary["sample"], grid, insights.map["path"].tolist())
    confusion = confusion_facts(split, metrics[split], classes) if split in metrics else None
    validation = metrics.get("validation", {}).get("n", 0)
    learning = learning_curve_facts(insights.learning_curve, validation)
    data = dataset_facts(used, len(samples) - len(used), insights.images, findings, classes, album)
    independent = measured.n_effective if split == measured.split else None
    threshold = threshold_facts(scored, independent, run.abstention)
    earlier = corrections_of(folder)
    labels = dict(zip(samples["path"].tolist(), samples["label"].tolist(), strict=True))
    reviewing = Reviewing(labels, frozenset(row.path for row in earlier))
    picker = None if threshold is None else threshold_picker(threshold, folder.resolve().name)
    facts = PageFacts(
        summary=measured,
        classes=tuple(classes),
        confusion=scored_matrix(metrics, measured.split),
        validation=validation,
        curves=curves,
        phases=tuple(phase["name"] for phase in run.settings.get("phases", ())),
        learning=learning,
        doubted=summary["doubted"],
        data=data,
    )
    folded = (
        *dataset_sections(data, album, reviewing),
        network_section(network_facts(manifest.get("network") or {})),
        exports_section(read_exports(folder)),
        formats_section(read_benchmark(folder)),
        provenance_section(provenance_facts(manifest, folder.resolve().name)),
    )
    # by worth: what the model gets wrong comes before how it was trained, and what inspections show as well comes last
    sections = (
        next_steps_section(next_steps(facts)),
        predictions_section(
            said,
            album,
            classes,
            insights.evidence,
            insights.album("activation-predicted"),
            insights.album("activation-label"),
        ),
        confusion_section(confusion),
        calibration_section(calibration_facts(predictions, independent), picker),
        map_section(
            map_facts(insights.map, summary["map"].get("method", ""), said), said, classes, missing.get("map", "")
        ),
        curves_section(curves),
        folds_section(folds_facts(metrics)),
        label_issues_section(label_issues(insights.doubted), album, missing["doubted"], summary["doubted"], reviewing),
        learning_curve_section(learning, missing.get("learning_curve", "")),
        *(replace(section, folded=True) for section in folded),
    )
    name = text.name((manifest.get("data") or {}).get("name") or folder.resolve().name)
    return Page(
        title=f"{name}: a trained classifier",
        subtitle=_subtitle(manifest, classes, folder, len(metrics.get("folds", []))),
        summary_box=summary_box(measured),
        sections=sections,
        notes=_notes(manifest),
        review=page_data(_identity(manifest), classes, earlier),
    )


def _identity(manifest: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a run from others, wherever its folder lies."""
    data, seeds = manifest.get("data") or {}, manifest.get("seeds") or {}
    return manifest["created"], data.get("fingerprint"), seeds, manifest.get("environment")


def _subtitle(manifest: dict[str, Any], classes: list[str], folder: Path, folds: int) -> str:
    images = (manifest.get("data") or {}).get("photos") or {}
    counted = ", ".join(f"{count:,} {split}" for split, count in images.items())
    if folds:
        counted = f"{sum(images.values()):,} in {folds} folds"
    made = [
        text.name(folder.resolve().name),
        f"{text.count(len(classes), 'class', 'classes')}" if classes else "",
        f"images: {counted}" if counted else "",
        (manifest.get("environment") or {}).get("backend", ""),
        manifest.get("created", "")[:10],
    ]
    return " · ".join(part for part in made if part)


def _notes(manifest: dict[str, Any]) -> tuple[Note, ...]:
    notes = []
    if manifest["status"] in _STATUS:
        error = (
            f" It ended with: {text.name(text.without_folders(manifest['error']), 200)}"
            if manifest.get("error")
            else ""
        )
        notes.append(Note(_STATUS[manifest["status"]] + error, "warning"))
    notes += [
        Note(text.name(text.without_folders(warning), 300), "warning") for warning in manifest.get("warnings", [])[:5]
    ]
    return tuple(notes)
