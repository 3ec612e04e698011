"""One study in its storage: created or loaded, its samplers and pruner, and its record.

The study's settings are written into the storage on creation: it refuses to continue with another space, objective,
configuration or data, on any machine.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kit.config import PhaseConfig, RunConfig
from kit.errors import ConfigError, StorageError
from kit.files import fingerprint
from kit.settings import from_toml, to_toml
from search.records import DIRECTIONS, StudyRecord, TrialRecord, history_from_rows, is_study, write_spec, write_trials
from search.space import Space
from search.storage import Address, exclusive, open_storage, patiently, storage_errors
from search.trial_queue import LOST, retried_trial_number

SAMPLERS = ("tpe", "random", "gp")
PRUNERS = ("median", "none")
ATTRIBUTE = "transferkit"  # attribute of the study in the storage: its settings
STARTUP_TRIALS = 5  # complete ones, before the median is used
_STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass
class OpenStudy:
    """A study whose storage is open; the trials of `record` are those of the last `refresh`."""

    record: StudyRecord
    optuna: optuna.Study
    storage: RDBStorage
    address: Address

    def refresh(self) -> StudyRecord:
        """Read all trials, and write them into the study's folder if anything has changed."""
        with storage_errors(self.address):
            found = patiently(lambda: self.optuna.get_trials(deepcopy=False))
            attributes = patiently(lambda: self.optuna.user_attrs)
        latency = {int(number): ms for number, ms in attributes.get("latency", {}).items()}
        fresh = replace(self.record, trials=tuple(map(read_trial, found)), best_trial=None, latency=latency)
        if ranked := fresh.ranked():
            picked = attributes.get("picked")
            fresh = replace(fresh, best_trial=ranked[0].number if picked is None else picked)
        if fresh != self.record or not (fresh.path / "trials.json").exists():
            self.record = fresh
            write_trials(fresh)
        return self.record

    def close(self) -> None:
        self.storage.remove_session()
        self.storage.engine.dispose()

    def note(self, name: str, value: Any) -> None:
        """Set an attribute of the study in the storage."""
        with storage_errors(self.address):
            patiently(lambda: self.optuna.set_user_attr(name, value))


def open_study(asked: StudyRecord, address: Address, own_params: Mapping[str, Any]) -> OpenStudy:
    """Create a study, or load the one of that name.

    `asked` is its record without trials; `own_params`, of the user's own configuration, are the first trial.

    Raises:
        ConfigError: If the study in the storage has other settings, or the folder is another study's.
        StorageError: As `open_storage`.
    """
    asked.path.mkdir(parents=True, exist_ok=True)
    _require_same_place(asked)
    storage = open_storage(address)
    try:
        return _open_study(asked, address, storage, own_params)
    except BaseException:
        storage.engine.dispose()
        raise


def _open_study(asked: StudyRecord, address: Address, storage: RDBStorage, own_params: Mapping[str, Any]) -> OpenStudy:
    directions = [StudyDirection[DIRECTIONS[name].upper()] for name in asked.objectives]
    with storage_errors(address), exclusive(address, f"trials-{asked.name}", patience=0):
        if asked.name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=asked.name, storage=storage)
            _require_same(asked, study.user_attrs.get(ATTRIBUTE))
        else:
            study = optuna.create_study(study_name=asked.name, storage=storage, directions=directions)
            study.set_user_attr(ATTRIBUTE, fixed_settings(asked))
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(own_params), user_attrs={"own": True})
        study.set_user_attr("stop", False)
    if is_study(asked.path):
        before = StudyRecord.load(asked.path)
        asked = replace(asked, created=before.created)
    write_spec(asked)
    opened = OpenStudy(asked, study, storage, address)
    opened.refresh()
    return opened


def find_study(path: Path, address: Address | None = None) -> OpenStudy:
    """Open a study that has a folder here; StorageError if there is none, or its storage cannot be opened."""
    record = StudyRecord.load(path)
    if address is None:
        if not record.storage.startswith("sqlite"):
            raise ConfigError(
                f"The study {record.name} is kept in {record.storage}, whose password is not written down.",
                "Give the address again: --storage URL.",
            )
        address = Address.parse(record.storage)
    if address.file is not None and not address.file.exists():
        raise StorageError(f"The storage {address.file} of the study {record.name} is not there any more.")
    storage = open_storage(address)
    with storage_errors(address):
        try:
            study = optuna.load_study(study_name=record.name, storage=storage)
        except KeyError:
            storage.engine.dispose()
            raise StorageError(f"There is no study {record.name} in {address}.") from None
    return OpenStudy(record, study, storage, address)


def fixed_settings(asked: StudyRecord) -> dict[str, Any]:
    """Settings that all trials of a study share, except those of one machine."""
    config = {name: dict(part) if isinstance(part, Mapping) else part for name, part in asked.config.items()}
    config.pop("plugin", None)  # its content is compared
    # of the corrections the fingerprint tells, as of the images
    del config["threads"], config["data"]["path"], config["data"]["corrections"], config["model"]["weights"]
    return {
        "schema_version": 1,
        "data": asked.data["fingerprint"],
        "objectives": list(asked.objectives),
        "space": asked.space,
        "sampler": asked.sampler,
        "pruner": asked.pruner,
        "seed": asked.seed,
        "weights": asked.data["weights"],
        "plugin": asked.data.get("plugin", ""),
        "config": config,
    }


