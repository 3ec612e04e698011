"""Export package: the folder of a finished run's model in another format, its labels and its model card.

    model.onnx, ...      the model: uint8 (batch, S, S, 3), 0-255, to probabilities, and a strangeness where the run has
                         a threshold of it; model.html is a page that runs it
    labels.json          class names, in the model's order; labels.txt: one a line
    preprocessing.json   how an image becomes the model's input
    preprocessing.py     the same in Python: a copy of kit/data/decoding.py, which reads that
    export.json          comparison with the original, size, latency, versions
    README.md            the model card, with an example

The folder appears atomically, after the parity check. No backend is imported here: `kit.export.worker` computes in
processes of its own.
"""

import inspect
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kit import progress
from kit.backends.choice import BACKENDS, explain_choice, installed_backends
from kit.data import decoding
from kit.errors import ConfigError, ExportError, StorageError
from kit.export.formats import (
    ALLOWED_LOSS,
    FLOAT32,
    INT8,
    OUTPUTS,
    STRANGENESS_TOLERANCE,
    Format,
    find_format,
    no_strangeness,
    require_installed,
)
from kit.export.model_card import licence, render_card
from kit.export.npm import require_packages
from kit.export.parity import ORIGINAL, ParityImages, compare, compare_files, images_of, parity_images
from kit.export.precision import calibration_files, require_precision
from kit.export.web_page import PACKAGES, write_page
from kit.export.worker import ask
from kit.files import read_json, sha256_file, storage_errors, write_json, write_text
from kit.machine import package_version
from kit.run import Run
from kit.thresholds import Thresholds, choose_thresholds

RECORD = "export.json"
SCHEMA_VERSION = 1
WEB = "web"  # the format that is a page
_PACKAGES = (
    "transferkit",
    "keras",
    *BACKENDS,
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "openvino",
    "nncf",
    "keras-hub",
    "playwright",
)


@dataclass(frozen=True)
class Export:
    """Export package on disk; `record` is the content of its export.json."""

    path: Path
    record: dict[str, Any]


def export_run(
    run: Run | Path | str,
    format_name: str,
    out: Path | str | None = None,
    *,
    moved: Path | str | None = None,
    tolerance: float | None = None,
    precision: str = FLOAT32,
    allowed_loss: float = ALLOWED_LOSS,
    threshold: float | None = None,
    always_answer: bool = False,
    runtime: Path | str | None = None,
) -> Export:
    """Export a finished run's model to another format, after a parity check.

    Args:
        run: A finished run, or its folder.
        format_name: `keras`, `saved_model`, `onnx`, `litert`, `openvino`, `keras-hub` or `web`.
        out: Default `exports/<format>`, or `exports/<format>-<precision>`, in the run folder. An earlier export there
            is replaced.
        moved: Where the run's images lie now, if not where they were.
        tolerance: Greatest difference of a probability from the original's; None takes the format's own.
        precision: Of the numbers inside the model: `float32`, or `float16` or `int8` of the formats that have them. The
            ranges of int8 come from training images.
        allowed_loss: Of accuracy, 0 to 1, of smaller numbers than float32, in place of `tolerance`.
        threshold: Confidence, 0 to 1, below which the card's example, and the page of the format `web` until its slider
            is moved, say "unsure"; for other programs it is in preprocessing.json. None is the run's own, if it has
            one. Smaller numbers have thresholds of their own, chosen for the same on what they answer to the validation
            images.
        always_answer: Leave out the run's thresholds, and the model's output `strangeness`, which `keras`,
            `saved_model`, `onnx`, `litert`, `openvino` and `web` have where the run has a threshold of it.
        runtime: Folder that holds the page's runtime, installed by npm or as tarballs; None fetches it.

    Raises:
        ConfigError: If there is no such format, it takes no such precision or no runtime, or a share is not 0 to 1.
        ExportError: If what the format needs is not installed, the model cannot be written in it, or it differs by more
            than the tolerance, or loses more accuracy than allowed. Nothing is left behind then, and an earlier export
            is untouched.
        DataError: If the images to compare on are gone.
        StorageError: If the run is not finished, or the folder holds something else or cannot be written.
    """
    run = run if isinstance(run, Run) else Run.open(Path(run))
    run.require_finished()
    chosen = find_format(format_name)
    require_precision(chosen, precision)
    require_installed(chosen)
    folds = "folds" in run.metrics
    abstention = None if always_answer else _Abstention.of(run.abstention, chosen, precision, folds)
    for name, share in (("threshold", threshold or 0.0), ("allowed_loss", allowed_loss)):
        if not 0 <= share <= 1:
            raise ConfigError(f"{name} must be 0 to 1, not {share:g}.")
    if chosen.name == WEB:
        require_packages(PACKAGES, runtime)  # before what takes minutes
    elif runtime is not None:
        raise ConfigError(f"--runtime is for the format {WEB}, not {chosen.name}.", "Leave it out.")
    name = chosen.name if precision == FLOAT32 else f"{chosen.name}-{precision}"
    path = Path(out) if out else run.path / "exports" / name
    place = None if moved is None else str(moved)
    images = parity_images(run, place)
    calibration = calibration_files(run, place) if precision == INT8 else ()
    anew = precision != FLOAT32 and not folds and abstention is not None and abstention.chooses
    asked = _Asked(
        chosen, precision, calibration, tolerance or chosen.tolerance,
        None if precision == FLOAT32 else allowed_loss, threshold, abstention,
        images_of(run, "validation", place) if anew else None, runtime,
    )  # fmt: skip
    with replaced_folder(path) as folder, tempfile.TemporaryDirectory(prefix="transferkit-export-") as work:
        record = _fill(run, asked, images, folder, Path(work))
    return Export(path, record)


