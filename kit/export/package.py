"""export_run: a finished run -> a folder that holds its model in another format, its labels and its card.

    model.onnx, ...      the model: uint8 (batch, S, S, 3), 0-255, to probabilities
    labels.json          class names, in the model's order; labels.txt: one a line
    preprocessing.json   how an image becomes what the model takes
    export.json          how it was compared with the original, size, latency, versions
    README.md            the model card, with an example

The folder appears whole, after the gate, or not at all. Importing this module imports no backend, and neither does
`export_run`: other processes compute.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kit import progress
from kit.backends.choice import BACKENDS, explain_choice, installed_backends
from kit.errors import ExportError, StorageError
from kit.export.formats import Format, find_format, require_installed
from kit.export.model_card import render_card
from kit.export.parity import TOLERANCE, Verdict, compare, gate_images
from kit.export.runtimes import ORIGINAL
from kit.export.worker import ask
from kit.files import read_json, storage_errors, write_json, write_text
from kit.fingerprint import sha256_file
from kit.machine import package_version
from kit.run import Run

SCHEMA_VERSION = 1
RECORD = "export.json"
_PACKAGES = (
    "transferkit",
    "keras",
    *BACKENDS,
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "keras-hub",
)


@dataclass(frozen=True)
class Export:
    """A model that was handed over.

    Attributes:
        path: Its folder.
        record: export.json.
    """

    path: Path
    record: dict[str, Any]


def export_run(
    run: Run | Path | str, format_name: str, out: Path | str | None = None, *, tolerance: float = TOLERANCE
) -> Export:
    """Writes a finished run's model in another format, and hands it over if it answers as the original does.

    Args:
        run: A finished run, or its folder.
        format_name: `keras`, `saved_model`, `onnx`, `litert` or `keras-hub`.
        out: The folder to be; default `exports/<format>` in the run folder. An earlier export there is replaced.
        tolerance: How far a probability may be off from the original's.

    Raises:
        ConfigError: If there is no such format.
        ExportError: If what it needs is not installed, the model cannot be written so, or it is off by more than the
            tolerance; nothing is left behind then, and what was there before is untouched.
        DataError: If the images to compare on are gone.
        StorageError: If the run is not finished, or the folder holds something else or cannot be written.
    """
    run = run if isinstance(run, Run) else Run.open(Path(run))
    run.require_finished()
    chosen = find_format(format_name)
    require_installed(chosen)
    path = Path(out) if out else run.path / "exports" / chosen.name
    with replaced_folder(path) as folder, _temporary_folder() as work:
        record = _fill(run, chosen, folder, work, tolerance)
    return Export(path, record)


def _fill(run: Run, chosen: Format, folder: Path, work: Path, tolerance: float) -> dict[str, Any]:
    """Writes the model, compares it, and adds what lies beside it, the record last; returns the record."""
    images = gate_images(run)
    write_json(work / "photos.json", [os.fspath(file.absolute()) for file in images.files])
    own = run.config.backend if run.config.backend in installed_backends() else explain_choice().name
    progress.say(f"Writing {chosen.name}")
    written = ask("write", chosen.name, run, folder, work, chosen.writer or own)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    progress.say(f"Comparing it with the original on {len(images.files):,} {images.split} images")
    original = ask("run", ORIGINAL, run, folder, work, own)
    exported = ask("run", chosen.name, run, folder, work, chosen.writer or own)
    verdict = compare(images, _probabilities(work, ORIGINAL), _probabilities(work, chosen.name), tolerance)
    if not verdict.passed:
        raise ExportError(_how_far_off(chosen, verdict), "Nothing was handed over. Take another format.")
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": "export",
        "format": chosen.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.path.absolute().name,
        "model": chosen.model,
        "bytes": size,
        "runtime": exported["runtime"],
        "gate": verdict.to_dict(),
        "latency_ms": exported["latency_ms"],
        "original": {"runtime": original["runtime"], "bytes": run.model_path.stat().st_size},
        "versions": {name: found for name in _PACKAGES if (found := package_version(name))},
    }
    _write_papers(run, chosen, folder, written["preprocessing"], record)
    record["files"] = _files(folder)
    write_json(folder / RECORD, record)
    return record


def _write_papers(run: Run, chosen: Format, folder: Path, steps: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """What lies beside the model: labels, preprocessing facts, the card."""
    classes = run.manifest["classes"]
    write_json(folder / "labels.json", classes)
    write_text(folder / "labels.txt", "".join(f"{' '.join(name.split())}\n" for name in classes))
    write_json(folder / "preprocessing.json", preprocessing_facts(run, steps))
    write_text(folder / "README.md", render_card(run, chosen, record))


def preprocessing_facts(run: Run, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """What a program in any language needs to feed the model as training did.

    Args:
        run: A finished run.
        steps: What the model then does to pixels by itself, in order: class and numbers of each layer.
    """
    data, classes = run.config.data, len(run.manifest["classes"])
    side = data.image_size
    return {
        "schema_version": SCHEMA_VERSION,
        "input": {"shape": [None, side, side, 3], "dtype": "uint8", "range": [0, 255], "channels": "RGB"},
        "resize": {"mode": data.resize, "filter": "bilinear, antialiased", "background": list(data.background)},
        "orientation": "as EXIF says",
        "transparency": "shown on the background",
        "in_the_model": steps,
        "output": {"shape": [None, classes], "dtype": "float32", "meaning": "probability of each class"},
        "temperature": run.metrics["temperature"],
    }


def _probabilities(work: Path, name: str) -> np.ndarray:
    return np.load(work / f"{name}.npy", allow_pickle=False)


def _how_far_off(chosen: Format, verdict: Verdict) -> str:
    if verdict.greatest_difference is None:
        off = "some of its probabilities are not numbers, or it gives another number of them"
    else:
        off = f"a probability is off by {verdict.greatest_difference:.1e}, where {verdict.tolerance:.0e} is allowed"
    same = f"{verdict.agreement:.1%} of {verdict.images:,} {verdict.split} images get the same class"
    return f"The {chosen.name} model does not answer as the original does: {off}; {same}."


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative path -> size and SHA-256 of every file that is there."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
        for file in files
    }


# === Folders ===


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside `path`, and puts it in its place if the body succeeds.

    Raises:
        StorageError: If something is there that no earlier export wrote.
    """
    target = Path(path).resolve()
    _require_replaceable(target)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent))
        try:
            new, old = made / "new", made / "old"
            new.mkdir()
            yield new
            _require_replaceable(target)
            if hasattr(os, "sync"):  # one call instead of one fsync for each file
                os.sync()
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _require_replaceable(target: Path) -> None:
    """Raises StorageError unless there is nothing, an empty folder, or an export and nothing else."""
    hint = "Give --out a new or empty folder."
    try:
        if not target.exists():
            return
        if not target.is_dir():
            raise StorageError(f"{target} cannot be a folder: a file is in its place.", hint)
        there = {file.relative_to(target).as_posix() for file in target.rglob("*") if not file.is_dir()}
    except OSError as error:  # a name too long, a folder that may not be entered
        raise StorageError(f"{target} cannot be looked at: {error.strerror}.", hint) from None
    if there and not there <= _written_before(target):
        raise StorageError(f"{target} is not empty and holds more than an export.", hint)


def _written_before(target: Path) -> set[str]:
    """Files that an earlier export says it wrote here."""
    if not (target / RECORD).is_file():
        return set()
    record = read_json(target / RECORD)
    if not isinstance(record, dict) or record.get("kind") != "export":
        return set()
    return {RECORD, *record.get("files", {})}


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="transferkit-export-") as folder:
        yield Path(folder)