def _require_same_place(asked: StudyRecord) -> None:
    if not is_study(asked.path):
        return
    before = StudyRecord.load(asked.path)
    if before.name != asked.name:
        raise ConfigError(
            f"{asked.path} holds the study {before.name}, not {asked.name}.",
            f"Give another --out, or --name {before.name} to go on with it.",
        )
    # A server may be renamed and a folder moved, but a file never becomes a server.
    if before.storage.startswith("sqlite") != asked.storage.startswith("sqlite"):
        raise ConfigError(
            f"The study {asked.name} in {asked.path} is kept in {before.storage}, not in {asked.storage}.",
            "Give the --storage it was begun with, or another --out.",
        )


def _require_same(asked: StudyRecord, before: Any) -> None:
    hint = "Give the settings it was begun with, or another --name."
    if not isinstance(before, dict) or before.get("schema_version") != 1:
        raise ConfigError(f"There is a study {asked.name} in the storage that transferkit has not made.", hint)
    now = fixed_settings(asked)
    before = {"plugin": ""} | before | {"config": _with_newer_settings(before["config"])}
    if before["data"] != now["data"]:
        raise ConfigError(
            f"The study {asked.name} was begun on other images than {asked.config['data']['path']}.",
            "Give the same images and corrections, unchanged, or another --name.",
        )
    if before["plugin"] != now["plugin"]:
        then = "another plugin" if before["plugin"] else "no plugin"
        raise ConfigError(f"The study {asked.name} was begun with {then}.", hint)
    for part in ("objectives", "space", "sampler", "pruner", "seed", "weights", "config"):
        if fingerprint(before[part]) != fingerprint(now[part]):
            where, then, here = first_difference(part, before[part], now[part])
            raise ConfigError(f"The study {asked.name} was begun with {where} = {then}, not {here}.", hint)


def _with_newer_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a study, and the defaults of those that came after it."""
    default, phase = config_tree(RunConfig()), dict(vars(PhaseConfig()))
    del default["data"]["path"], default["data"]["corrections"], default["model"]["weights"]
    sections = {
        name: {**default[name], **part} for name, part in config.items() if isinstance(default.get(name), Mapping)
    }
    return {**config, **sections, "phases": [{**phase, **one} for one in config["phases"]]}


def first_difference(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """Key and both values of the first difference between two trees; keys below `config` lose that prefix."""
    if isinstance(before, list) and isinstance(now, list | tuple) and len(before) == len(now):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *now]:
            if key not in before or key not in now or fingerprint(before[key]) != fingerprint(now[key]):
                below = str(key) if name == "config" else f"{name}.{key}"
                return first_difference(below, before.get(key), now.get(key))
    return name, before, now


# === Samplers and pruner ===


def sampler_of(record: StudyRecord, number: int) -> BaseSampler:
    """Sampler of one trial, seeded by the study's seed and the trial's number.

    A sampler for the whole study would restart its stream, and draw the same again, in every process.
    """
    seed = int(fingerprint([record.seed, number])[:8], 16)
    if record.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if record.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def build_pruner(record: StudyRecord) -> BasePruner:
    """Pruner; none for a Pareto study, which Optuna cannot prune.

    The median compares epochs of the last phase only, from its second on: the score of a head before fine-tuning says
    little about the score after.
    """
    if record.pruner == "none" or len(record.objectives) > 1:
        return NopPruner()
    before = sum(phase["epochs"] for phase in record.config["phases"][:-1])
    return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=before + 2)


def require_sampler(name: str) -> None:
    """Raise ConfigError if a sampler is unknown, or its package is missing."""
    from importlib.util import find_spec

    if name not in SAMPLERS:
        raise ConfigError(f"--sampler must be one of {', '.join(SAMPLERS)}, not {name!r}.")
    if name == "gp" and find_spec("torch") is None:
        raise ConfigError("--sampler gp needs torch, which is not installed.", "Install it: pip install torch")


# === Records ===


def own_config(record: StudyRecord) -> RunConfig:
    import tomli_w

    return from_toml(tomli_w.dumps(dict(record.config)), str(record.path / "study.toml"))


def space_of(record: StudyRecord) -> Space:
    return Space.of_record(own_config(record), record.space)


def config_of(record: StudyRecord, number: int) -> RunConfig:
    trial, space = record.trial(number), space_of(record)
    return space.own if trial.own else space.configuration(trial.params)


def config_tree(config: RunConfig) -> dict[str, Any]:
    """A configuration as the tables of its TOML."""
    return tomllib.loads(to_toml(config))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_trial(trial: FrozenTrial) -> TrialRecord:
    ended = trial.datetime_complete is not None and trial.datetime_start is not None
    seconds = (trial.datetime_complete - trial.datetime_start).total_seconds() if ended else None  # type: ignore[operator]
    attributes, state = trial.user_attrs, _STATES[trial.state]
    return TrialRecord(
        number=trial.number,
        state=state,
        params=dict(trial.params),
        values=tuple(trial.values) if state == "complete" else (),
        history=history_from_rows(attributes.get("history", [])),
        started=trial.datetime_start.isoformat(timespec="seconds") if trial.datetime_start else None,
        seconds=seconds,
        error=attributes.get("error", LOST) if state == "failed" else None,
        retry_of=retried_trial_number(trial),
        own=bool(attributes.get("own")),
        shared_head=bool(attributes.get("shared_head")),
        computed=attributes.get("computed") or {},
        worker=attributes.get("worker"),
    )
