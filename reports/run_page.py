"""The page of a run: which sections, in which order. What the record lacks becomes a sentence, never an error."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.csv_tables import PREDICTION_COLUMNS, SAMPLE_COLUMNS, make_table
from kit.errors import UserError
from kit.insights.artifacts import Insights
from kit.run import Run
from kit.training.history import History
from reports import text
from reports.calibration import calibration_facts, calibration_section
from reports.confusion import confusion_facts, confusion_section
from reports.curves import curves_facts, curves_section
from reports.dataset import dataset_facts, dataset_sections
from reports.elements import Note, Page
from reports.exports import exports_facts, exports_section, read_exports
from reports.label_issues import label_issues, label_issues_section
from reports.learning_curve import learning_curve_facts, learning_curve_section
from reports.predictions import GRID, maps_section, predictions_facts, predictions_section, scored_split
from reports.provenance import network_section, provenance_facts, provenance_section
from reports.summary import summary_box, summary_facts

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

NOT_DOUBTED = "This run recorded no doubted labels."
_STATUS = {
    "running": "The run has not ended, or was killed: the page shows what is recorded so far.",
    "interrupted": "The run was interrupted: the page shows what is recorded so far.",
    "failed": "The run failed: the page shows what is recorded so far.",
}


@dataclass(frozen=True)
class Records:
    """What a run folder holds, however far the run came; what is not there is empty.

    Attributes:
        manifest: manifest.json.
        config: The RunConfig; None where it cannot be read.
        metrics: metrics.json.
        history: Every epoch.
        verdicts: predictions.csv without the probability of every class.
        samples: samples.csv.
    """

    manifest: dict[str, Any]
    config: Any
    metrics: dict[str, Any]
    history: History
    predictions: "pandas.DataFrame"
    samples: "pandas.DataFrame"

    @classmethod
    def read(cls, folder: Path) -> "Records":
        """Reads a run folder.

        Raises:
            StorageError: If it is no run folder, or a record in it is damaged.
        """
        run = Run.open(folder)

        def there(name: str) -> bool:
            return (folder / name).exists()

        try:
            config = run.config
        except UserError:  # killed before config.toml was written, or edited since
            config = None
        return cls(
            run.manifest,
            config,
            run.metrics if there("metrics.json") else {},
            run.history if there("history.csv") else History(),
            run.predicted if there("predictions.csv") else make_table({name: [] for name in PREDICTION_COLUMNS}),
            run.samples if there("samples.csv") else make_table({name: [] for name in SAMPLE_COLUMNS}),
        )


def run_page(folder: Path, grid: int = GRID) -> Page:
    """The page of a run folder, whatever it holds.

    Args:
        folder: A run folder.
        grid: Images in each grid of predictions.

    Raises:
        StorageError: If it is no run folder, or a record in it is damaged.
    """
    records, insights = Records.read(folder), Insights(Run(folder).insights)
    manifest, metrics, predictions = records.manifest, records.metrics, records.predictions
    summary, album = insights.summary, insights.album("thumbnails")
    missing = {"doubted": "" if (insights.folder / "doubted.csv").exists() else NOT_DOUBTED, **summary["missing"]}
    classes, (split, scored) = manifest.get("classes", []), scored_split(predictions)
    used = records.samples[records.samples["finding"].isna() & records.samples["split"].notna()]
    findings = insights.findings if (insights.folder / "findings.json").exists() else None

    curves = curves_facts(records.history, records.config.training.monitor if records.config else "val_accuracy")
    said = predictions_facts(predictions, summary["sample"], grid)
    confusion = confusion_facts(split, metrics[split], classes) if split in metrics else None
    learning = learning_curve_facts(insights.learning_curve, metrics.get("validation", {}).get("n", 0))
    data = dataset_facts(used, len(records.samples) - len(used), insights.images, findings, classes, album)
    provenance = provenance_facts(manifest, folder.resolve().name)
    sections = (
        curves_section(curves),
        predictions_section(said, album),
        maps_section(
            said,
            album,
            insights.album("activation-predicted"),
            insights.album("activation-label"),
            missing.get("activation", ""),
        ),
        confusion_section(confusion, scored, album),
        calibration_section(calibration_facts(predictions)),
        label_issues_section(label_issues(insights.doubted), album, missing["doubted"]),
        learning_curve_section(learning, missing.get("learning_curve", "")),
        *dataset_sections(data, album),
        network_section(provenance),
        exports_section(exports_facts(read_exports(folder))),
        provenance_section(provenance),
    )
    name = text.name((manifest.get("data") or {}).get("name") or folder.resolve().name)
    return Page(
        title=f"{name}: a trained classifier",
        subtitle=_subtitle(manifest, classes, folder),
        summary_box=summary_box(summary_facts(metrics)),
        sections=sections,
        notes=_notes(manifest),
    )


def _subtitle(manifest: dict[str, Any], classes: list[str], folder: Path) -> str:
    images = (manifest.get("data") or {}).get("photos") or {}
    counted = ", ".join(f"{count:,} {split}" for split, count in images.items())
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
