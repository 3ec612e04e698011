"""README.md of an export: the model card, as Hugging Face reads it (https://huggingface.co/docs/hub/model-cards).

Every figure comes from the run's record. Names of classes and files are other people's text: they are escaped.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from kit.data.samples import SPLITS
from kit.export.formats import Format
from kit.model.catalog import MOBILENET_V2, find, is_hub
from kit.run import Run

CLASSES_SHOWN = 100

# What the weights allow, by their name in the manifest: (licence, a sentence). Those of ImageNet are their backbone's.
_LICENCES = {
    "starter": ("apache-2.0", "Fine-tuned from transferkit's starter weights; transferkit is Apache-2.0."),
    "preset": ("other", "Fine-tuned from a preset of KerasHub: its licence, which the kit cannot know, applies."),
    "none": ("other", "Trained from random weights: the licence is its owner's to choose."),
}
_IMAGENET = (
    "Fine-tuned from the ImageNet weights that Keras publishes, whose licence is {licence}. ImageNet's images belong "
    "to their owners; its terms allow research and teaching."
)
_UNKNOWN = ("other", "Fine-tuned from the weights file {name}: its licence, which the kit cannot know, applies.")

_RESIZED = {
    "crop": "the shorter side becomes {side} pixels, then the middle is cut out",
    "stretch": "both sides become {side} pixels, which changes the proportions",
    "pad": "the longer side becomes {side} pixels, the rest is background",
}


def render_card(run: Run, chosen: Format, record: dict[str, Any]) -> str:
    """The card.

    Args:
        run: A finished run.
        chosen: The format it was exported to.
        record: export.json, but for its `files`.
    """
    manifest, metrics = run.manifest, run.metrics
    sections = (
        front_matter(run, chosen),
        f"# {_plain(manifest['data']['name'])}: an image classifier\n\n{_summary(manifest, metrics, record)}",
        f"## How to use it\n\n{_usage(run, chosen)}",
        f"## Scores\n\n{_scores(manifest, metrics)}",
        f"## Classes\n\n{_classes(manifest, metrics)}",
        f"## Data\n\n{_data(run)}",
        f"## Limits\n\n{_limits(manifest, metrics)}",
        f"## Compared with the original\n\n{_parity(record)}",
        f"## Provenance\n\n{_provenance(run)}",
        f"## Licence\n\n{_licence(manifest)[1]} The images it learned from have licences of their own.",
    )
    return "\n\n".join(sections) + "\n"


def front_matter(run: Run, chosen: Format) -> str:
    """YAML between two lines of dashes; every value is written as JSON, which YAML includes."""
    manifest = run.manifest
    fields: dict[str, Any] = {
        "license": _licence(manifest)[0],
        "library_name": chosen.library,
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", "transferkit"],
        "metrics": ["accuracy", "f1"],
    }
    if scored := _scored(run.metrics):
        split, scores = scored
        result = {
            "task": {"type": "image-classification", "name": "Image classification"},
            "dataset": {"name": manifest["data"]["name"], "type": "imagefolder", "split": split},
            "metrics": [
                {"type": "accuracy", "value": round(scores["accuracy"], 6), "name": "accuracy"},
                {"type": "f1", "value": round(scores["macro_f1"], 6), "name": "macro F1"},
            ],
        }
        fields["model-index"] = [{"name": run.path.absolute().name, "results": [result]}]
    lines = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return f"---\n{lines}\n---"


def example(run: Run, chosen: Format) -> str:
    """A dozen lines of Python, run in the export's folder: an image's probabilities."""
    data = run.config.data
    side, background = data.image_size, tuple(data.background)
    resized = {
        "crop": f"ImageOps.fit(image, ({side}, {side}), Image.Resampling.BILINEAR)",
        "stretch": f"image.resize(({side}, {side}), Image.Resampling.BILINEAR)",
        "pad": f"ImageOps.pad(image, ({side}, {side}), Image.Resampling.BILINEAR, color={background})",
    }[data.resize]
    module, load, call = chosen.usage
    return f"""import json
