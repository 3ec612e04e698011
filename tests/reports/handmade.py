"""Records made by hand: runs, studies, inspections and evaluations that no model was trained for."""

import io
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image

from kit.config import RunConfig
from kit.csv_tables import make_table, write_table
from kit.evaluation import score
from kit.files import read_json, write_json, write_text
from kit.insights import Evidence, Insights
from kit.run_writer import RunWriter
from kit.settings import to_toml
from kit.significance import mcnemar
from kit.training.history import EpochRecord, History
from search.records import StudyRecord, TrialRecord, write_spec, write_trials

SPLITS = ("train", "validation", "test")
# What names may hold: markup, plotly's templates, mathematics, right to left, line ends, length, stray bytes, formulas.
HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "%{x} %{customdata[0]}<br><b>bold</b>",
    "$x^2$ \\(y\\) {{ 7 * 7 }}",
    "\u202eevil\u202c שלום عربي",
    "two\nlines\rand\ttab",
    "n" * 255,
    "bytes\udcff\udc80",
    "=1+1",
    "'\"&amp;<>",
)

# exports/onnx/export.json, as `transferkit export` leaves it.
ONNX = {
    "schema_version": 1,
    "kind": "export",
    "format": "onnx",
    "model": "model.onnx",
    "bytes": 9_000_000,
    "runtime": "ONNX Runtime 1.32.0",
    "gate": {
        "split": "test",
        "photos": 430,
        "tolerance": 1e-4,
        "greatest_difference": 2.5e-6,
        "agreement": 1.0,
        "accuracy": 0.93,
        "accuracy_interval": [0.9, 0.95],
        "original_accuracy": 0.93,
    },
    "latency_ms": {"32": 210.0, "1": 6.5},
    "original": {"runtime": "Keras 3.15.1 on jax", "bytes": 10_000_000},
}


def jpeg(colour=(90, 140, 60), side: int = 32) -> bytes:
    """A small picture of one colour."""
    content = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(content, "JPEG")
    return content.getvalue()


def history(epochs: tuple[int, ...] = (3, 2), validation: bool = True) -> History:
    """Epochs of phases `head` and `fine-tune` that get better and better."""
    records: list[EpochRecord] = []
    for phase, count in zip(("head", "fine-tune"), epochs, strict=False):
        for _ in range(count):
            n = len(records) + 1
            extra = (0.9 - 0.05 * n, 0.5 + 0.05 * n) if validation else (None, None)
            records.append(EpochRecord(n, phase, 1.5, 1e-3 / n, 1.0 - 0.1 * n, 0.5 + 0.08 * n, *extra))
    return History(tuple(records))


def make_run(
    folder: Path,
    classes: tuple[str, ...] = ("daisy", "roses", "tulips"),
    per_class: int = 12,
    *,
    status: str = "finished",
    splits: tuple[str, ...] = SPLITS,
    epochs: tuple[int, ...] = (3, 2),
    insights: bool = True,
    backend: str = "jax",
    seed: int = 0,
    probabilities: bool = True,
) -> RunWriter:
    """A run folder as `train` leaves it.

    Args:
        folder: Where; created.
        classes: Names.
        per_class: Images of each.
        status: Of the manifest.
        splits: Images take turns among them.
        epochs: Of the two phases.
        insights: Whether the page's own records are there.
        backend: Named in the manifest.
        seed: Draws what the model says.
        probabilities: Whether predictions.csv has those of all classes, which a page of many does not read.
    """
    config = RunConfig(backend=backend)
    run = RunWriter.create(folder, config)
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(classes)), per_class)
    paths = [f"{classes[label]}/{number:05d}.jpg" for number, label in enumerate(labels)]
    split = np.array([splits[number % len(splits)] for number in range(len(labels))])
    final, first = (_said(random, labels, len(classes), sure) for sure in (1.6, 1.2))
    names = np.array(classes, dtype=object)
    texts = {"path": paths, "split": split.tolist(), "label": names[labels].tolist()}
    run.write_samples(make_table(_samples(texts)))
    run.write_history(history(epochs, validation="validation" in splits))
    said = {"predicted": final, "predicted_phase1": first}
    verdicts = {name: names[table.argmax(axis=1)].tolist() for name, table in said.items()}
    columns = {**texts, **verdicts, "confidence": final.max(axis=1)}
    each = {f"p_{name}": final[:, i] for i, name in enumerate(classes) if probabilities}
    run.write_predictions(make_table(columns | each))
    run.write_metrics(_metrics(classes, labels, split, final, first))
    with run.lock():
        run.update_manifest(**_manifest(classes, split, backend, status))
    if insights:
        _write_insights(run, paths, texts, classes, split, final, labels)
    return run


