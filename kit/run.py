"""A run's folder, read without keras, and predictions of its model; kit.run_writer writes it.

    config.toml      the resolved configuration
    manifest.json    schema version, status, versions, seconds and peak memory per stage
    corrections.csv  labels that were corrected (kit.data.corrections), as given; only with `data.corrections`
    plugin.py        parts of one's own (kit.parts), as given; only with `plugin`
    samples.csv      path, label, split, group, finding, sha256, and fold of cross-validation
    history.csv      one line an epoch (kit.training.history)
    predictions.csv  path, split, label, predicted, predicted_phase1, confidence, p_<class>...
    metrics.json     scores per split and per phase (kit.evaluation)
    abstention.json  when the model gives no answer, with strangeness.npz (kit.thresholds)
    folds/           cross-validation: history of each fold (kit.cross_validation)
    insights/  checkpoints/  model.keras  report.html

Importing this module imports no backend; the first prediction starts one.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, overload

import numpy as np

from kit import backends, settings
from kit.config import RunConfig
from kit.csv_tables import PREDICTION_COLUMNS, SAMPLE_COLUMNS, read_table
from kit.data import OUT_OF_FOLD, SPLITS
from kit.data.corrections import FILE as CORRECTIONS
from kit.errors import ConfigError, DataError, StorageError, UserError
from kit.evaluation import apply_temperature
from kit.files import is_address, read_json
from kit.model.strangeness import Strangeness
from kit.parts import FILE as PLUGIN
from kit.thresholds import ARRAYS, Thresholds
from kit.thresholds import FILE as ABSTENTION
from kit.training.history import COLUMNS as HISTORY_COLUMNS
from kit.training.history import History

if TYPE_CHECKING:
    import numpy as np
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run
    from PIL import Image

    from kit.explain import Explainer, Explanation
    from kit.predict import Prediction, Predictor

    OneImage = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

SCHEMA_VERSION = 2  # from 2 on the temperature lies in the saved model, and in what the run recorded of it
Name = str | os.PathLike[str]
DEFAULT_RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """One run's folder, to be read; `kit.run_writer` writes one."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}): {self._headline()}"

    def _headline(self) -> str:
        """State, and the accuracy with its 95% interval, in few words; never an error."""
        try:
            status, metrics = self.manifest["status"], self.metrics if (self.path / "metrics.json").exists() else {}
            for split in (OUT_OF_FOLD, "test", "validation"):
                if metrics.get(split, {}).get("n"):
                    scores, (low, high) = metrics[split], metrics[split]["accuracy_interval"]
                    measured = f"{split} accuracy {scores['accuracy']:.3f} [{low:.3f}, {high:.3f}], n = {scores['n']:,}"
                    return f"{status}, {measured}"
            return str(status)
        except (UserError, KeyError, TypeError, ValueError) as error:
            return f"its record cannot be read ({type(error).__name__})"

    # === Open ===

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run, finished or not; StorageError if it is not a run folder, or a newer transferkit wrote it."""
        run, hint = cls(Path(path)), "Give the folder that `transferkit train` printed at its end."
        if not (run.path / "manifest.json").is_file():
            if is_address(path):
                raise StorageError(f"A run is a folder on this machine, not the address {path}.", "Download it first.")
            missing = "is not a run folder: it has no manifest.json" if run.path.is_dir() else "is not a folder"
            raise StorageError(f"{path} {missing}.", hint)
        manifest = run.manifest
        if manifest.get("kind") != "run":
            raise StorageError(f"{path} is the record of another thing ({manifest.get('kind')!r}), not of a run.", hint)
        if manifest["schema_version"] > SCHEMA_VERSION:
            raise StorageError(
                f"{path} has schema version {manifest['schema_version']}; this kit reads up to {SCHEMA_VERSION}.",
                "Install a newer transferkit.",
            )
        return run

    def require_finished(self) -> None:
        """Raise StorageError if the run has no model yet."""
        if self.manifest["status"] != "finished" or not self.model_path.exists():
            hint = f"Finish it with `transferkit train --resume {self.path}`."
            raise StorageError(f"{self.path} is not finished: it has no model yet.", hint)

    # === Record ===

    @property
    def insights(self) -> Path:
        """Folder of what report pages cannot compute from the other records."""
        return self.path / "insights"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model_path(self) -> Path:
        """Trained model: uint8 (batch, S, S, 3), 0-255 -> probabilities (batch, classes)."""
        return self.path / "model.keras"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def config(self) -> RunConfig:
        """Settings of the run, its own copy of the corrections among them; ConfigError if their file is damaged."""
        return own_corrections(settings.recorded_config(self.path), self.path)

    @property
    def manifest(self) -> dict[str, Any]:
        """Manifest; `schema_version`, `kind`, `status` and `created` are always there."""
        path = self.path / "manifest.json"
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("schema_version"), int):
            raise StorageError(f"{path} is not a manifest: it has no schema_version.")
        return content

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the model's probabilities."""
        return tuple(self.manifest["classes"])

    @property
    def samples(self) -> "pandas.DataFrame":
        """Every image: path, label, split, group, finding, sha256 (not in older runs); text or None."""
        return read_table(self.path / "samples.csv", SAMPLE_COLUMNS)

    @property
    def split_by_hash(self) -> dict[str, str]:
        """SHA-256 of each image's bytes -> its split; of several copies the one trained on counts.

        A run of an older transferkit recorded no hashes; there the names of groups stand in, which are those of images
        without near copies.
        """
        samples = self.samples
        hashes = samples["sha256" if "sha256" in samples else "group"]
        rows = zip(hashes.tolist(), samples["split"].tolist(), samples["finding"].tolist(), strict=True)
        used = {(key, split) for key, split, finding in rows if key and not finding}
        return {key: split for split in reversed(SPLITS) for key, found in used if found == split}

    @property
    def history(self) -> History:
        path = self.path / "history.csv"
        history = History.from_frame(read_table(path, HISTORY_COLUMNS))
        if history.records and history.records[0].epoch != 1:
            raise StorageError(f"{path} starts at epoch {history.records[0].epoch}, not 1.")
        return history

    @property
    def predicted(self) -> "pandas.DataFrame":
        """`predictions` without p_<class>, which take most of the memory where there are many classes."""
        if self.unapplied_temperature != 1:  # confidence alone cannot be scaled
            return self.predictions[list(PREDICTION_COLUMNS)]
        return read_table(self.path / "predictions.csv", PREDICTION_COLUMNS, only=True)

    @property
    def predictions(self) -> "pandas.DataFrame":
        """Predictions of every scored image; `confidence` and p_<class> are float32, 0 to 1."""
        table, temperature = read_table(self.path / "predictions.csv", PREDICTION_COLUMNS), self.unapplied_temperature
        if temperature != 1:
            columns = [name for name in table.columns if name.startswith("p_")]
            scaled = apply_temperature(table[columns].to_numpy(), temperature).astype(np.float32)
            table[columns], table["confidence"] = scaled, scaled.max(axis=1)
        return table

    @property
    def metrics(self) -> dict[str, Any]:
        """Scores: split -> kit.evaluation.Scores as a dict, "phases": the same per phase, and "temperature"."""
        recorded = read_json(self.path / "metrics.json")
        for split in SPLITS if self.manifest["schema_version"] < 2 else ():
            scores = recorded[split]
            for name in ("log_loss", "calibration_error"):
                scores[f"{name}_unscaled"], scores[name] = scores[name], scores.pop(f"{name}_scaled")
        return recorded

    @property
    def abstention(self) -> Thresholds | None:
        """When the model gives no answer; None: it always answers, as that of an older run."""
        path = self.path / ABSTENTION
        return Thresholds.read(path) if path.exists() else None

    @property
    def strangeness(self) -> Strangeness | None:
        """How the strangeness of an image is computed; None where the run has none."""
        path = self.path / ARRAYS
        return Strangeness.load(path) if path.exists() else None

    @property
    def unapplied_temperature(self) -> float:
        """Temperature by which the logits of model.keras have yet to be divided: 1, but for runs of schema version 1.

        What this class reads and predicts is scaled, whatever the version.
        """
        return 1.0 if self.manifest["schema_version"] >= 2 else self.metrics["temperature"]

    # === Predict ===

    @cached_property
    def predictor(self) -> "Predictor":
        """Model, loaded at the first use; StorageError if the run is not finished, BackendError without a backend."""
        return self._load_predictor(tta=False)

    @cached_property
    def _mirroring_predictor(self) -> "Predictor":
        return self._load_predictor(tta=True)

    @backends.restored()
    def _load_predictor(self, *, tta: bool) -> "Predictor":
        from kit.predict import Predictor

        self.require_finished()  # before a backend starts, which takes seconds
        backends.start(threads=self.config.threads)
        return Predictor.of(self, tta=tta)

    @overload
    def predict(self, images: "OneImage", *, tta: bool = False) -> "Prediction": ...  # type: ignore[overload-overlap]  # a str is iterable

    @overload
    def predict(self, images: "Iterable[OneImage]", *, tta: bool = False) -> "list[Prediction]": ...

    @backends.restored()
    def predict(self, images: "OneImage | Iterable[OneImage]", *, tta: bool = False) -> "Prediction | list[Prediction]":
        """Classify one image, or a list of images, folders (searched recursively) and globs.

        Args:
            images: A file; bytes of a file, or an open one; pixels, uint8 (height, width, 3), 0-255, grey (height,
                width), or with transparency (height, width, 4); an image of Pillow; or a list of these, or an array (n,
                height, width, 3). Or a table of pandas with a column of paths, or that column: one prediction a row.
                Pixels are taken as they are; a JPEG file may be decoded at a fraction of its size.
            tta: Average the probabilities of each image and its mirror image (test-time augmentation).

        Returns:
            For a list one Prediction for each image found, in order; that of an unreadable file has a `problem`. Its
            `label` is always a class, its `answer()` may be "unsure" or "unlike" (anything that was trained on).

        Raises:
            ConfigError: If `tta` is asked of a run that was trained without mirrored views.
            DataError: If a name leads nowhere, the one image given cannot be read, or something is no image.
            StorageError: If the run is not finished.
        """
        from kit.predict import gather

        files, alone = gather(images)
        predictor = self._mirroring_predictor if tta else self.predictor
        if not alone:
            return list(predictor.predict(files))
        _require_file(files[0], "predict")
        (one,) = predictor.predict(files)
        _require_read(one)
        return one

    @cached_property
    @backends.restored()
    def _explainer(self) -> "Explainer":
        from kit.explain import Explainer

        self.require_finished()
        backends.start(threads=self.config.threads)
        return Explainer.of(self)

    @overload
    def explain(self, images: "OneImage", label: str | None = None) -> "Explanation": ...  # type: ignore[overload-overlap]

    @overload
    def explain(self, images: "Iterable[OneImage]", label: str | None = None) -> "list[Explanation]": ...

    @backends.restored()
    def explain(
        self, images: "OneImage | Iterable[OneImage]", label: str | None = None
    ) -> "Explanation | list[Explanation]":
        """Evidence for a class in one image, or in each of a list: a class activation map, as heat over the image.

            run.explain("photo.jpg").picture.save("evidence.png")

        Args:
            images: As `predict` takes them.
            label: Class to explain; None is the one predicted, of each image.

        Returns:
            For a list one Explanation for each image found, in order; one of an unreadable file has no `picture`, and
            its `prediction` has a `problem`. A notebook shows the picture.

        Raises:
            ConfigError: If the model has no class `label`.
            DataError: If a name leads nowhere, the one image given cannot be read, or something is no image.
            StorageError: If the run is not finished.
        """
        from kit.predict import gather

        files, alone = gather(images)
        if not alone:
            return list(self._explainer.explain(files, label))
        _require_file(files[0], "explain")
        (one,) = self._explainer.explain(files, label)
        _require_read(one.prediction)
        return one


