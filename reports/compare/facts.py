"""ComparisonFacts: what the figures of several runs draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from kit.significance import SIGNIFICANT, effective_n, holm, mcnemar, paired_interval
from kit.training.history import History
from reports import text
from reports.predictions import scored_split
from reports.run_page import PartialRun
from reports.summary import SummaryFacts, summary_facts

SHOWN = 24
LISTED = 3000  # images that the page lists


@dataclass(frozen=True)
class RunFacts:
    """One run in a comparison, under a unique name.

    `backend` is empty where not recorded, `data` the fingerprint of the images. `settings` map dotted keys to text,
    `stages` to seconds, `predicted` the path of each scored image to (label, predicted class), `groups` to its group,
    where recorded. `monitor` is `training.monitor`; `confidence` maps the scored images to theirs.
    """

    name: str
    backend: str
    data: str
    settings: Mapping[str, str]
    scores: SummaryFacts
    history: History
    stages: Mapping[str, float]
    predicted: Mapping[str, tuple[str, str]]
    groups: Mapping[str, str] = field(default_factory=dict)
    monitor: str = "val_accuracy"
    confidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PairFacts:
    """Two runs on the `common` images that both scored.

    `same` counts equal predictions, `only_first` and `only_second` what only that run got right. `twins` have the same
    data, and configurations equal but for the backend. `p_value` is McNemar's on the common images, each
    group counting once; `adjusted` is Holm's, for all pairs of the comparison. `difference` is the accuracy of the
    first minus that of the second on the common images, `interval` Newcombe's 95% for pairs.
    """

    first: str
    second: str
    common: int
    same: int
    only_first: int
    only_second: int
    twins: bool
    p_value: float
    adjusted: float
    difference: float
    interval: tuple[float, float]

    @property
    def clear(self) -> bool:
        """Whether the difference is significant among all pairs."""
        return self.adjusted < SIGNIFICANT


@dataclass(frozen=True)
class Disagreement:
    """Image that some runs got right and others wrong; `predicted` and its probability `confidence` are by run.

    `confidence` is empty where a run recorded none.
    """

    path: str
    label: str
    predicted: tuple[str, ...]
    confidence: tuple[float, ...] = ()

    @property
    def right(self) -> tuple[bool, ...]:
        """Which runs got it right."""
        return tuple(predicted == self.label for predicted in self.predicted)


@dataclass(frozen=True)
class ComparisonFacts:
    """Several runs, in the order given.

    `differing` are (setting, its value in each run), the data's path aside; `pairs` are those with scored images in
    common. `disagreements` have the most evenly split first, at most LISTED of `disagreed`. `same_images`: all runs
    were scored on the very same images.
    """

    runs: tuple[RunFacts, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    pairs: tuple[PairFacts, ...]
    disagreements: tuple[Disagreement, ...]
    disagreed: int
    same_images: bool


def run_facts(name: str, run: PartialRun) -> RunFacts:
    """Facts from the records of one run, shown as `name`."""
    manifest = run.manifest
    _, scored = scored_split(run.predicted)
    columns = (scored[column].tolist() for column in ("path", "label", "predicted"))
    samples = run.samples
    return RunFacts(
        name=name,
        backend=(manifest.get("environment") or {}).get("backend", ""),
        data=(manifest.get("data") or {}).get("fingerprint", ""),
        settings=flatten(run.settings),
        scores=summary_facts(run.metrics),
        history=run.history,
        stages={stage: measured["seconds"] for stage, measured in manifest.get("stages", {}).items()},
        predicted={path: (label, predicted) for path, label, predicted in zip(*columns, strict=True)},
        groups=dict(zip(samples["path"].tolist(), samples["group"].tolist(), strict=True)),
        monitor=run.monitor,
        confidence=dict(zip(scored["path"].tolist(), scored["confidence"].tolist(), strict=True)),
    )


def flatten(settings: Mapping[str, Any] | Sequence[Any], prefix: str = "") -> dict[str, str]:
    """{"phases": [{"epochs": 10}]} -> {"phases.0.epochs": "10"}."""
    items = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
    flat: dict[str, str] = {}
    for key, value in items:
        nested = isinstance(value, Mapping) or (
            isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value)
        )
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": str(value)}
    return flat


def comparison_facts(runs: Sequence[RunFacts]) -> ComparisonFacts:
    """Facts of at least two runs."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    differing = tuple(
        (key, values)
        for key in keys
        if key != "data.path" and len(set(values := tuple(run.settings.get(key, "–") for run in runs))) > 1
    )
    common = set.intersection(*(set(run.predicted) for run in runs))
    split = [
        Disagreement(path, runs[0].predicted[path][0], tuple(run.predicted[path][1] for run in runs), _sure(runs, path))
        for path in sorted(common)
    ]
    split = [one for one in split if len(set(one.right)) > 1]
    half = len(runs) / 2
    split.sort(key=lambda one: abs(sum(one.right) - half))
    return ComparisonFacts(
        runs=tuple(runs),
        differing=differing,
        pairs=_adjusted([pair for a, b in combinations(runs, 2) if (pair := _pair(a, b)).common]),
        disagreements=tuple(split[:LISTED]),
        disagreed=len(split),
        same_images=bool(common) and all(set(run.predicted) == common for run in runs),
    )


def _sure(runs: Sequence[RunFacts], path: str) -> tuple[float, ...]:
    return tuple(run.confidence[path] for run in runs) if all(path in run.confidence for run in runs) else ()


def _pair(a: RunFacts, b: RunFacts) -> PairFacts:
    paths = [path for path in a.predicted if path in b.predicted]
    common = [(*a.predicted[path], b.predicted[path][1]) for path in paths]
    right = np.array([(first == label, second == label) for label, first, second in common], bool).reshape(-1, 2)
    groups = [a.groups.get(path) or path for path in paths]
    test = mcnemar(right[:, 0], right[:, 1], groups)
    independent = effective_n(groups) / len(groups) if groups else 1.0
    others = ({k: v for k, v in run.settings.items() if k not in ("backend", "data.path")} for run in (a, b))
    return PairFacts(
        a.name,
        b.name,
        len(common),
        sum(first == second for _, first, second in common),
        test.only_a,
        test.only_b,
        twins=next(others) == next(others) and a.backend != b.backend and a.data == b.data != "",
        p_value=test.p_value,
        adjusted=test.p_value,
        difference=(test.only_a - test.only_b) / max(1, len(common)),
        interval=paired_interval(test, independent),
    )


def _adjusted(pairs: list[PairFacts]) -> tuple[PairFacts, ...]:
    adjusted = holm([pair.p_value for pair in pairs])
    return tuple(replace(pair, adjusted=p_value) for pair, p_value in zip(pairs, adjusted, strict=True))


def figure_names(facts: ComparisonFacts) -> list[str]:
    """Names of the runs, escaped for a figure."""
    return text.labels([run.name for run in facts.runs])
