"""Size, speed and parity of a run's model in each export format."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import common
import typer

from kit.errors import ExportError
from kit.export import export_run
from kit.export.formats import FORMATS, find_format
from kit.files import write_text
from kit.run import Run

HEADER = (
    "run's backend",
    "format",
    "numbers",
    "runtime",
    "MiB",
    "1 image, ms",
    "32 images, ms",
    "same class",
    "a probability off by",
    "a strangeness off by",
    "accuracy (lost)",
)


def exports(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders, one a backend.")],
    formats: Annotated[str, typer.Option(help="Formats, with commas between.")] = ",".join(one.name for one in FORMATS),
    results: common.Results = common.RESULTS,
) -> None:
    """How large and how fast is a run's model in each format, on this machine's CPU, and does it answer alike?

    Every format is exported, in each of its precisions, with the parity check of `transferkit export`, in a temporary
    folder; how much accuracy smaller numbers lose is told, whatever it is. Prints the table as Markdown, and writes it
    beside the JSON record. What cannot be exported is told and left out.
    """
    records, left_out = [], {}
    chosen = [(one, precision) for one in map(find_format, formats.split(",")) for precision in one.precisions]
    for run in map(Run.open, runs):
        for one, precision in chosen:
            try:
                with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
                    done = export_run(run, one.name, Path(folder) / "export", precision=precision, allowed_loss=1.0)
            except ExportError as error:
                left_out[f"{run.path.name}: {one.name}, {precision}"] = error.what
                continue
            records.append({**done.record, "backend": run.config.backend})
    table = markdown(records)
    print(table)
    for what, why in left_out.items():
        print(f"left out, {what}: {why}")
    write_text(results / "exports.md", f"{table}\n")
    environment = Run.open(runs[0]).manifest["environment"]
    common.record(results, "exports", environment, {"exports": records, "left_out": left_out})


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Table of docs/export.md, one row for each export.json and its run's `backend`."""
    rows = [
        (
            one["backend"],
            one["format"],
            one["precision"],
            one["runtime"],
            f"{one['bytes'] / 2**20:.1f}",
            *(f"{milliseconds:.1f}" for milliseconds in one["latency_ms"].values()),
            f"{one['gate']['agreement']:.1%} of {one['gate']['photos']:,}",
            f"{one['gate']['greatest_difference']:.1e}",
            f"{one['gate']['strangeness_difference']:.1e}" if "strangeness_difference" in one["gate"] else "–",
            f"{one['gate']['accuracy']:.3f} ({one['gate']['original_accuracy'] - one['gate']['accuracy']:.3f})",
        )
        for one in records
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (HEADER, ["---"] * len(HEADER), *rows))


if __name__ == "__main__":
    common.start(exports)
