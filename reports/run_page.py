"""The page of a run: which sections, in which order. What the record lacks becomes a sentence, never an error."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import UserError
from kit.insights.records import Insights
from kit.records import PREDICTION_COLUMNS, SAMPLE_COLUMNS, RunFolder, make_table
from kit.training.history import History
from reports import text
from reports.blocks import Note, Page
from reports.calibration import calibration_facts, calibration_section
from reports.confusion import ConfusionFacts, Pair, confusion_facts, confusion_section
from reports.curves import curves_facts, curves_section
from reports.dataset import dataset_facts, dataset_sections
from reports.exports import exports_facts, exports_section, read_exports
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

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

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
    verdicts: "pandas.DataFrame"
    samples: "pandas.DataFrame"

    @classmethod
    def read(cls, folder: Path) -> "Records":
        """Reads a run folder.

        Raises:
            StorageError: If it is no run folder, or a record in it is damaged.
        """
        run = RunFolder.open(folder)

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
            run.verdicts if there("predictions.csv") else make_table({name: [] for name in PREDICTION_COLUMNS}),
            run.samples if there("samples.csv") else make_table({name: [] for name in SAMPLE_COLUMNS}),
        )


def run_page(folder: Path, grid: int = GRID) -> Page:
    """The page of a run folder, whatever it holds.

    Args:
        folder: A run folder.
        grid: Photos in each grid of predictions.

    Raises:
        StorageError: If it is no run folder, or a record in it is damaged.
    """
    records, insights = Records.read(folder), Insights(RunFolder(folder).insights)
    manifest, metrics, verdicts = records.manifest, records.metrics, records.verdicts
    summary, album = insights.summary, insights.album("thumbnails")
    classes, split = manifest.get("classes", []), scored_split(verdicts)
    said = predictions_facts(verdicts, summary["sample"], grid)
    confusion = confusion_facts(split, metrics[split], classes) if split in metrics else None
    pairs = {pair: pair_verdicts(verdicts, split, pair.label, pair.predicted) for pair in _pairs(confusion)}
    validation = metrics.get("validation", {}).get("n", 0)
    missing = dict(summary["missing"])
    if not (insights.folder / "doubted.csv").exists():
        missing.setdefault("doubted", "This run recorded no doubted labels.")
    learning = learning_facts(insights.doubted, insights.learning_curve, validation, missing)
    provenance = provenance_facts(manifest, folder.resolve().name)
    used = records.samples[records.samples["finding"].isna() & records.samples["split"].notna()]
    left_out = len(records.samples) - len(used)
    findings = insights.findings if (insights.folder / "findings.json").exists() else None
    data = dataset_facts(used, left_out, insights.images, findings, classes, album)
    monitor = records.config.training.monitor if records.config else "val_accuracy"
    looked = (insights.album("activation-predicted"), insights.album("activation-label"))
    sections = (
        curves_section(curves_facts(records.history, monitor)),
        predictions_section(said, album),
        maps_section(said, album, *looked, missing.get("activation", "")),
        confusion_section(confusion, pairs, album),
        calibration_section(calibration_facts(verdicts)),
        doubts_section(learning, album),
        learning_section(learning),
        *dataset_sections(data, album),
        network_section(provenance),
        exports_section(exports_facts(read_exports(folder))),
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


def _pairs(confusion: ConfusionFacts | None) -> tuple[Pair, ...]:
    return confusion.pairs if confusion else ()


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