import numpy as np
{module}
from PIL import Image, ImageOps
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
pixels = np.asarray({resized})[None]
{load}
probabilities = {call}
with open("labels.json", encoding="utf-8") as file:
    print(dict(zip(json.load(file), probabilities.tolist())))"""


# === Sections ===


def _summary(manifest: dict[str, Any], metrics: dict[str, Any], record: dict[str, Any]) -> str:
    classes, scored = manifest["classes"], _scored(metrics)
    text = f"It tells {len(classes):,} classes apart. "
    if scored:
        split, scores = scored
        low, high = scores["accuracy_interval"]
        text += (
            f"On {scores['n']:,} {split} images, which no weight was fitted to, it is right on "
            f"{scores['accuracy']:.1%} (95% interval {low:.1%} to {high:.1%}). "
        )
    return text + f"The model is {record['bytes'] / 2**20:.1f} MiB; this copy of it is for {record['runtime']}."


def _usage(run: Run, chosen: Format) -> str:
    side, resize = run.config.data.image_size, run.config.data.resize
    # Keras imports what a saved network's layers come from; some of KerasHub's networks have layers of its own.
    packages = chosen.packages + (" keras-hub" if chosen.name == "keras" and is_hub(run.config.model.backbone) else "")
    return (
        f"`pip install numpy pillow {packages}`, then, in this folder:\n\n"
        f"```python\n{example(run, chosen)}\n```\n\n"
        f"It takes RGB pixels, uint8 (batch, {side}, {side}, 3), 0-255, any batch, and scales them by itself. Images "
        f"are turned as their EXIF says; {_RESIZED[resize].format(side=side)}. `preprocessing.json` says the same to a "
        "program."
    )


def _scores(manifest: dict[str, Any], metrics: dict[str, Any]) -> str:
    rows = []
    for split in SPLITS:
        scores = metrics[split]
        if scores["n"]:
            low, high = scores["accuracy_interval"]
            figures = (scores[key] for key in ("macro_f1", "log_loss", "calibration_error"))
            rows.append(
                (
                    split,
                    f"{scores['n']:,}",
                    f"{scores['accuracy']:.3f}",
                    f"{low:.3f} to {high:.3f}",
                    *map(_number, figures),
                )
            )
    header = ("split", "images", "accuracy", "95% interval", "macro F1", "log loss", "calibration error")
    temperature = metrics["temperature"]
    said = (
        "Validation chose the epoch; test was scored once, at the end. The interval is Wilson's; the calibration error "
        f"has 15 bins of equal width. Confidences are better believed after temperature scaling, with T = "
        f"{temperature:.3f}, fitted on validation: `p ** (1 / T)`, divided by its sum."
    )
    scored = _scored(metrics)
    if scored and scored[1]["calibration_error_scaled"] is not None:
        said += f" The calibration error on {scored[0]} is then {scored[1]['calibration_error_scaled']:.3f}."
    return f"{_table(header, rows)}\n\n{said}"


def _classes(manifest: dict[str, Any], metrics: dict[str, Any]) -> str:
    scored = _scored(metrics)
    if scored is None:
        return ", ".join(_plain(name) for name in manifest["classes"][:CLASSES_SHOWN]) + "."
    split, scores = scored
    names = manifest["classes"][:CLASSES_SHOWN]
    rows = [
        (_plain(name), *(f"{of[key]:.3f}" for key in ("precision", "recall", "f1")), f"{of['support']:,}")
        for name, of in ((name, scores["per_class"][name]) for name in names)
    ]
    table = _table(("class", "precision", "recall", "F1", f"{split} images"), rows)
    left = len(manifest["classes"]) - len(names)
    return table + (f"\n\nAnd {left:,} more, in `labels.json`." if left else "")


def _data(run: Run) -> str:
    manifest, split = run.manifest, run.config.split
    images = manifest["data"]["photos"]
    counts = ", ".join(f"{images[name]:,} {name}" for name in SPLITS)
    return (
        f"{_plain(manifest['data']['name'])}: {counts}. Images without a given split were shared out by class, "
        f"{split.train:.0%} to train, {split.validation:.0%} to validation, {split.test:.0%} to test (split seed "
        f"{manifest['seeds']['split']}); copies and near copies of an image stay on one side. Fingerprint of the data: "
        f"`{manifest['data']['fingerprint']}`."
    )


def _limits(manifest: dict[str, Any], metrics: dict[str, Any]) -> str:
    classes, images = manifest["classes"], manifest["data"]["photos"]["train"]
    points = [
        "It answers with one of its classes whatever the image shows; it does not say that it does not know.",
        f"It learned from {images:,} images. Images taken otherwise (other cameras, places, seasons, distances) may be "
        "told apart less well than the scores say; score some of your own first.",
    ]
    if scored := _scored(metrics):
        low, high = scored[1]["accuracy_interval"]
        points.append(f"On images like those above its accuracy lies between {low:.1%} and {high:.1%} (95% interval).")
        few = [name for name in classes if scored[1]["per_class"][name]["support"] < 10]
        if few:
            named = ", ".join(_plain(name) for name in few[:10]) + (", ..." if len(few) > 10 else "")
            points.append(f"Fewer than ten {scored[0]} images stand behind the figures of: {named}.")
    points.append("It was made for no decision about people's health, safety or rights, and was checked for none.")
    return "\n".join(f"- {point}" for point in points)


def _parity(record: dict[str, Any]) -> str:
    gate, latency, original = record["gate"], record["latency_ms"], record["original"]
    rows = [
        ("runtime", original["runtime"], record["runtime"]),
        ("size, bytes", f"{original['bytes']:,}", f"{record['bytes']:,}"),
        (f"accuracy ({gate['split']})", f"{gate['original_accuracy']:.4f}", f"{gate['accuracy']:.4f}"),
        *((f"batch of {n}, ms, median", "", f"{value:.1f}") for n, value in latency.items()),
    ]
    return (
        f"{_table(('', 'the run', 'this export'), rows)}\n\nBefore it was handed over it was run on the "
        f"{gate['photos']:,} {gate['split']} images: {gate['agreement']:.1%} get the same class as from the run's "
        f"model, and no probability is off by more than {gate['greatest_difference']:.1e} (allowed: "
        f"{gate['tolerance']:.0e})."
    )


def _provenance(run: Run) -> str:
    manifest, environment = run.manifest, run.manifest["environment"]
    name, weights = environment["backend"], manifest["weights"]
    rows = [
        (
            "trained",
            f"{manifest['created']}, by transferkit, Keras {environment['keras']} on {name} {environment[name]}",
        ),
        ("device", f"{environment['device']} ({environment['device_name']}), Python {environment['python']}"),
        ("pretrained weights", f"{weights['name']}{', SHA-256 ' + weights['sha256'] if weights['sha256'] else ''}"),
        ("seeds", ", ".join(f"{kind} {seed}" for kind, seed in manifest["seeds"].items())),
        ("network", f"{_backbone(run)}, {manifest['network']['parameters']:,} parameters"),
        ("phases", "; ".join(_phase(phase) for phase in manifest["network"]["phases"])),
    ]
    return _table(("", ""), [(key, _plain(value)) for key, value in rows])


def _backbone(run: Run) -> str:
    model = run.config.model
    return f"{model.backbone}, alpha {model.alpha:g}, {run.config.data.image_size} px"


def _phase(phase: dict[str, Any]) -> str:
    return f"{phase['name']}: {phase['trained_parameters']:,} parameters, unfreeze depth {phase['unfreeze_depth']}"


# === Pieces ===


def _licence(manifest: dict[str, Any]) -> tuple[str, str]:
    name = manifest["weights"]["name"]
    if name == "imagenet":
        licence = find(manifest["network"].get("backbone", MOBILENET_V2.name)).licence  # early runs had but one
        return licence, _IMAGENET.format(licence=licence)
    licence, said = _LICENCES.get(name, _UNKNOWN)
    return licence, said.format(name=_plain(name))


def _scored(metrics: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The split whose scores stand for the model: test, or validation where there is none."""
    return next(((split, metrics[split]) for split in ("test", "validation") if metrics[split]["n"]), None)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _plain(text: str) -> str:
    """Text as it is, in Markdown: on one line, and nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", " ".join(str(text).split()))
