"""Training history, epoch by epoch, read without keras."""

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

from kit.errors import StorageError, UserError

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run


@dataclass(frozen=True)
class EpochRecord:
    """Metrics of one epoch.

    Attributes:
        epoch: From 1, counting on across phases.
        seconds: Wall time, validation included.
        learning_rate: At the end of the epoch; 0 or more (a cosine falls to 0).
        loss: Mean cross-entropy while training, without label smoothing or class weights.
        accuracy: Training accuracy while training, 0 to 1.
        val_loss: Validation loss after the epoch; None, like `val_accuracy` (0 to 1), without a validation split.
        val_metrics: (name, value) of each metric of one's own, of validation.

    Raises:
        UserError: If a loss is not finite: training diverged.
        ValueError: If a number is out of range, or only one of val_loss and val_accuracy is given.
    """

    epoch: int
    phase: str
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_metrics: tuple[tuple[str, float], ...] = ()

    def __post_init__(self):
        for name in ("loss", "val_loss"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise diverged(self.epoch, self.phase, f"{name} is {value}")
        if self.epoch < 1:
            raise ValueError(f"epoch counts from 1, not {self.epoch}")
        if (self.val_loss is None) != (self.val_accuracy is None):
            raise ValueError(f"val_loss and val_accuracy come together, not {self.val_loss} and {self.val_accuracy}")
        for name in ("seconds", "learning_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more and finite, not {getattr(self, name)}")
        for name in ("accuracy", "val_accuracy"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {value}")


def diverged(epoch: int, phase: str, how: str) -> UserError:
    """Error for training that diverged, as a loss tells."""
    return UserError(
        f"Training diverged: {how} after epoch {epoch} (phase {phase!r}).",
        "Lower the phase's learning rate (phases.N.learning_rate), or give it warmup_epochs.",
    )


COLUMNS = tuple(field.name for field in fields(EpochRecord) if field.name != "val_metrics")
OWN = "val_"  # what columns of metrics of one's own begin with


@dataclass(frozen=True)
class History:
    """Consecutive epochs, from 1 for a whole run; one phase of it (`phase`) may start later.

    Raises ValueError if an epoch is missing, repeated or out of order.
    """

    records: tuple[EpochRecord, ...] = ()

    def __post_init__(self):
        for before, after in zip(self.records, self.records[1:], strict=False):
            if after.epoch != before.epoch + 1:
                raise ValueError(f"epoch {before.epoch} must be followed by {before.epoch + 1}, not {after.epoch}")

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self.records)

    def append(self, record: EpochRecord) -> "History":
        return History((*self.records, record))

    def phases(self) -> tuple[str, ...]:
        """Names of the phases, in the order they ran."""
        return tuple(dict.fromkeys(record.phase for record in self.records))

    def phase(self, name: str) -> "History":
        """Epochs of one phase; empty where it did not run."""
        return History(tuple(record for record in self.records if record.phase == name))

    def best(self, monitor: str = "val_accuracy") -> EpochRecord:
        """Epoch whose weights are kept; the last one without a validation split.

        `val_accuracy` and metrics of one's own are maximised (ties: lower val_loss), `val_loss` minimised; further
        ties: the earliest. Raises ValueError if the history is empty or the monitor unknown.
        """
        own = [OWN + name for record in self.records for name, _ in record.val_metrics]
        validated = all(record.val_loss is not None for record in self.records)
        if monitor not in ("val_accuracy", "val_loss", *own) and (validated or not monitor.startswith(OWN)):
            raise ValueError(f"monitor must be val_accuracy or val_loss, not {monitor!r}")
        if not self.records:
            raise ValueError("an empty history has no best epoch")
        if not validated:
            return self.records[-1]
        return min(self.records, key=lambda record: _rank(record, monitor))

    def to_frame(self) -> "pandas.DataFrame":
        """One row an epoch, columns as EpochRecord; val_* are NaN where None."""
        import pandas

        columns = {name: [getattr(record, name) for record in self.records] for name in COLUMNS}
        own = dict.fromkeys(name for record in self.records for name, _ in record.val_metrics)
        columns |= {OWN + name: [dict(record.val_metrics).get(name) for record in self.records] for name in own}
        types = {name: "object" if name == "phase" else "float64" for name in columns} | {"epoch": "int64"}
        return pandas.DataFrame({name: pandas.Series(values, dtype=types[name]) for name, values in columns.items()})

    @classmethod
    def from_frame(cls, frame: "pandas.DataFrame") -> "History":
        """Read what `to_frame` wrote; NaN in val_* becomes None.

        Raises StorageError if a column is missing or the rows are not a history: a record damaged by hand.
        """
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise StorageError(f"The history lacks the columns {', '.join(missing)}.")
        try:
            rows = zip(*(frame[name].tolist() for name in COLUMNS), strict=True)
            own = [name for name in frame.columns if name.startswith(OWN) and name not in COLUMNS]
            values = frame[own].to_numpy("float64").tolist()
            return cls(tuple(_record(row, own, more) for row, more in zip(rows, values, strict=True)))
        except (ValueError, TypeError) as error:
            raise StorageError(f"The history is damaged: {error}.") from None

    def equal_curves(self, other: "History") -> bool:
        """Whether both hold the same numbers to the bit, seconds aside."""
        return [_without_seconds(record) for record in self] == [_without_seconds(record) for record in other]


def _rank(record: EpochRecord, monitor: str) -> tuple[float, ...]:
    # val_* are not None here: `best` returned before otherwise
    loss, accuracy = float(record.val_loss or 0.0), float(record.val_accuracy or 0.0)
    if monitor == "val_loss":
        return (loss,)
    more = accuracy if monitor == "val_accuracy" else dict(record.val_metrics)[monitor.removeprefix(OWN)]
    return (-more, loss)


def _record(row: tuple, own: list[str], values: list[float]) -> EpochRecord:
    epoch, phase, *numbers, val_loss, val_accuracy = row
    loss, accuracy = (
        None if value is None or math.isnan(value) else float(value) for value in (val_loss, val_accuracy)
    )
    seconds, rate, trained_loss, trained_accuracy = map(float, numbers)
    pairs = zip(own, values, strict=True)
    measured = tuple((name.removeprefix(OWN), value) for name, value in pairs if not math.isnan(value))
    return EpochRecord(int(epoch), str(phase), seconds, rate, trained_loss, trained_accuracy, loss, accuracy, measured)


def _without_seconds(record: EpochRecord) -> tuple:
    return tuple(value for name, value in zip((*COLUMNS, OWN), astuple(record), strict=True) if name != "seconds")