def _samples(texts: dict) -> dict:
    columns = {"path": texts["path"], "label": texts["label"], "split": texts["split"], "group": texts["path"]}
    return columns | {"finding": [None] * len(texts["path"])}


def _said(random: np.random.Generator, labels: np.ndarray, classes: int, sure: float) -> np.ndarray:
    logits = random.normal(0, 1, (len(labels), classes))
    logits[np.arange(len(labels)), labels] += sure
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def _metrics(classes, labels, split, final, first) -> dict:
    def scores(table, temperature):
        return {
            name: score(table[split == name], labels[split == name], classes, temperature).to_dict() for name in SPLITS
        }

    test = split == "test"
    paired = mcnemar(*(table[test].argmax(axis=1) == labels[test] for table in (first, final)))
    phases = [{"name": name, **scores(table, None)} for name, table in (("head", first), ("fine-tune", final))]
    return {
        **scores(final, 1.2),
        "temperature": 1.2,
        "phases": phases,
        "mcnemar": {"first": "head", "second": "fine-tune", **asdict(paired)},
    }


def _manifest(classes, split, backend, status) -> dict:
    return {
        "status": status,
        "created": "2026-01-02T03:04:05+00:00",
        "data": {
            "name": "flowers",
            "fingerprint": "f" * 64,
            "photos": {name: int((split == name).sum()) for name in SPLITS},
        },
        "classes": list(classes),
        "weights": {"name": "imagenet", "sha256": "a" * 64},
        "seeds": {"run": 0, "split": 0},
        "warnings": [],
        "environment": {"backend": backend, "keras": "3.15.1", "device": "cpu", "threads": 2},
        "stages": {
            "audit": {"seconds": 0.5, "peak_memory_bytes": 2**28},
            "phase 1: head": {"seconds": 7.5, "peak_memory_bytes": 2**29},
        },
        "network": {
            "parameters": 1000,
            "kernels": "own",
            "phases": [
                {"name": "head", "unfreeze_depth": 0, "cut": "pooled", "trained_parameters": 100},
                {"name": "fine-tune", "unfreeze_depth": 5, "cut": "block_13", "trained_parameters": 750},
            ],
        },
    }


def _write_insights(run, paths, texts, classes, split, final, labels) -> None:
    insights = Insights(run.insights)
    scored = next((name for name in ("test", "validation") if (split == name).any()), "train")
    of_split = [path for path, name in zip(paths, split, strict=True) if name == scored]
    wrong = np.flatnonzero((final.argmax(axis=1) != labels) & (split == scored))
    insights.write_summary(of_split[:96], {}, image_map={"method": "t-SNE"})
    shown = dict.fromkeys([*of_split[:96], *paths[:60], *(paths[i] for i in wrong[:50])])
    insights.write_album("thumbnails", {path: jpeg() for path in shown})
    ranked = np.argsort(-final, axis=1, kind="stable")
    seconds = np.where(ranked[:, 0] == labels, ranked[:, min(1, len(classes) - 1)], labels)
    maps = {
        path: [(int(ranked[i, 0]), bytes([0, 0, 0, 255])), (int(seconds[i]), bytes([90, 0, 0, 0]))]
        for i, path in enumerate(paths)
        if path in shown and split[i] == scored
    }
    insights.write_evidence(Evidence((2, 2), maps))
    count = len(paths)
    colour = {f"mean_{letter}": np.full(count, 80 + 20 * k, np.float32) for k, letter in enumerate("rgb")}
    size = {"width": np.full(count, 320), "height": np.full(count, 240), "bytes": np.full(count, 9000)}
    insights.write_table("images", make_table({"path": paths, **size, **colour}))
    doubted = {
        "path": paths[:3],
        "split": ["train", "test", "validation"],
        "label": texts["label"][:3],
        "predicted": [classes[-1]] * 3,
        "p_label": np.array([0.01, 0.1, 0.2]),
        "p_predicted": np.array([0.98, 0.8, 0.7]),
    }
    insights.write_table("doubted", make_table(doubted))
    mapped = [i for i, name in enumerate(split) if name == scored][:500]
    places = np.stack([labels / max(len(classes) - 1, 1), np.arange(len(labels)) % 7 / 10], axis=1)[mapped]
    columns = {"path": [paths[i] for i in mapped], "x": places[:, 0], "y": places[:, 1]}
    insights.write_table("map", make_table(columns))
    curve = {"photos": [10, 10, 20, 40], "draw": [0, 1, 0, 0], "accuracy": [0.5, 0.6, 0.7, 0.75]}
    insights.write_table("learning_curve", make_table(curve))
    finding = {"kind": "duplicate", "severity": "warning", "paths": paths[:2], "message": f"{paths[0]} twice"}
    write_json(insights.folder / "findings.json", [finding])


