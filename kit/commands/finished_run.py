"""What a finished run is used for: `transferkit predict`, `evaluate` and `export`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.backends.choice import BACKENDS
from kit.commands import AsJson, FinishedRun, Quiet, setting_options

if TYPE_CHECKING:
    from kit.export.package import Export
    from kit.new_images import Evaluation
    from kit.predict import Prediction, Predictor
    from kit.run import Run


SHOWN = 3  # classes beside the first in the table
NAMED = 5  # unreadable files named in the final message
WIDEST = 60  # width of the name column; longer names overflow
_FORMAT = "keras, saved_model, onnx, litert, openvino, keras-hub or web, a page that runs the model in a browser."
Moved = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="PLACE", help="Where the run's own images lie now, if moved.", show_default="as recorded"
    ),
]
AlwaysAnswer = Annotated[
    bool, typer.Option("--always-answer", help='Give a class for every image, never "unsure" or "unlike".')
]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help='Confidence below which the answer is "unsure".', show_default="the run's own"),
]
TestTimeAugmentation = Annotated[
    bool, typer.Option("--tta", help="Average the answers for each image and its mirror image; takes twice as long.")
]
OwnBackend = Annotated[str, typer.Option(help=f"{' or '.join(BACKENDS)}.", show_default="the run's own")]
_OUT = "The output folder; an earlier export there is replaced."


def open_run(path: Path) -> "Run":
    """The run in a folder; of a study's folder the best run in it, with a word."""
    from kit import progress
    from kit.run import Run

    best = path / "best"
    if (path / "study.toml").is_file() and (best / "manifest.json").is_file():
        progress.say(f"{path} is a study; its best run is taken: {best}")
        return Run.open(best)
    return Run.open(path)


def predict(
    run: FinishedRun,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Images, folders or globs.", show_default=False)
    ],
    threshold: Threshold = None,
    always_answer: AlwaysAnswer = False,
    tta: TestTimeAugmentation = False,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where a picture of each image goes, with the evidence for its class as heat.",
            show_default="none",
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help=f"auto or {' or '.join(BACKENDS)}.")] = "auto",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One row for each image on standard output.")] = False,
    quiet: Quiet = False,
) -> None:
    """Says what a run's model sees in images. Files that cannot be read are named, and the exit status is then 2.

    Where the run has thresholds (`transferkit threshold`), the answer may be "unsure", with the classes it is between,
    or "unlike" anything that it was trained on.
    """
    from kit import progress
    from kit.backends import start
    from kit.errors import ConfigError, DataError
    from kit.explain import Explainer, write_explanations
    from kit.files import make_folder
    from kit.predict import Predictor, search_images
    from kit.progress import printable

    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other.", "Choose one.")
    if always_answer and threshold is not None:
        raise ConfigError("--always-answer and --threshold exclude each other.", "Choose one.")
    progress.set_quiet(quiet or as_json or as_csv)
    folder = open_run(run)
    folder.require_finished()  # before a backend starts, which takes seconds
    files, passed_over = search_images(paths)
    pictures: list[Path | None] | None = None
    if explain is None:
        start(backend, folder.config.threads)
        predictor = Predictor.of(folder, tta=tta)
        predictions = list(predictor.predict(files))
    else:
        make_folder(explain, "Give --explain another.")
        start(backend, folder.config.threads)
        explainer = Explainer.of(folder, tta=tta)
        predictor = explainer.predictor
        written = list(write_explanations(explain, explainer.explain(files)))
        predictions, pictures = [one for one, _ in written], [picture for _, picture in written]
        progress.say(f"Pictures of the evidence: {sum(map(bool, pictures)):,} in {explain}")
    rules = _Rules.of(predictor, threshold, always_answer)
    if as_json:
        told = [_as_dict(one, predictor, rules) for one in predictions]
        if pictures is not None:
            told = [
                one if picture is None else one | {"evidence": str(picture)}
                for one, picture in zip(told, pictures, strict=True)
            ]
        content = {"run": str(run), "predictions": told}
        print(json.dumps(content | rules.limits | {"passed_over": list(map(str, passed_over))}))
    elif as_csv:
        _print_csv(predictions, predictor, rules, pictures)
    else:
        print("\n".join(_table(predictions, predictor, rules)))
        if rules.said:
            progress.say(rules.said)
    unreadable = [one for one in predictions if one.problem]
    if unreadable:
        named = "; ".join(printable(f"{one.path} ({one.problem})") for one in unreadable[:NAMED])
        more = f"; and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
        error = DataError(
            f"{len(unreadable)} of {len(predictions)} files could not be read: {named}{more}.",
            "Leave them out, or put readable images in their place; the others are predicted all the same.",
        )
        error.answered = True
        raise error