@dataclass(frozen=True)
class _Asked:
    """What an export is to be; as the arguments of `export_run`.

    `choosing`: images that its thresholds are chosen on anew; None: they are the run's.
    """

    format: Format
    precision: str
    calibration: tuple[Path, ...]
    tolerance: float
    allowed_loss: float | None
    threshold: float | None
    abstention: "_Abstention | None"
    choosing: ParityImages | None
    runtime: Path | str | None

    def threshold_with(self, abstention: "_Abstention | None") -> float:
        """Confidence below which the export is unsure."""
        own = None if abstention is None else abstention.limits.confidence
        return (own or 0.0) if self.threshold is None else self.threshold


@dataclass(frozen=True)
class _Abstention:
    """Thresholds of the run, or of the export itself.

    `left_out`: why the model has no strangeness though the run has; empty where it has one.
    """

    limits: Thresholds
    left_out: str
    of_export: bool = False

    @classmethod
    def of(cls, limits: Thresholds | None, chosen: Format, precision: str, folds: bool) -> "_Abstention | None":
        if limits is None or (limits.confidence is None and limits.strangeness is None):
            return None
        return cls(limits, "" if limits.strangeness is None else no_strangeness(chosen, precision, folds))

    def chosen_on(self, images: ParityImages, probabilities: np.ndarray, *strangeness: np.ndarray) -> "_Abstention":
        """The same for what an export answers to images that no weight was fitted to.

        A confidence that cannot promise on them what is wanted stays the run's, which a note says.
        """
        run, wanted = self.limits, self.limits.wanted
        if not strangeness:  # left out: what is recorded of it is the run's
            wanted = replace(wanted, known=0.0)
        measured = strangeness[0] if strangeness else None
        chosen = choose_thresholds(probabilities, images.labels, images.groups, measured, wanted, images.split)
        if chosen.confidence is None and run.confidence is not None:
            chosen = replace(chosen, confidence=run.confidence, accuracy_interval=None)
        if not strangeness:
            chosen = replace(chosen, strangeness=run.strangeness, known=run.known, unlike=run.unlike)
        return replace(self, limits=chosen, of_export=True)

    @property
    def chooses(self) -> bool:
        """Whether the model has a threshold at all."""
        return self.strange or self.limits.confidence is not None

    @property
    def strange(self) -> bool:
        """Whether the model has a strangeness."""
        return self.limits.strangeness is not None and not self.left_out

    def record(self) -> dict[str, Any]:
        """Entries of export.json and of preprocessing.json."""
        told = {name: value for name, value in self.limits.to_dict().items() if name not in ("schema_version", "kind")}
        told |= {"of": "this export" if self.of_export else "the run"}
        outputs = {"outputs": list(OUTPUTS)} if self.strange else {}
        return {**outputs, "abstention": told | ({"left_out": self.left_out} if self.left_out else {})}


