"""Benchmark of a run's model in all formats that this machine can run: size, time, memory, and what it gets right.

Each is exported into a temporary folder with its parity check (`kit.export.package`), then timed in a process of its
own. The record is `benchmark.json` of the run folder.
"""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.errors import ConfigError, ExportError
from kit.export.formats import FORMATS, PRECISIONS, find_format
from kit.export.package import absolute, export_run, writing_backend
from kit.export.parity import parity_images
from kit.export.worker import ask
from kit.files import write_json
from kit.machine import available_threads, processor
from kit.run import Run

RECORD = "benchmark.json"
SCHEMA_VERSION = 1


def benchmark_run(
    run: Run,
    formats: Sequence[str] = (),
    precisions: Sequence[str] = PRECISIONS,
    *,
    moved: Path | str | None = None,
) -> dict[str, Any]:
    """Measure a finished run's model in each format and precision; writes and returns the record.

    Args:
        formats: Names of formats; none are all.
        precisions: Of `kit.export.formats.PRECISIONS`; a format is measured in those of them that it has.
        moved: Where the run's images lie now, if not where they were.

    Returns:
        `formats`: for each its size in bytes, `latency_ms` by batch (`median`, `p95`, `passes`), `images_per_second` of
        the largest batch, `peak_memory` of its process in bytes, and its `gate` (`kit.export.parity.Parity`).
        `left_out`: why others could not be measured. `machine`: processor and threads.

    Raises:
        ConfigError: If there is no such format or precision.
        ExportError: If no format could be measured.
        UserError: As `export_run`.
    """
    if unknown := sorted(set(precisions) - set(PRECISIONS)):
        raise ConfigError(f"precisions must be of {', '.join(PRECISIONS)}, not {', '.join(map(repr, unknown))}.")
    chosen = [find_format(name) for name in formats] or list(FORMATS)
    run.require_finished()
    files = parity_images(run, None if moved is None else str(moved)).files
    measured, left_out = [], {}
    for one in chosen:
        for precision in (precision for precision in one.precisions if precision in precisions):
            with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as work:
                try:
                    # how much accuracy is lost is what is asked here; a strangeness only some formats have
                    done = export_run(
                        run, one.name, Path(work) / "export", moved=moved, precision=precision, allowed_loss=1,
                        always_answer=True,
                    )  # fmt: skip
                    write_json(Path(work) / "images.json", absolute(files))
                    timed = ask("time", [one.name], run, done.path, Path(work), writing_backend(run, one))[one.name]
                except ExportError as error:
                    left_out[f"{one.name}, {precision}"] = error.what
                    continue
            measured.append(_row(done.record, timed))
    if not measured:
        raise ExportError(f"No format could be measured: {' '.join(left_out.values())}", "Install one of them.")
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": "benchmark",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": processor(), "threads": available_threads()},
        "formats": measured,
        "left_out": left_out,
    }
    write_json(run.path / RECORD, record)
    return record


def _row(record: dict[str, Any], timed: dict[str, Any]) -> dict[str, Any]:
    largest = max(timed["latency_ms"], key=int)
    return {
        **{name: record[name] for name in ("format", "precision", "runtime", "bytes")},
        "latency_ms": timed["latency_ms"],
        "images_per_second": 1000 * int(largest) / timed["latency_ms"][largest]["median"],
        "peak_memory": timed["peak_memory"],
        "gate": record["gate"],
    }