@dataclass(frozen=True)
class _Rules:
    """When there is no answer: threshold asked for, whether answers are judged, whether strangeness is told.

    `limits` are the thresholds by their names in JSON, `said` a sentence on those of the run.
    """

    threshold: float | None
    judged: bool
    measured: bool
    limits: dict[str, float]
    said: str

    @classmethod
    def of(cls, predictor: "Predictor", threshold: float | None, always_answer: bool) -> "_Rules":
        own = predictor.limits
        least = threshold if threshold is not None or own is None else own.confidence
        beyond = None if own is None else own.strangeness
        measured = predictor.measure is not None
        if always_answer or (least is None and beyond is None):
            return cls(None, False, measured, {}, "")
        named = {"threshold": least, "strangeness_threshold": beyond}
        limits = {name: value for name, value in named.items() if value is not None}
        parts = [] if least is None else [f"unsure below a confidence of {least:.3g}"]
        parts += [] if beyond is None else [f"unlike anything it was trained on beyond a strangeness of {beyond:.3g}"]
        said = f"It is {', '.join(parts)}; --always-answer switches that off." if own is not None else ""
        return cls(threshold, True, measured, limits, said)

    def answer(self, one: "Prediction") -> str:
        return one.answer(self.threshold) if self.judged else one.label


def _as_dict(one: "Prediction", predictor: "Predictor", rules: _Rules) -> dict[str, object]:
    from kit.predict import UNSURE

    if one.problem:
        return {"path": one.path, "problem": one.problem}
    said: dict[str, object] = {"path": one.path, "label": one.label, "confidence": one.confidence}
    if rules.measured:
        said["strangeness"] = one.strangeness
    if rules.judged:
        said["answer"] = rules.answer(one)
    if said.get("answer") == UNSURE:
        said["between"] = list(one.between)
    return said | {"probabilities": dict(zip(predictor.classes, one.probabilities, strict=True))}


def _table(predictions: "list[Prediction]", predictor: "Predictor", rules: _Rules) -> list[str]:
    """One line an image, without control characters."""
    from kit.progress import printable

    names = [printable(one.path) for one in predictions]
    width = min(max(map(len, names)), WIDEST)
    said = [_in_words(one, predictor, rules) for one in predictions]
    return [f"{name:<{width}}  {words}" for name, words in zip(names, said, strict=True)]


def _in_words(one: "Prediction", predictor: "Predictor", rules: _Rules) -> str:
    from kit.predict import UNLIKE, UNSURE
    from kit.progress import printable

    if one.problem:
        return printable(one.problem)
    ranked = sorted(zip(one.probabilities, predictor.classes, strict=True), reverse=True)[: 1 + SHOWN]
    named = [f"{printable(name)} {probability:.3f}" for probability, name in ranked]
    answer = rules.answer(one)
    strangeness = f"  strangeness {one.strangeness:.2f}" if rules.measured else ""
    if answer == UNLIKE:
        return f"{UNLIKE} anything it was trained on{strangeness}  ({', '.join(named)})"
    if answer == UNSURE:
        between = " or ".join(map(printable, one.between))
        return f"{UNSURE}  ({', '.join(named)})  between {between}{strangeness}"
    return f"{printable(one.label)} {one.confidence:.3f}  ({', '.join(named[1:])}){strangeness}"