def _fill(run: Run, asked: _Asked, images: ParityImages, folder: Path, work: Path) -> dict[str, Any]:
    """Write the model, check parity, add labels, card and, last, the record, which is returned."""
    chosen = asked.format
    write_json(work / "images.json", absolute(images.files))
    strange = asked.abstention is not None and asked.abstention.strange
    calibration = absolute(asked.calibration)
    choosing = absolute(asked.choosing.files) if asked.choosing else []
    write_json(
        work / "written.json",
        {"precision": asked.precision, "calibration": calibration, "strangeness": strange, "choosing": choosing},
    )
    own, writer = own_backend(run), writing_backend(run, chosen)
    progress.say(f"Writing {chosen.name}{'' if asked.precision == FLOAT32 else f' of {asked.precision}'}")
    written = ask("write", [chosen.name], run, folder, work, writer)[chosen.name]
    if chosen.name == WEB:
        beyond = asked.abstention.limits.strangeness if asked.abstention and strange else None
        write_page(run, folder, licence(run), asked.threshold_with(asked.abstention), asked.runtime, beyond)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    progress.say(f"Comparing it with the original on {len(images.files):,} {images.split} images")
    # The exported model first: the original's start of the backend is not part of its latency.
    together = [[chosen.name, ORIGINAL]] if writer == own else [[chosen.name], [ORIGINAL]]
    answers: dict[str, Any] = {}
    for names in together:
        answers |= ask("run", names, run, folder, work, own if ORIGINAL in names else writer)
    exported, original = answers[chosen.name], answers[ORIGINAL]
    (old, *known), answered = (_outputs(work, name, strange) for name in (ORIGINAL, chosen.name))
    new, *told = (part[: len(images.files)] for part in answered)
    parity = compare(
        images, old, new, asked.tolerance, asked.allowed_loss, (known[0], told[0]) if strange else None,
        STRANGENESS_TOLERANCE[asked.precision],
    )  # fmt: skip
    if not parity.passed:
        what = f"The {chosen.name} model does not answer as the original does: {parity.describe()}."
        other = "format" if asked.allowed_loss is None else "precision"
        if not parity.as_strange:
            other += ", or leave thresholds and strangeness out (--always-answer; --threshold sets a confidence)"
        elif asked.allowed_loss is not None:
            other += ", or allow more (--tolerance-accuracy)"
        raise ExportError(what, f"Nothing was handed over. Take another {other}.")
    abstention = asked.abstention
    if abstention is not None and asked.choosing is not None:
        abstention = abstention.chosen_on(asked.choosing, *(part[len(images.files) :] for part in answered))
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": "export",
        "format": chosen.name,
        "precision": asked.precision,
        **({"calibration_images": len(asked.calibration)} if asked.calibration else {}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.path.absolute().name,
        "model": chosen.model,
        "bytes": size,
        "runtime": exported["runtime"],
        "threshold": asked.threshold_with(abstention),
        **(abstention.record() if abstention else {}),
        "gate": parity.to_dict(),
        **_from_files(work, chosen, old),
        "latency_ms": exported["latency_ms"],
        "original": {"runtime": original["runtime"], "bytes": run.model_path.stat().st_size},
        "versions": {name: found for name in _PACKAGES if (found := package_version(name))},
    }
    _write_papers(run, chosen, folder, written["preprocessing"], record)
    record["files"] = _files(folder)
    write_json(folder / RECORD, record)
    return record


def own_backend(run: Run) -> str:
    """Backend of the processes that run a run's own model: its own, or one that is installed."""
    return run.config.backend if run.config.backend in installed_backends() else explain_choice().name


def writing_backend(run: Run, chosen: Format) -> str:
    """Backend of the processes that write and run the model in a format: the one that can, or the run's own."""
    return chosen.writer or own_backend(run)


def absolute(files: Iterable[Path]) -> list[str]:
    """Paths that hold in a process that works elsewhere."""
    return [os.fspath(file.absolute()) for file in files]


