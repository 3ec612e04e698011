"""README.md of an export: a Hugging Face model card (https://huggingface.co/docs/hub/model-cards).

The text is model_card.md.jinja, the figures come from the run's record. Names of classes and files are untrusted text
and escaped.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from kit.data import OUT_OF_FOLD, SPLITS
from kit.export.formats import Format
from kit.model.catalog import MOBILENET_V2, find, is_hub
from kit.predict import UNLIKE, UNSURE
from kit.run import Run

CLASSES_SHOWN = 100

# Name of the weights in the manifest -> (licence, sentence). Those of ImageNet have their backbone's licence.
_LICENCES = {
    "starter": ("apache-2.0", "Fine-tuned from transferkit's starter weights; transferkit is Apache-2.0."),
    "preset": ("other", "Fine-tuned from a preset of KerasHub: its licence, which transferkit cannot know, applies."),
    "none": ("other", "Trained from random weights: the licence is its owner's to choose."),
}
_IMAGENET = (
    "Fine-tuned from the ImageNet weights that Keras publishes, whose licence is {licence}. ImageNet's images belong "
    "to their owners; its terms allow research and teaching."
)
_UNKNOWN = ("other", "Fine-tuned from the weights file {name}: its licence, which transferkit cannot know, applies.")

_RESIZED = {
    "crop": "the shorter side becomes {side} pixels, then the middle is cut out",
    "stretch": "both sides become {side} pixels, which changes the proportions",
    "pad": "the longer side becomes {side} pixels, the rest is background",
}


def render_card(run: Run, chosen: Format, record: dict[str, Any]) -> str:
    """Model card in Markdown; `record` is the content of export.json without its `files`."""
    manifest, metrics, data = run.manifest, run.metrics, run.config.data
    split, scores = _scored(metrics)
    low, high = scores["accuracy_interval"] if scores else (None, None)
    few = [name for name in manifest["classes"] if scores and scores["per_class"][name]["support"] < 10]
    # Loading needs KerasHub if the network has layers of its own.
    hub = " keras-hub" if chosen.name == "keras" and is_hub(run.config.model.backbone) else ""
    return _template().render(
        front_matter=front_matter(run, chosen), provenance=_provenance(run),
        example=_example_of(chosen, record) if chosen.usage else "", page=chosen.model,
        files=record.get("from_files"), licence=licence(run), packages=chosen.packages + hub, manifest=manifest,
        metrics=metrics, record=record, parity=record["gate"], images=manifest["data"]["photos"], split=split,
        splits=[name for name in (OUT_OF_FOLD, *SPLITS) if name in metrics],
        scores=scores, low=low, high=high, few=few, shares=run.config.split, shown=CLASSES_SHOWN,
        profiles=data.colour_profiles, grey=data.grey_range, side=data.image_size,
        resized=_RESIZED[data.resize].format(side=data.image_size),
    )  # fmt: skip


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "count": "{:,}".format,
        "number": lambda value: "" if value is None else f"{value:.3f}",
        "percent": "{:.1%}".format,
        "plain": _plain,
    }
    return environment.from_string(Path(__file__).with_name("model_card.md.jinja").read_text(encoding="utf-8"))


def front_matter(run: Run, chosen: Format) -> str:
    """YAML front matter between two lines of dashes, each value written as JSON."""
    manifest = run.manifest
    fields: dict[str, Any] = {
        "license": _licence(manifest)[0],
        **({"library_name": chosen.library} if chosen.library else {}),
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", "transferkit"],
        "metrics": ["accuracy", "f1"],
    }
    split, scores = _scored(run.metrics)
    if scores:
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


def example(chosen: Format, threshold: float = 0.0) -> str:
    """Example of a few Python lines, run in the export's folder: an image's probabilities.

    With a `threshold` it prints the class before them, or "unsure" where its probability is below that.
    """
    assert chosen.usage is not None, f"no Python runs {chosen.name}"
    module, load, call = chosen.usage
    printed = "    print(dict(zip(json.load(file), probabilities.tolist())))"
    if threshold:
        printed = f"""    shares = dict(zip(json.load(file), probabilities.tolist()))