def _require_file(file: Path | bytes, method: str) -> None:
    """Raise DataError if the one image given is a folder, or is not there."""
    if isinstance(file, Path) and not file.is_file():
        what = "is a folder" if file.is_dir() else "is not a file"
        raise DataError(f"{file} {what}.", f"Folders and globs go in a list: {method}([{str(file)!r}]).")


def _require_read(one: "Prediction") -> None:
    if one.problem:
        raise DataError(f"{one.path} cannot be read: {one.problem}.", "Give a readable image.")


def own_corrections(config: RunConfig, folder: Path) -> RunConfig:
    """Configuration whose corrections and plugin are the copies in a run's folder: the files themselves may change."""
    if config.plugin:
        config = replace(config, plugin=os.path.abspath(folder / PLUGIN))
    if not config.data.corrections:
        return config
    return replace(config, data=replace(config.data, corrections=os.path.abspath(folder / CORRECTIONS)))


def path_of(value: Any, asked: str, hint: str = "") -> Path:
    """Path of a name; ConfigError for arrays, images, bytes, tables and all else that is none, empty names included."""
    if isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str) and os.fspath(value):
        return Path(value)
    shown = "an empty text" if isinstance(value, str) else f"{type(value).__module__}.{type(value).__qualname__}"
    raise ConfigError(f"{asked} must be a path, not {shown.removeprefix('builtins.')}.", hint)


def default_run_path(name: str, root: Path = DEFAULT_RUNS) -> Path:
    """`runs/<name>-<YYYYmmdd-HHMMSS>` in local time, made safe for file systems, with -2, -3, ... if it exists."""
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name).strip(".-")[:80] or "run"
    base = f"{safe}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = root / base, 1
    while path.exists():
        number += 1
        path = root / f"{base}-{number}"
    return path