def _write_papers(run: Run, chosen: Format, folder: Path, steps: list[dict[str, Any]], record: dict[str, Any]) -> None:
    classes = run.manifest["classes"]
    write_json(folder / "labels.json", classes)
    write_text(folder / "labels.txt", "".join(f"{' '.join(name.split())}\n" for name in classes))
    write_json(folder / "preprocessing.json", preprocessing_facts(run, steps, record))
    write_text(folder / "preprocessing.py", inspect.getsource(decoding))
    write_text(folder / "README.md", render_card(run, chosen, record))


def preprocessing_facts(run: Run, steps: list[dict[str, Any]], record: dict[str, Any]) -> dict[str, Any]:
    """Content of preprocessing.json: how a program in any language makes the model's input and reads its output.

    `steps`: the preprocessing layers inside the model, in order: class and numbers of each. Of the export's `record`
    the thresholds count: beyond them there is no answer.
    """
    data, classes = run.config.data, len(run.manifest["classes"])
    side = data.image_size
    abstention: dict[str, Any] = {name: record[name] for name in ("outputs", "abstention") if name in record}
    if "outputs" in record:
        meaning = (
            "how unlike those of training the image is: 1 is usual, beyond strangeness_threshold it is unlike them"
        )
        abstention["strangeness"] = {"shape": [None, 1], "dtype": "float32", "meaning": meaning}
        abstention["strangeness_threshold"] = record["abstention"]["strangeness"]
    return {
        "schema_version": SCHEMA_VERSION,
        "input": {"shape": [None, side, side, 3], "dtype": "uint8", "range": [0, 255], "channels": "RGB"},
        "resize": {"mode": data.resize, "filter": "bilinear, antialiased", "background": list(data.background)},
        "orientation": "as EXIF says",
        "transparency": "shown on the background",
        "colour_profiles": "converted to sRGB, perceptual" if data.colour_profiles else "ignored",
        "grey_range": list(data.grey_range),
        "grey": "of 16 and 32 bits: grey_range becomes 0 to 255, clipped beyond; where that is empty, 0 to 65535 of 16 "
        "bits, else the smallest of 0 to 1 (floating point), 0 to 255, 0 to 65535 that holds the image's values",
        "jpeg": f"may be decoded at 1/2, 1/4 or 1/8 of its size while its shorter side keeps {2 * side} pixels",
        "in_the_model": steps,
        "output": {"shape": [None, classes], "dtype": "float32", "meaning": "probability of each class"},
        "threshold": record["threshold"],
        **abstention,
        "temperature": 1.0,  # left for the reader of the output to apply: that of the run lies in the model
    }


def _outputs(work: Path, name: str, strange: bool) -> tuple[np.ndarray, ...]:
    """Probabilities (n, classes) of a model, then its strangeness (n,) if it has one."""
    found = np.load(work / f"{name}.npy", allow_pickle=False)
    return (found[:, :-1], found[:, -1]) if strange else (found,)


def _from_files(work: Path, chosen: Format, original: np.ndarray) -> dict[str, Any]:
    """What the runtime made of the image files, where it decodes them by itself, beside the original's answers."""
    found = work / f"{chosen.name}-files.npz"
    if not found.exists():
        return {}
    with np.load(found, allow_pickle=False) as arrays:
        told = compare_files(original, arrays["probabilities"], arrays["pixels_off"])
    return {"from_files": told}


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative path -> size and SHA-256 of every file."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
        for file in files
    }


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, moved there if the body succeeds; StorageError if a non-export is there."""
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
    """Raise StorageError unless there is nothing, an empty folder, or only an export."""
    hint = "Give --out a new or empty folder."
    try:
        if not target.exists():
            return
        if not target.is_dir():
            raise StorageError(f"{target} cannot be a folder: a file is in its place.", hint)
        there = {file.relative_to(target).as_posix() for file in target.rglob("*") if not file.is_dir()}
    except OSError as error:  # name too long, folder not accessible
        raise StorageError(f"{target} cannot be looked at: {error.strerror}.", hint) from None
    if there and not there <= _written_before(target):
        raise StorageError(f"{target} is not empty and holds more than an export.", hint)


def _written_before(target: Path) -> set[str]:
    """Files that an earlier export lists as its own."""
    if not (target / RECORD).is_file():
        return set()
    record = read_json(target / RECORD)
    if not isinstance(record, dict) or record.get("kind") != "export":
        return set()
    return {RECORD, *record.get("files", {})}
