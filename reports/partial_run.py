"""Run folder with some records missing."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from kit.csv_tables import PREDICTION_COLUMNS, SAMPLE_COLUMNS, make_table
from kit.errors import UserError
from kit.run import Run
from kit.training.history import History


class PartialRun(Run):
    """Run whose missing records are empty; a damaged one raises StorageError."""

    @classmethod
    def open(cls, path: Path) -> "PartialRun":
        """Open the record of a run; StorageError if it is none."""
        return cls(Run.open(path).path)

    @property
    def monitor(self) -> str:
        """`training.monitor`; its default where config.toml cannot be read."""
        return self.settings["training"]["monitor"] if self.settings else "val_accuracy"

    @property
    def settings(self) -> dict[str, Any]:
        """Configuration as nested tables; empty where config.toml cannot be read."""
        try:
            return asdict(self.config)
        except UserError:
            return {}

    @property
    def metrics(self) -> dict[str, Any]:
        return super().metrics if self._has("metrics.json") else {}

    @property
    def history(self) -> History:
        return super().history if self._has("history.csv") else History()

    @property
    def predicted(self) -> pd.DataFrame:
        return super().predicted if self._has("predictions.csv") else _empty(PREDICTION_COLUMNS)

    @property
    def samples(self) -> pd.DataFrame:
        return super().samples if self._has("samples.csv") else _empty(SAMPLE_COLUMNS)

    def _has(self, name: str) -> bool:
        return (self.path / name).exists()


def _empty(columns: tuple[str, ...]) -> pd.DataFrame:
    return make_table({name: [] for name in columns})