# === Inspections ===


def make_inspection(folder: Path) -> None:
    """What `inspect` leaves of two images that are the same and a third that cannot be read."""
    header = "path,label,split,group,width,height,bytes,format,mode,sha256,mean_r,mean_g,mean_b,finding\n"
    rows = (
        "a/1.jpg,a,train,g,320,240,9,JPEG,RGB,x,1,2,3,duplicate\nb/1.jpg,b,test,g,32,24,9,JPEG,RGB,x,1,2,3,duplicate\n"
    )
    broken = "b/2.jpg,b,,g,,,9,,,x,,,,truncated\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "samples.csv", header + rows + broken)
    finding = {"kind": "duplicate", "severity": "warning", "paths": ["a/1.jpg", "b/1.jpg"], "message": "twice"}
    write_json(folder / "findings.json", [finding])
    summary = {"name": "photos", "classes": [{"label": "a"}, {"label": "b"}], "training_refuses": "No."}
    summary["tree"] = ["photos/: 2 class folders", "  a/, b/<i>: 3 files"]
    write_json(folder / "manifest.json", {"kind": "inspection", "status": "finished", "summary": summary})
    Insights(folder).write_album("thumbnails", {"a/1.jpg": jpeg(), "b/1.jpg": jpeg()})


# === Evaluations ===

DRIFT = (
    ("confidence", 0.94, 0.71, 0.4, 0.0004),
    ("brightness", 0.52, 0.31, 0.6, 1e-9),
    ("warmth (red - blue)", 0.1, -0.02, 0.1, 1.0),
    ("shorter side in pixels", 1080.0, 240.0, 0.9, 1e-12),
    ("width : height", 1.33, 1.33, 0.2, 0.01),
)


def make_evaluation(
    folder: Path,
    classes: tuple[str, ...] = ("daisy", "roses", "tulips"),
    per_class: int = 12,
    *,
    given: tuple[str, ...] | None = None,
    origins: tuple[str, ...] = ("new",),
    own: str = "test",
    sure: tuple[float, float] = (1.6, 1.6),
    options: dict | None = None,
    images: dict | None = None,
) -> Path:
    """What `evaluate` leaves of other images.

    Args:
        folder: Where; created.
        classes: Names, in the model's order.
        per_class: Images of each.
        given: Classes that there are images of; None: all.
        origins: Images take turns among them.
        own: Split that the run measured itself on; empty for none.
        sure: How far the label leads, of the images and of the run's own.
        options: As the command was given.
        images: Counts that the scored images do not say.
    """
    random = np.random.default_rng(0)
    present = [place for place, name in enumerate(classes) if given is None or name in given]
    labels, measured = np.repeat(present, per_class), np.repeat(np.arange(len(classes)), per_class)
    origin = np.array([origins[number % len(origins)] for number in range(len(labels))])
    said, own_said = (_said(random, of, len(classes), lead) for of, lead in zip((labels, measured), sure, strict=True))
    names, new = np.array(classes, dtype=object), origin == "new"
    paths = [f"{classes[label]}/{number:05d}.jpg" for number, label in enumerate(labels)]
    columns = {"path": paths, "split": origin.tolist(), "label": names[labels].tolist()}
    columns |= {"predicted": names[said.argmax(axis=1)].tolist(), "confidence": said.max(axis=1)}
    table = make_table(columns | {f"p_{name}": said[:, i] for i, name in enumerate(classes)})
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "predictions.csv", table, list(table.columns))
    drift = [
        dict(zip(("property", "own_median", "new_median", "distance", "p_value"), row, strict=True)) for row in DRIFT
    ]
    metrics = {"all": _one_class(score(said, labels, classes, 1.2).to_dict())}
    metrics["new"] = _one_class(score(said[new], labels[new], classes, 1.2).to_dict())
    if own:
        metrics[own] = score(own_said, measured, classes, 1.2).to_dict()
    write_json(folder / "metrics.json", metrics | {"drift": drift if own and new.any() else []})
    counted = {name: int((origin == name).sum()) for name in ("new", *SPLITS)} | {"left_out": 0, "scored": len(labels)}
    manifest = {
        "schema_version": 1,
        "kind": "evaluation",
        "status": "finished",
        "created": "2026-01-02T03:04:05+00:00",
        "run": "/runs/first",
        "data": "other/photos",
        "name": "photos",
        "classes": list(classes),
        "options": options or {},
        "images": counted | (images or {}),
        "left_out": {"truncated": 2} if (images or {}).get("left_out") else {},
        "environment": {"backend": "jax", "keras": "3.15.1", "device": "cpu", "threads": 2},
    }
    write_json(folder / "manifest.json", manifest)
    insights = Insights(folder)
    insights.write_summary(paths[:96], {})
    insights.write_album("thumbnails", {path: jpeg() for path in paths[:200]})
    colour = {f"mean_{letter}": np.full(len(paths), 40 + 20 * k, np.float32) for k, letter in enumerate("rgb")}
    size = {"width": np.full(len(paths), 320), "height": np.full(len(paths), 240), "bytes": np.full(len(paths), 9000)}
    insights.write_table("images", make_table({"path": paths, **size, **colour}))
    return folder