best = max(shares, key=shares.get)
print(best if shares[best] >= {threshold!r} else "{UNSURE}", shares)"""
    return f"""import json
{module}
from preprocessing import load_pixels
pixels = load_pixels("photo.jpg")[None]
{load}
probabilities = {call}
with open("labels.json", encoding="utf-8") as file:
{printed}"""


def example_of_both(chosen: Format, threshold: float, beyond: float) -> str:
    """The same of a model that has a strangeness: it prints the class, "unsure" or "unlike", and both outputs."""
    assert chosen.usage is not None, f"no Python runs {chosen.name}"
    module, load, _ = chosen.usage
    return f"""import json
{module}
from preprocessing import load_pixels
pixels = load_pixels("photo.jpg")[None]
{load}
outputs = {chosen.both}
strangeness = float(outputs["strangeness"][0][0])
with open("labels.json", encoding="utf-8") as file:
    shares = dict(zip(json.load(file), outputs["probabilities"][0].tolist()))
best = max(shares, key=shares.get)
answer = best if shares[best] >= {threshold!r} else "{UNSURE}"
print("{UNLIKE}" if strangeness > {beyond!r} else answer, shares, strangeness)"""


def _example_of(chosen: Format, record: dict[str, Any]) -> str:
    if "outputs" in record:
        return example_of_both(chosen, record["threshold"], record["abstention"]["strangeness"])
    return example(chosen, record["threshold"])


def _provenance(run: Run) -> dict[str, str]:
    manifest, environment, model = run.manifest, run.manifest["environment"], run.config.model
    backend, network = environment["backend"], manifest["network"]
    phases = (
        f"{phase['name']}: {phase['trained_parameters']:,} parameters, unfreeze depth {phase['unfreeze_depth']}"
        for phase in network["phases"]
    )
    size = f"alpha {model.alpha:g}, {run.config.data.image_size} px, {network['parameters']:,} parameters"
    versions = f"Keras {environment['keras']} on {backend} {environment[backend]}"
    return {
        "trained": f"{manifest['created']}, by transferkit, {versions}",
        "device": f"{environment['device']} ({environment['device_name']}), Python {environment['python']}",
        "pretrained weights": "; those from ".join(map(_named, _weights_lineage(manifest))),
        "seeds": ", ".join(f"{kind} {seed}" for kind, seed in manifest["seeds"].items()),
        "network": f"{model.backbone}, {size}",
        "phases": "; ".join(phases),
    }


def licence(run: Run) -> str:
    """Sentences on the licence of a run's model."""
    return _licence(run.manifest)[1]


def _licence(manifest: dict[str, Any]) -> tuple[str, str]:
    name = _weights_lineage(manifest)[-1]["name"]
    if name == "imagenet":
        licence = find(manifest["network"].get("backbone", MOBILENET_V2.name)).licence  # absent in early runs
        return licence, _IMAGENET.format(licence=licence)
    licence, said = _LICENCES.get(name, _UNKNOWN)
    return licence, said.format(name=_plain(name))


def _weights_lineage(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Weights that a run started from, those that an earlier run started from, and so on to the first."""
    lineage = [manifest["weights"]]
    while earlier := lineage[-1].get("run"):
        lineage.append(earlier["weights"])
    return lineage


def _named(weights: dict[str, Any]) -> str:
    trained = f" (trained on {weights['run']['data']})" if "run" in weights else ""
    return weights["name"] + trained + (f", SHA-256 {weights['sha256']}" if weights["sha256"] else "")


def _scored(metrics: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Split and scores that stand for the model: out-of-fold, test, validation, or none."""
    splits = (OUT_OF_FOLD, "test", "validation")
    return next(((split, metrics[split]) for split in splits if metrics.get(split, {}).get("n")), ("", None))


def _plain(text: str) -> str:
    """Text on one line with Markdown escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", " ".join(str(text).split()))
