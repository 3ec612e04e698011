"""ComparisonFacts: what the figures of several runs draw."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from kit.evaluation.significance import SIGNIFICANT, mcnemar_p_value
from kit.training.history import History
from reports import text
from reports.predictions import scored_split
from reports.summary import SummaryFacts

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

SHOWN = 24


@dataclass(frozen=True)
class RunFacts:
    """What one run brings to a comparison.

    Attributes:
        name: Of its folder, made different from the others'.
        backend: Keras backend; empty where it is not recorded.
        data: Fingerprint of its images.
        settings: Dotted key -> value, as text.
        scores: Of its summary.
        history: Its epochs.
        stages: Stage -> seconds.
        said: Path -> (label, predicted) of the images it was scored on.
    """

    name: str
    backend: str
    data: str
    settings: Mapping[str, str]
    scores: SummaryFacts
    history: History
    stages: Mapping[str, float]
    said: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class PairFacts:
    """Two runs on the images that both were scored on.

    Attributes:
        first: Name of one.
        second: Name of the other.
        common: Images scored by both.
        same: Of which both said the same.
        only_first: Only the first was right.
        only_second: Only the second was right.
        twins: The configurations are equal but for the backend, and the images are the same.
    """

    first: str
    second: str
    common: int
    same: int
    only_first: int
    only_second: int
    twins: bool

    @property
    def p_value(self) -> float:
        """McNemar's, of the two runs' answers to the same images."""
        return mcnemar_p_value(self.only_first, self.only_second)

    @property
    def clear(self) -> bool:
        """Whether the difference is more than chance explains."""
        return self.p_value < SIGNIFICANT


@dataclass(frozen=True)
class Disagreement:
    """An image that some runs got right and others wrong.

    Attributes:
        path: As recorded.
        label: What it is.
        predicted: What each run said, in the order of the runs.
    """

    path: str
    label: str
    predicted: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonFacts:
    """Several runs.

    Attributes:
        runs: In the order given.
        differing: (setting, its value in each run) where they differ, the data's path aside.
        pairs: Every two runs that share scored images.
        disagreements: The most evenly split first, at most SHOWN of `disagreed`.
        disagreed: How many there are.
        same_images: All runs were scored on the very same images.
    """

    runs: tuple[RunFacts, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    pairs: tuple[PairFacts, ...]
    disagreements: tuple[Disagreement, ...]
    disagreed: int
    same_images: bool


def run_facts(
    name: str,
    manifest: Mapping[str, Any],
    config: Any,
    scores: SummaryFacts,
    history: History,
    predictions: "pandas.DataFrame",
) -> RunFacts:
    """From the records of one run.

    Args:
        name: To call it by.
        manifest: manifest.json.
        config: Its RunConfig; None where it cannot be read.
        scores: What its summary box says.
        history: Its epochs.
        verdicts: `Run.predicted`; may be empty.
    """
    _, scored = scored_split(predictions)
    columns = (scored[column].tolist() for column in ("path", "label", "predicted"))
    return RunFacts(
        name=name,
        backend=(manifest.get("environment") or {}).get("backend", ""),
        data=(manifest.get("data") or {}).get("fingerprint", ""),
        settings={} if config is None else flatten(asdict(config)),
        scores=scores,
        history=history,
        stages={stage: measured["seconds"] for stage, measured in manifest.get("stages", {}).items()},
        said={path: (label, predicted) for path, label, predicted in zip(*columns, strict=True)},
    )


def flatten(settings: Mapping[str, Any] | Sequence[Any], prefix: str = "") -> dict[str, str]:
    """{"phases": [{"epochs": 10}]} -> {"phases.0.epochs": "10"}."""
    items = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
    flat: dict[str, str] = {}
    for key, value in items:
        nested = isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(_is_table, value)))
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": str(value)}
    return flat


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def comparison_facts(runs: Sequence[RunFacts]) -> ComparisonFacts:
    """From the facts of at least two runs."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    differing = tuple(
        (key, values)
        for key in keys
        if key != "data.path" and len(set(values := tuple(run.settings.get(key, "–") for run in runs))) > 1
    )
    common = set.intersection(*(set(run.said) for run in runs))
    split = [
        Disagreement(path, runs[0].said[path][0], tuple(run.said[path][1] for run in runs)) for path in sorted(common)
    ]
    split = [one for one in split if len({said == one.label for said in one.predicted}) > 1]
    half = len(runs) / 2
    split.sort(key=lambda one: abs(sum(said == one.label for said in one.predicted) - half))
    return ComparisonFacts(
        runs=tuple(runs),
        differing=differing,
        pairs=tuple(pair for a, b in combinations(runs, 2) if (pair := _pair(a, b)).common),
        disagreements=tuple(split[:SHOWN]),
        disagreed=len(split),
        same_images=bool(common) and all(set(run.said) == common for run in runs),
    )


def _pair(a: RunFacts, b: RunFacts) -> PairFacts:
    common = [(a.said[path], b.said[path][1]) for path in a.said if path in b.said]
    right = [(said_a == label, said_b == label) for (label, said_a), said_b in common]
    others = ({k: v for k, v in run.settings.items() if k not in ("backend", "data.path")} for run in (a, b))
    return PairFacts(
        a.name,
        b.name,
        len(common),
        sum(said_a == said_b for (_, said_a), said_b in common),
        sum(one and not other for one, other in right),
        sum(other and not one for one, other in right),
        twins=next(others) == next(others) and a.backend != b.backend and a.data == b.data != "",
    )


def figure_names(facts: ComparisonFacts) -> list[str]:
    """Of the runs, as a figure shows them."""
    return text.labels([run.name for run in facts.runs])