def _one_class(scores: dict) -> dict:
    """As recorded where all images are of one class: what takes others is None."""
    present = [name for name, one in scores["per_class"].items() if one["support"]]
    if len(present) != 1:
        return scores
    nothing = {"precision": None, "recall": None, "f1": None, "support": 0}
    only = nothing | {"recall": scores["accuracy"], "support": scores["n"]}
    per_class = {name: only if name == present[0] else nothing for name in scores["per_class"]}
    return scores | {"macro_f1": None, "per_class": per_class}


# === Studies ===

SPACE = {
    "model.head_units": {"low": 32, "high": 1024, "log": True},
    "phases.1.unfreeze_depth": {"low": 0, "high": 8, "log": False},
    "phases.1.learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    "training.optimizer": {"choices": ["adam", "sgd"]},
    "phases.1.weight_decay": {"fixed": 0.0},
}


def make_study(folder: Path, trials: int = 20, objectives: tuple[str, ...] = ("accuracy",)) -> StudyRecord:
    """A study folder as `study run` leaves it: every fifth trial pruned, the last but one failed."""
    study = StudyRecord(
        path=folder,
        name="flowers",
        created="2026-01-02T03:04:05",
        objectives=objectives,
        sampler="tpe",
        pruner="median",
        seed=0,
        storage="sqlite:///optuna.db",
        data={"name": "flowers", "fingerprint": "f" * 64},
        space=SPACE,
        config=tomllib.loads(to_toml(RunConfig())),
        trials=tuple(_trial(number, trials, len(objectives)) for number in range(trials)),
    )
    ranked = study.ranked()
    study = replace(study, best_trial=ranked[0].number if ranked else None)
    folder.mkdir(parents=True, exist_ok=True)
    write_spec(study)
    write_trials(study)
    return study


def _trial(number: int, trials: int, objectives: int) -> TrialRecord:
    random = np.random.default_rng(number)
    depth = int(random.integers(0, 9))
    params = {"model.head_units": int(random.integers(32, 1025)), "phases.1.unfreeze_depth": depth}
    params["training.optimizer"] = ("adam", "sgd")[number % 2]
    if depth:
        params["phases.1.learning_rate"] = float(10 ** random.uniform(-6, -3))
    state = "pruned" if number % 5 == 4 else "failed" if trials > 3 and number == trials - 2 else "complete"
    epochs = history((3, 2) if state == "complete" else (2,))
    values = (0.6 + 0.02 * depth + 0.001 * number, 1000.0 + 100 * depth)[:objectives]
    return TrialRecord(
        number=number,
        state=state,
        params=params,
        values=values if state == "complete" else (),
        history=epochs if state != "failed" else History(),
        started=f"2026-01-02T03:{4 + number % 50:02d}:00",
        seconds=40.0 + number,
        error="ValueError: <b>diverged</b>" if state == "failed" else None,
        own=number == 0,
        worker=f"host-{number % 2}-token",
    )


# === Records that belong together ===


def records_that_belong_together(home: Path) -> Path:
    """Two runs, one of which a comparison, an inspection and an evaluation belong to, drawn in that order."""
    from reports.drawing import draw, write_report

    first, second = (make_run(home / "runs" / name, seed=k) for k, name in enumerate(("first", "second")))
    with second.lock():
        second.update_manifest(data={**second.manifest["data"], "fingerprint": "e" * 64})
    for run in (first, second):
        draw(run.path)
    write_report([first, second], home / "comparison.html")
    inspection, evaluation = home / "inspections" / "photos", home / "evaluations" / "other"
    make_inspection(inspection)
    make_evaluation(evaluation)
    for folder, more in ((inspection, {"data_fingerprint": "f" * 64}), (evaluation, {"run": str(first.path)})):
        write_json(folder / "manifest.json", read_json(folder / "manifest.json") | more)
        draw(folder)
    return home
