"""Record of a study, read from its folder without keras, Optuna or the storage.

    study.toml    the study's settings; written once, when the study begins
    trials.json   every trial with its epochs, the best, latencies: a copy of what the storage knows, kept up to date
    trials.csv    the same trials for a spreadsheet, one row each, without epochs
    best/         the run folder of the model that is kept (kit.run)
    .live         while `study run --live` draws the page anew

`optuna.db`, the default storage, belongs to Optuna: `search.study` reads it.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import StorageError
from kit.files import read_json, write_json, write_text
from kit.training.history import COLUMNS, EpochRecord, History

if TYPE_CHECKING:
    from search.kept_model import Refit

SCHEMA_VERSION = 1
LIVE = ".live"  # in a study's folder while `study run --live` draws its page anew; written with each drawing
STATES = ("waiting", "running", "complete", "pruned", "failed")
FINISHED = ("complete", "pruned")

# Objectives, and which direction is better.
DIRECTIONS = {
    "accuracy": "maximize",
    "log_loss": "minimize",
    "parameters": "minimize",  # of the whole network
    "trained_parameters": "minimize",
    "multiply_adds": "minimize",
}

Value = int | float | str | bool


@dataclass(frozen=True)
class TrialRecord:
    """Record of one trial.

    Attributes:
        number: Index in the study, from 0, dense.
        state: One of STATES. Complete and pruned trials are finished; failed ones do not count.
        params: Setting -> value, of the searched settings; inactive ones (the learning rate of a phase that trains
            nothing) are absent.
        values: One for each objective, in order; empty unless complete. Accuracy and log loss are those of the kept
            epoch on validation.
        history: Every epoch so far, phase by phase.
        started: ISO 8601 in the machine's local time; None while it waits.
        seconds: From begin to end; None unless it has ended.
        error: Why it failed; None unless it did.
        retry_of: Number of the first trial that this one repeats because its worker died; None for all others.
        own: True for the user's own configuration, unchanged.
        shared_head: True where the head came from an earlier trial with the same head, seed, images and first phase.
        computed: Cut point -> images that went through the frozen layers below it; empty where every activation came
            from the cache.
        worker: Host, process id and a random token of the worker.
    """

    number: int
    state: str
    params: Mapping[str, Value] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    history: History = field(default_factory=History)
    started: str | None = None
    seconds: float | None = None
    error: str | None = None
    retry_of: int | None = None
    own: bool = False
    shared_head: bool = False
    computed: Mapping[str, int] = field(default_factory=dict)
    worker: str | None = None

    def __post_init__(self):
        if self.state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}, not {self.state!r}")
        if self.number < 0:
            raise ValueError(f"number must be 0 or more, not {self.number}")

    @property
    def finished(self) -> bool:
        """Whether it counts towards the trials wanted."""
        return self.state in FINISHED

    def kept(self, monitor: str) -> EpochRecord | None:
        """The epoch whose weights are kept; None before the first."""
        return self.history.best(monitor) if len(self.history) else None


@dataclass(frozen=True)
class Counts:
    """Trials by state."""

    waiting: int = 0
    running: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0

    @property
    def finished(self) -> int:
        """Complete or pruned."""
        return self.complete + self.pruned

    @classmethod
    def of(cls, trials: Iterable[TrialRecord]) -> "Counts":
        states = [trial.state for trial in trials]
        return cls(**{state: states.count(state) for state in STATES})


@dataclass(frozen=True, repr=False)
class StudyRecord:
    """Record of one study.

    Attributes:
        name: In the storage too.
        created: When this folder was made, ISO 8601.
        objectives: Keys of DIRECTIONS; two make a Pareto study.
        sampler: `tpe`, `random` or `gp`.
        pruner: `median` or `none`.
        seed: Of the sampler.
        storage: URL of the storage, its password masked.
        data: `name` of the images, `fingerprint` of them all, and `corrections` of their labels, if any.
        space: Setting -> its range (`low`, `high`, `log`, perhaps `step`) or its `choices`.
        config: The user's own configuration, as the tables of a run's TOML.
        trials: By number.
        best_trial: Number of the trial that is kept; None before one is complete.
        latency: Number of a trial of the Pareto front -> median milliseconds of one image; empty before it is measured.
    """

    path: Path
    name: str
    created: str
    objectives: tuple[str, ...]
    sampler: str
    pruner: str
    seed: int
    storage: str
    data: Mapping[str, Any]
    space: Mapping[str, Mapping[str, Any]]
    config: Mapping[str, Any]
    trials: tuple[TrialRecord, ...] = ()
    best_trial: int | None = None
    latency: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self):
        unknown = [name for name in self.objectives if name not in DIRECTIONS]
        if unknown or not self.objectives:
            raise ValueError(f"objectives must be some of {', '.join(DIRECTIONS)}, not {list(self.objectives)}")

    def __repr__(self) -> str:
        ranked = self.ranked()
        best = f", best {self.objectives[0]} {ranked[0].values[0]:.3f}" if ranked else ""
        return f"StudyRecord({str(self.path)!r}, {len(self.trials)} trials{best})"

    @property
    def counts(self) -> Counts:
        return Counts.of(self.trials)

    @property
    def record(self) -> "StudyRecord":
        """The study itself, for callers of 0.1."""
        return self

    @property
    def best(self) -> "Refit | None":
        """The model that is kept, scored once on test; None before it is trained, or where another machine has it."""
        from search.kept_model import Refit

        return Refit.load(self)

    @property
    def page(self) -> Path | None:
        """Path of its report, if it exists."""
        page = self.path / "report.html"
        return page if page.exists() else None

    @property
    def figures(self) -> Any:
        """Figures of the study's page by name: `study.figures.history()`, `list(study.figures)`; plotly's."""
        from kit.report_hook import figures

        return figures(self.path)

    def report(self) -> Path:
        """Draw the study's page; returns its path. StorageError if it cannot be drawn."""
        from kit.report_hook import require_page

        return require_page(self.path)

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the best accuracy, of the kept model with its interval."""
        from kit.report_hook import summary_html

        return summary_html(self.path)

    @property
    def monitor(self) -> str:
        """Metric that picks a trial's epoch: `val_accuracy` or `val_loss`."""
        return str(self.config["training"]["monitor"])

    def trial(self, number: int) -> TrialRecord:
        """Trial by number; KeyError if there is none."""
        for trial in self.trials:
            if trial.number == number:
                return trial
        raise KeyError(number)

    def ranked(self) -> list[TrialRecord]:
        """Complete trials, the best first by the first objective; ties: lower validation loss, then the earlier one."""
        return sorted((trial for trial in self.trials if trial.state == "complete"), key=self._rank)

    def front(self) -> list[TrialRecord]:
        """Pareto front of the complete trials, best of the first objective first; of equal ones, the earliest."""
        kept: list[TrialRecord] = []
        for trial in self.ranked():
            gains = self._gains(trial)
            # a trial that beats or equals it is no worse in the first objective, so it came earlier
            if not any(all(a >= b for a, b in zip(self._gains(one), gains, strict=True)) for one in kept):
                kept.append(trial)
        return kept

    def _gains(self, trial: TrialRecord) -> tuple[float, ...]:
        """Values with signs such that more is better."""
        signs = [1 if DIRECTIONS[name] == "maximize" else -1 for name in self.objectives]
        return tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))

    def _rank(self, trial: TrialRecord) -> tuple[float, ...]:
        first, *others = (-gain for gain in self._gains(trial))
        kept = trial.kept(self.monitor)
        loss = float("inf") if kept is None or kept.val_loss is None else kept.val_loss
        return (first, *others, loss, trial.number)

    # === Files ===

    @classmethod
    def load(cls, path: Path) -> "StudyRecord":
        """Read a study's folder; StorageError if it is none, is damaged, or a newer transferkit wrote it."""
        path = Path(path)
        asked = _read_toml(path / "study.toml")
        found = read_json(path / "trials.json") if (path / "trials.json").exists() else {"trials": []}
        try:
            return cls(
                path=path,
                **{name: asked[name] for name in ("name", "created", "sampler", "pruner", "seed", "storage")},
                **{name: asked[name] for name in ("data", "space", "config")},
                objectives=tuple(asked["objectives"]),
                trials=tuple(_trial(entry) for entry in found["trials"]),
                best_trial=found.get("best"),
                latency={int(number): ms for number, ms in found.get("latency", {}).items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"The record of the study in {path} is damaged: {error!r}.") from None

    def to_csv(self) -> str:
        """One row a trial: number, state, objectives, searched settings, and how it went; empty cells where unknown."""
        import csv
        import io

        from kit.csv_tables import escape_cell

        header = ["number", "state", *self.objectives, *self.space]
        header += ["epochs", "seconds", "started", "retry_of", "own", "shared_head", "latency_ms", "error"]
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for trial in self.trials:
            values = trial.values or (None,) * len(self.objectives)
            cells: list[Any] = [trial.number, trial.state, *values, *(trial.params.get(name) for name in self.space)]
            cells += [len(trial.history), trial.seconds, trial.started, trial.retry_of, trial.own, trial.shared_head]
            cells += [self.latency.get(trial.number), trial.error]
            writer.writerow([escape_cell(cell) if isinstance(cell, str) else cell for cell in cells])
        return text.getvalue()


def write_spec(record: StudyRecord) -> None:
    """Write study.toml."""
    import tomli_w

    names = ("name", "created", "objectives", "sampler", "pruner", "seed", "storage", "data", "space", "config")
    content = {"schema_version": SCHEMA_VERSION, "kind": "study", **{name: getattr(record, name) for name in names}}
    write_text(record.path / "study.toml", tomli_w.dumps(content))


def write_trials(record: StudyRecord) -> None:
    """Write trials.json and trials.csv."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": "trials",
        "best": record.best_trial,
        "latency": {str(number): ms for number, ms in record.latency.items()},
        "trials": [_entry(trial) for trial in record.trials],
    }
    write_json(record.path / "trials.json", content)
    write_text(record.path / "trials.csv", record.to_csv())


def is_study(path: Path) -> bool:
    return (Path(path) / "study.toml").is_file()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        asked = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "`transferkit study list` names the studies here."
        raise StorageError(f"{path.parent} is not a study's folder: it has no study.toml.", hint) from None
    except ValueError as error:
        raise StorageError(f"{path} is not TOML: {error}.") from None
    if asked.get("kind") != "study":
        raise StorageError(f"{path} is the record of another thing ({asked.get('kind')!r}), not of a study.")
    if asked.get("schema_version", 0) > SCHEMA_VERSION:
        raise StorageError(
            f"{path} has schema version {asked['schema_version']}; this kit reads up to {SCHEMA_VERSION}.",
            "Install a newer transferkit.",
        )
    return asked


def _entry(trial: TrialRecord) -> dict[str, Any]:
    always = {"number": trial.number, "state": trial.state, "values": list(trial.values)}
    content = asdict(trial) | {"params": dict(trial.params), "history": history_rows(trial.history)} | always
    return {name: value for name, value in content.items() if name in always or _told(value)}


def _told(value: Any) -> bool:
    """Whether a value is known; 0 is: a trial may be a retry of trial 0."""
    return value is not None and value is not False and value != [] and value != {}


def _trial(entry: Mapping[str, Any]) -> TrialRecord:
    history = history_from_rows(entry.get("history", []))
    return TrialRecord(**{**entry, "values": tuple(entry["values"]), "history": history})


def history_rows(history: History) -> list[list[Any]]:
    """History as JSON: one list an epoch, in the order of EpochRecord's fields."""
    return [[getattr(record, name) for name in COLUMNS] for record in history]


def history_from_rows(rows: Sequence[Sequence[Any]]) -> History:
    """Inverse of `history_rows`."""
    return History(tuple(EpochRecord(*row) for row in rows))