def _print_csv(
    predictions: "list[Prediction]",
    predictor: "Predictor",
    rules: _Rules,
    pictures: list[Path | None] | None,
) -> None:
    import csv

    from kit.csv_tables import escape_cell

    writer = csv.writer(sys.stdout, lineterminator="\n")
    measured, answer = ["strangeness"] if rules.measured else [], ["answer"] if rules.judged else []
    classes = [f"p_{name}" for name in predictor.classes]
    evidence = [] if pictures is None else ["evidence"]
    writer.writerow(["path", "predicted", "confidence", *measured, *answer, *classes, *evidence, "problem"])
    for place, one in enumerate(predictions):
        if one.problem:
            blanks = [""] * (2 + len(measured) + len(answer) + len(classes) + len(evidence))
            writer.writerow([escape_cell(one.path), *blanks, one.problem])
            continue
        confidence, *shares = [f"{value:.9g}" for value in (one.confidence, *one.probabilities)]
        strangeness = [f"{one.strangeness:.9g}"] if rules.measured else []
        answers = [escape_cell(rules.answer(one))] if rules.judged else []
        picture = [] if pictures is None else [escape_cell(str(pictures[place]))]
        named = [escape_cell(one.path), escape_cell(one.label), confidence]
        writer.writerow([*named, *strangeness, *answers, *shares, *picture, ""])


