"""`transferkit evaluate`: score a run's model again, or on other images."""

import json
from typing import Annotated, Any

import typer

from kit.backends.choice import BACKENDS
from kit.options import AsJson, FinishedRun, Quiet


def evaluate(
    run: FinishedRun,
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="Other images; the run's own if left out.", show_default=False),
    ] = None,
    backend: Annotated[str, typer.Option(help=f"{' or '.join(BACKENDS)}; the run's own by default.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Scores a run's model again on its own images, or on others."""
    from kit import progress
    from kit.commands.training import score_lines
    from kit.run import Run
    from kit.run_scores import evaluate as score_run

    progress.set_quiet(quiet or as_json)
    folder = Run.open(run)
    metrics = score_run(folder, data, backend_name=backend)
    recorded = folder.metrics
    same = None if data is not None else all(metrics[split] == recorded[split] for split in metrics)
    if as_json:
        print(json.dumps({"run": str(run), "data": data, "metrics": metrics, "as_recorded": same}))
        return
    print("\n".join(score_lines(metrics)))
    if same is not None:
        print("These are the figures of the run." if same else _why_not(folder.manifest["environment"]))


def _why_not(recorded: dict[str, Any]) -> str:
    """Why figures may differ in the last digits: another device, backend or version."""
    from kit.backends import describe

    now = describe()
    changed = [f"{name} {now.get(name)} (the run: {was})" for name, was in recorded.items() if now.get(name) != was]
    if not changed:
        return "These differ from the figures the run recorded, though nothing it recorded of its environment changed."
    return f"These differ from the figures the run recorded, in the last digits if all is well: {', '.join(changed)}."
