"""Size, speed and parity of a run's model in each export format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import common
import typer

from kit.errors import ExportError
from kit.export import export_run
from kit.export.formats import FORMATS
from kit.files import write_text
from kit.run import Run

HEADER = (
    "run's backend",
    "format",
    "runtime",
    "MiB",
    "1 image, ms",
    "32 images, ms",
    "same class",
    "greatest difference",
    "accuracy",
)


def exports(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders, one a backend.")],
    formats: Annotated[str, typer.Option(help="Formats, with commas between.")] = ",".join(one.name for one in FORMATS),
    results: common.Results = common.RESULTS,
) -> None:
    """How large and how fast is a run's model in each format, on this machine's CPU, and does it answer alike?

    Every format is exported into the run folder (`RUN/exports/FORMAT`) with the parity check of `transferkit export`.
    Prints the table as Markdown, and writes it beside the JSON record. What cannot be exported is told and left out.
    """
    records, left_out = [], {}
    for run in map(Run.open, runs):
        for name in formats.split(","):
            try:
                done = export_run(run, name)
            except ExportError as error:
                left_out[f"{run.path.name}: {name}"] = error.what
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
            one["runtime"],
            f"{one['bytes'] / 2**20:.1f}",
            *(f"{milliseconds:.1f}" for milliseconds in one["latency_ms"].values()),
            f"{one['gate']['agreement']:.1%} of {one['gate']['photos']:,}",
            f"{one['gate']['greatest_difference']:.1e}",
            f"{one['gate']['accuracy']:.3f} ({one['gate']['original_accuracy']:.3f})",
        )
        for one in records
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (HEADER, ["---"] * len(HEADER), *rows))


if __name__ == "__main__":
    common.start(exports)