@setting_options("conflicts", "columns", defaults=False)
def evaluate(
    run: FinishedRun,
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="Other images; the run's own if left out.", show_default=False),
    ] = None,
    moved: Moved = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Score those images of DATA too that chose the run's weights.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The output folder, of DATA.", show_default="evaluations/NAME-TIME")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help='Confidence below which the answer is "unsure".', show_default="all answered"),
    ] = None,
    tta: TestTimeAugmentation = False,
    backend: OwnBackend = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Scores a run's model again, on its own images or on others.

    Of others, those that it was trained on are left out.
    """
    from kit import progress
    from kit.commands.training import fold_lines, score_lines
    from kit.errors import ConfigError
    from kit.run_scores import evaluate as score_run

    progress.set_quiet(quiet or as_json)
    folder = open_run(run)
    if data is not None:
        if moved is not None:
            hint = "Leave --data out to score other images, or DATA to score the run's own where they lie now."
            raise ConfigError("DATA names other images, and --data is the place of the run's own.", hint)
        asked = settings | {"threshold": threshold, "tta": tta}
        _evaluate_others(folder, data, backend, include_seen, asked, out, as_json)
        return
    if tta or include_seen or out is not None or any(value is not None for value in settings.values()):
        hint = "Name the images: `transferkit evaluate RUN DATA`."
        raise ConfigError(
            "--include-seen, --out, --tta, --conflicts and --columns are for images that are named.", hint
        )
    metrics = score_run(folder, moved=moved, backend_name=backend, threshold=threshold)
    answered, recorded = metrics.pop("answered", {}), folder.metrics
    same = all(metrics[split] == recorded[split] for split in metrics)
    if as_json:
        content = {"run": str(run), "data": None, "metrics": metrics, "as_recorded": same}
        print(json.dumps(content | ({"answered": answered} if answered else {})))
        return
    print("\n".join([*score_lines(metrics), *_answer_lines(answered)]))
    if fold_lines(recorded):
        print("\n".join(["Recorded by cross-validation:", *score_lines(recorded)[:1], *fold_lines(recorded)]))
    print("These are the figures of the run." if same else _why_not(folder.manifest["environment"]))


def _evaluate_others(
    run: "Run",
    data: str,
    backend: str,
    include_seen: bool,
    settings: dict[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    from kit.evaluation_record import write_evaluation
    from kit.inspection import refuse_other_content
    from kit.new_images import evaluate_images
    from kit.report_hook import draw_page
    from kit.run import default_run_path
    from kit.run_scores import evaluation_config

    run.require_finished()
    if out is not None:
        refuse_other_content(out, "evaluation", "evaluate")
    config = evaluation_config(run, backend)
    done = evaluate_images(run, data, config, include_seen=include_seen, **settings)
    record = out or default_run_path(done.name, Path("evaluations"))
    write_evaluation(record, done)
    page = draw_page(record)
    if as_json:
        content = {"run": str(run.path), "data": data, "metrics": {"all": done.scores}, "as_recorded": None}
        places = {"record": str(record), "page": None if page is None else str(page)}
        answers = {"answered": done.answered} if done.answered else {}
        print(json.dumps(content | answers | {"images": done.images} | places))
        return
    drawn = [f"Page: {page}"] if page is not None else []
    lines = [*_new_score_lines(done), *_answer_lines(done.answered), *_origin_lines(done, include_seen)]
    print("\n".join([*lines, *drawn, f"Record: {record}"]))


def _answer_lines(answered: dict[str, Any]) -> list[str]:
    """One line for each split: what the model answers above the threshold, and how much of that is right."""
    lines = []
    for split, one in answered.items():
        if one["n"]:
            said = f"{split:<11} answers {one['answered']:,} of {one['n']:,} ({one['coverage']:.1%})"
            low, high = one["accuracy_interval"] or (0.0, 1.0)
            right = f", {one['accuracy']:.3f} [{low:.3f}, {high:.3f}] of them right" if one["answered"] else ""
            lines.append(f"{said} at a confidence of {one['threshold']:g} or more{right}")
    return lines


def _new_score_lines(done: "Evaluation") -> list[str]:
    from kit.commands.training import score_lines
    from kit.new_images import only_class
    from kit.progress import printable

    alone, scores = only_class(done.scores), done.scores
    if alone is None:
        return score_lines({"all": scores})
    low, high = scores["accuracy_interval"]
    return [
        f"all         recall of {printable(alone)} {scores['accuracy']:.3f} [{low:.3f}, {high:.3f}]  "
        f"log loss {scores['log_loss']:.3f}  n = {scores['n']:,}",
        f"All are of {printable(alone)}: accuracy over all classes, precision and macro F1 cannot be said from them.",
    ]


def _origin_lines(done: "Evaluation", include_seen: bool) -> list[str]:
    """Sentences on what the run has seen of the images, and on what was left out."""
    images, lines = done.images, []
    if chosen_by := images["train"] + images["validation"]:
        fate = (
            "scored all the same, which flatters the model" if include_seen else "left out (--include-seen scores them)"
        )
        split = f"{images['train']:,} train, {images['validation']:,} validation"
        lines.append(f"The run has seen {chosen_by:,} of these images ({split}): {fate}.")
    if images["test"]:
        lines.append(f"{images['test']:,} are among the run's test images, whose score it has recorded already.")
    if images["left_out"]:
        why = ", ".join(f"{count:,} {kind}" for kind, count in done.left_out.items())
        lines.append(
            f"{images['left_out']:,} files are left out ({why}): `transferkit inspect {done.data}` names them."
        )
    return lines


def _why_not(recorded: dict[str, Any]) -> str:
    """Why figures may differ in the last digits: another device, backend or version."""
    from kit.backends import describe

    now = describe()
    changed = [f"{name} {now.get(name)} (the run: {was})" for name, was in recorded.items() if now.get(name) != was]
    if not changed:
        return "These differ from the figures the run recorded, though nothing it recorded of its environment changed."
    return f"These differ from the figures the run recorded, in the last digits if all is well: {', '.join(changed)}."


def export(
    run: FinishedRun,
    format_name: Annotated[str, typer.Option("--format", help=_FORMAT, show_default=False)],
    out: Annotated[Path | None, typer.Option(help=_OUT, show_default="RUN/exports/FORMAT")] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Whole numbers of 8 bits inside, ranged by training images.")
    ] = False,
    float16: Annotated[bool, typer.Option("--float16", help="Floating-point numbers of 16 bits inside.")] = False,
    tolerance_accuracy: Annotated[
        float, typer.Option(min=0, max=1, help="Loss of accuracy that --int8 and --float16 may cost.")
    ] = 0.01,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help='Confidence below which the example and the page of web say "unsure".',
            show_default="the run's own; with --int8 and --float16 the export's",
        ),
    ] = None,
    always_answer: Annotated[
        bool, typer.Option("--always-answer", help="Leave out the run's thresholds, and the output strangeness.")
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(help="Of web: folder that holds its runtime from npm.", show_default="downloaded once"),
    ] = None,
    moved: Moved = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Writes a run's model in another format, and checks it there.

    It is handed over if it answers alike on the test images.

    The folder holds the model, its labels, how an image becomes its input, and a model card with an example.
    """
    from kit import progress
    from kit.errors import ConfigError
    from kit.export import export_run
    from kit.report_hook import draw_page

    progress.set_quiet(quiet or as_json)
    if int8 and float16:
        raise ConfigError("--int8 and --float16 were both given.", "Give one.")
    precision = "int8" if int8 else "float16" if float16 else "float32"
    folder = open_run(run)
    done = export_run(
        folder, format_name, out, moved=moved, precision=precision, allowed_loss=tolerance_accuracy,
        threshold=threshold, always_answer=always_answer, runtime=runtime,
    )  # fmt: skip
    if folder.report_path.exists() and done.path.resolve().is_relative_to(folder.path.resolve()):
        draw_page(folder.path)  # the page lists the exports in the run folder
    if as_json:
        print(json.dumps({"export": str(done.path), **done.record}))
    else:
        print("\n".join(_lines(done)))


def _lines(done: "Export") -> list[str]:
    from kit.progress import mebibytes

    record, gate = done.record, done.record["gate"]
    latency, original = record["latency_ms"], record["original"]
    rows = [
        ("", "original", _named(record)),
        ("runtime", original["runtime"], record["runtime"]),
        ("size", mebibytes(original["bytes"]), mebibytes(record["bytes"])),
        (f"accuracy ({gate['split']})", f"{gate['original_accuracy']:.3f}", f"{gate['accuracy']:.3f}"),
        *((f"batch of {n}", "", f"{milliseconds:.1f} ms") for n, milliseconds in latency.items()),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    table = [f"{name:<{widths[0]}}  {old:<{widths[1]}}  {new}".rstrip() for name, old, new in rows]
    return [
        *table,
        f"Of {gate['photos']:,} {gate['split']} images {gate['agreement']:.1%} get the same class; no probability is "
        f"off by more than {gate['greatest_difference']:.1e} ({_allowed(gate)}).",
        *_strangeness(record),
        *_from_files(record.get("from_files", {})),
        f"Export: {done.path}",
    ]


def _named(record: dict[str, Any]) -> str:
    return record["format"] if record["precision"] == "float32" else f"{record['format']}, {record['precision']}"


def _strangeness(record: dict[str, Any]) -> list[str]:
    """Sentence on the second output, or on its absence."""
    gate, left_out = record["gate"], record.get("abstention", {}).get("left_out")
    if left_out:
        return [f"It has no strangeness, as the run has: {left_out}."]
    if "strangeness_difference" not in gate:
        return []
    off, allowed = gate["strangeness_difference"], gate["strangeness_tolerance"]
    return [f"No strangeness is off by more than {off:.1e} (allowed: {allowed:g})."]


def _allowed(gate: dict[str, Any]) -> str:
    if gate["allowed_loss"] is None:
        return f"allowed: {gate['tolerance']:.0e}"
    return f"{gate['allowed_loss']:g} of accuracy may be lost"


def _from_files(told: dict[str, Any]) -> list[str]:
    """Sentence on a runtime that decodes files by itself; none for others."""
    if not told:
        return []
    if told["agreement"] is None:
        return ["It reads none of the image files by itself."]
    unread = f"; {told['unreadable']:,} files it cannot read" if told["unreadable"] else ""
    return [
        f"From the image files, decoded by itself, {told['agreement']:.1%} get the same class; a probability is off by "
        f"{told['median_difference']:.1e} in the median, {told['greatest_difference']:.1e} at most{unread}."
    ]
