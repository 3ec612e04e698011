"""`transferkit evaluate`: the very figures of a run, or those of other images."""

import json
import shutil

import numpy as np
import pytest

import kit
from image_files import make_images
from kit.csv_tables import read_table
from kit.data.sources import load_samples
from kit.files import read_json
from kit.run_writer import RunWriter


@pytest.fixture
def copied(run, tmp_path) -> RunWriter:
    """A copy of the run that a test may damage."""
    return RunWriter(shutil.copytree(run.path, tmp_path / "copied"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory, monkeypatch):
    """Records about other images go below the working folder."""
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


def change_manifest(run: RunWriter, **fields) -> None:
    with run.lock():
        run.update_manifest(**fields)


def test_the_very_figures_of_the_run(run, command):
    before = run.manifest, run.metrics
    done = command("evaluate", run.path, "--json")
    assert (done.status, done.err) == (0, "")
    said = json.loads(done.out)
    assert (said["run"], said["data"], said["as_recorded"]) == (str(run.path), None, True)
    assert said["metrics"] == {split: run.metrics[split] for split in ("train", "validation", "test")}
    assert (run.manifest, run.metrics) == before


def test_also_when_the_cache_is_empty_and_from_another_folder(run, command, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    done = command("evaluate", run.path)
    assert done.status == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["train", "validation", "test"]
    assert f"accuracy {run.metrics['train']['accuracy']:.3f}" in lines[0]
    assert lines[3:] == ["These are the figures of the run."]


def test_figures_that_differ_are_said_to_and_why(copied, command):
    metrics = copied.metrics
    metrics["test"]["log_loss"] += 1e-9
    copied.write_metrics(metrics)
    environment = copied.manifest["environment"]
    assert "nothing it recorded of its environment changed" in command("evaluate", copied.path).out
    change_manifest(copied, environment=environment | {"threads": 99})
    done = command("evaluate", copied.path)
    assert done.status == 0
    assert "These differ from the figures the run recorded" in done.out
    assert f"threads {environment['threads']} (the run: 99)" in done.out
    assert json.loads(command("evaluate", copied.path, "--json").out)["as_recorded"] is False


def test_other_images_are_scored_together(run, command, tmp_path):
    other = make_images(tmp_path / "other", ("green", "red"), 5, seed=1)
    done = command("evaluate", run.path, other, "--json")
    assert (done.status, done.err) == (0, "")
    said = json.loads(done.out)
    assert (said["data"], said["as_recorded"]) == (str(other), None)
    assert set(said["metrics"]) == {"all"}
    assert said["metrics"]["all"]["n"] == 10
    assert said["images"] == {"new": 10, "train": 0, "validation": 0, "test": 0, "left_out": 0, "scored": 10}
    assert sum(map(sum, said["metrics"]["all"]["confusion"])) == 10
    shown = command("evaluate", run.path, other).out
    assert shown.startswith("all ")
    assert "n = 10" in shown
    assert "figures of the run" not in shown
    assert "has seen" not in shown


def test_answers_above_a_threshold_are_scored(run, command):
    table = run.predictions
    test = table[table["split"] == "test"]
    threshold = float(np.median(test["confidence"]))
    said = json.loads(command("evaluate", run.path, "--threshold", str(threshold), "--json").out)
    sure = test[test["confidence"] >= threshold]
    one = said["answered"]["test"]
    assert (one["threshold"], one["n"], one["answered"]) == (threshold, len(test), len(sure))
    assert one["accuracy"] == (sure["label"] == sure["predicted"]).mean()
    assert one["accuracy_interval"][0] <= one["accuracy"] <= one["accuracy_interval"][1]
    assert said["metrics"]["test"] == run.metrics["test"]
    shown = command("evaluate", run.path, "--threshold", str(threshold)).out
    assert f"test        answers {len(sure)} of {len(test)} ({len(sure) / len(test):.1%}) at a confidence of" in shown


def test_a_threshold_of_other_images_is_recorded_with_the_answers(run, command, tmp_path):
    other, record = make_images(tmp_path / "other", ("green", "red"), 5, seed=1), tmp_path / "record"
    done = command("evaluate", run.path, other, "--threshold", "0.6", "--out", record)
    assert "answers " in done.out
    table = read_table(record / "predictions.csv", ("predicted", "answer", "confidence"))
    expected = table["predicted"].where(table["confidence"] >= 0.6, "unsure")
    assert table["answer"].tolist() == expected.tolist()
    answered = json.loads((record / "metrics.json").read_text())["answered"]["all"]
    assert answered["answered"] == sum(answer != "unsure" for answer in table["answer"])
    assert "--threshold 0.6" in (record / "report.html").read_text(encoding="utf-8")


def test_the_runs_own_images_given_as_others_score_alike(run, command, images):
    """Whole images through the saved model, against stored float16 activations through the tail."""
    scores = json.loads(command("evaluate", run.path, images, "--include-seen", "--json").out)["metrics"]["all"]
    own = [run.metrics[split] for split in ("train", "validation", "test")]
    total = sum(split["n"] for split in own)
    assert scores["n"] == total == 72
    expected = sum(split["log_loss"] * split["n"] for split in own) / total
    assert scores["log_loss"] == pytest.approx(expected, rel=0.01)


def test_images_that_the_run_was_trained_on_are_left_out(run, command, images, tmp_path):
    mixed = shutil.copytree(images, tmp_path / "mixed")
    for file in make_images(tmp_path / "fresh", ("green", "red"), 5, seed=1).rglob("*.jpg"):
        shutil.copy(file, mixed / file.parent.name / f"fresh-{file.name}")
    counts = {split: run.metrics[split]["n"] for split in ("train", "validation", "test")}
    said = json.loads(command("evaluate", run.path, mixed, "--json").out)
    assert said["images"] == {"new": 10, **counts, "left_out": 0, "scored": 10 + counts["test"]}
    assert said["metrics"]["all"]["n"] == 10 + counts["test"]
    shown = command("evaluate", run.path, mixed).out
    assert f"The run has seen {counts['train'] + counts['validation']} of these images" in shown
    assert f"({counts['train']} train, {counts['validation']} validation): left out" in shown
    assert f"{counts['test']} are among the run's test images" in shown
    whole = json.loads(command("evaluate", run.path, mixed, "--include-seen", "--json").out)
    assert whole["metrics"]["all"]["n"] == whole["images"]["scored"] == 82


def test_images_that_the_run_has_all_seen(run, command, refused, images, tmp_path):
    samples = run.samples
    seen = tmp_path / "seen"
    for path in samples[samples["split"] == "train"]["path"]:
        (seen / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / path, seen / path)
    count = run.metrics["train"]["n"]
    assert f"has seen all of the {count} images" in refused("evaluate", run.path, seen)
    assert json.loads(command("evaluate", run.path, seen, "--include-seen", "--json").out)["images"]["train"] == count


def test_a_run_that_recorded_no_hashes_knows_most_of_its_images(copied, command, images):
    copied.write_samples(copied.samples.drop(columns="sha256"))
    assert len(copied.split_by_hash) == 72
    assert json.loads(command("evaluate", copied.path, images, "--json").out)["images"]["new"] == 0


def test_an_image_under_two_labels_is_refused_or_left_out(run, command, refused, tmp_path):
    """The remedy that the message names is one that this command has."""
    other = make_images(tmp_path / "other", ("green", "red"), 5, seed=1)
    shutil.copy(next((other / "green").iterdir()), other / "red" / "copy.jpg")
    assert "--conflicts drop" in refused("evaluate", run.path, other)
    said = json.loads(command("evaluate", run.path, other, "--conflicts", "drop", "--json").out)
    assert (said["images"]["scored"], said["images"]["left_out"]) == (9, 2)
    assert "2 files are left out" in command("evaluate", run.path, other, "--conflicts", "drop").out


def test_copies_in_two_given_splits_do_not_matter(run, command, tmp_path):
    make_images(tmp_path / "other/train", ("green", "red"), 5, seed=1)
    shutil.copytree(tmp_path / "other/train", tmp_path / "other/test")
    assert json.loads(command("evaluate", run.path, tmp_path / "other", "--json").out)["images"]["scored"] == 20


def test_images_of_one_class(run, command, tmp_path):
    """What they tell is the recall of that class; what takes other classes is not said."""
    other = make_images(tmp_path / "other", ("green",), 6, seed=1)
    done = command("evaluate", run.path, other, "--json")
    assert (done.status, done.err) == (0, "")
    scores = json.loads(done.out)["metrics"]["all"]
    right = scores["confusion"][run.classes.index("green")][run.classes.index("green")]
    nothing = {"precision": None, "recall": None, "f1": None, "support": 0}
    assert scores["per_class"] == {
        "blue": nothing,
        "green": nothing | {"recall": right / 6, "support": 6},
        "red": nothing,
    }
    assert scores["macro_f1"] is None
    shown = command("evaluate", run.path, other).out
    assert shown.startswith(f"all         recall of green {right / 6:.3f} [")
    assert "precision and macro F1 cannot be said" in shown


def test_the_record_of_other_images_and_its_page(run, command, images, tmp_path):
    """The page was null: `reports` did not know the kind."""
    other = make_images(tmp_path / "other", ("green", "red"), 5, seed=1)
    for file in sorted((images / "green").iterdir()):
        shutil.copy(file, other / "green" / f"own-{file.name}")
    (other / "red" / "broken.jpg").write_bytes(b"no image")
    done = command("evaluate", run.path, other, "--out", tmp_path / "record", "--include-seen", "--json")
    assert (done.status, done.err) == (0, "")
    said = json.loads(done.out)
    assert said["page"] == str(tmp_path / "record" / "report.html")
    manifest, metrics, table = (
        read_json(tmp_path / "record" / "manifest.json"),
        read_json(tmp_path / "record" / "metrics.json"),
        read_table(tmp_path / "record" / "predictions.csv", ("path", "split", "label", "predicted", "confidence")),
    )
    assert (manifest["kind"], manifest["status"], manifest["run"]) == ("evaluation", "finished", str(run.path))
    assert (manifest["images"], manifest["options"]) == (said["images"], {"include_seen": True})
    assert sum(manifest["left_out"].values()) == manifest["images"]["left_out"] == 1
    assert metrics["all"] == said["metrics"]["all"]
    assert (metrics["all"]["n"], metrics["new"]["n"]) == (manifest["images"]["scored"], 10)
    assert metrics["test"] == run.metrics["test"]
    fresh = table[table["split"] == "new"]
    assert (fresh["label"] == fresh["predicted"]).mean() == metrics["new"]["accuracy"]
    known = dict(zip(run.samples["path"], run.samples["split"], strict=True))
    own = table[table["split"] != "new"]
    assert all(split == known[path.replace("own-", "")] for path, split in zip(own["path"], own["split"], strict=True))
    properties = [row["property"] for row in metrics["drift"]]
    assert properties[:2] == ["confidence", "brightness"]
    page = (tmp_path / "record" / "report.html").read_text(encoding="utf-8")
    assert f"{round(metrics['new']['accuracy'] * 10)} of 10 right, all new to the run" in page
    assert "data:image/jpeg;base64," in page
    assert "Beside test" in page
    shown = command("evaluate", run.path, other, "--out", tmp_path / "record")
    assert f"Page: {said['page']}" in shown.out
    assert f"1 files are left out (1 {next(iter(manifest['left_out']))}): `transferkit inspect {other}`" in shown.out
    (tmp_path / "record" / "report.html").unlink()
    assert command("report", tmp_path / "record").out == f"Page: {said['page']}\n"


def test_copies_say_nothing_new_about_what_differs(run, command, tmp_path):
    """Each image eight times over made every difference of the ten look certain."""
    found = {}
    other = make_images(tmp_path / "other", ("green", "red"), 5, seed=1)
    for times in (1, 8):
        for file in [*other.rglob("0*.jpg")] if times > 1 else []:
            for number in range(1, times):
                shutil.copy(file, file.with_name(f"copy{number}-{file.name}"))
        record = tmp_path / f"record{times}"
        assert command("evaluate", run.path, other, "--out", record).status == 0
        found[times] = read_json(record / "metrics.json")
    assert (found[8]["new"]["n"], found[8]["new"]["n_effective"]) == (80, 10)
    assert found[8]["drift"] == [pytest.approx(row) for row in found[1]["drift"]]
    assert any(row["p_value"] > 0.05 for row in found[8]["drift"])


def test_how_other_images_were_understood_is_said(run, command, tmp_path):
    """As `train` says it, on standard error."""
    other = make_images(tmp_path / "other", ("green", "red"), 2, seed=1)
    shutil.copytree(run.path, other / "run")
    done = command("evaluate", run.path, other)
    assert done.status == 0
    found = load_samples(str(other))
    assert found.tree
    assert found.warnings
    for line in (*found.tree, *(f"warning: {warning}" for warning in found.warnings)):
        assert line in done.err


def test_the_images_of_a_cross_validated_run_are_compared_with_its_folds(copied, command, tmp_path):
    """It measured itself on no test split, and was compared with nothing."""
    metrics, predictions = copied.metrics, copied.predicted
    copied.write_metrics(metrics | {"out-of-fold": metrics["test"], "test": metrics["test"] | {"n": 0}})
    folded = predictions.assign(split=predictions["split"].replace("test", "out-of-fold"))
    copied.write_predictions(folded)
    other = make_images(tmp_path / "other", ("green", "red"), 3, seed=1)
    assert command("evaluate", copied.path, other, "--out", tmp_path / "record").status == 0
    recorded = read_json(tmp_path / "record" / "metrics.json")
    assert (set(recorded), recorded["out-of-fold"]) == ({"all", "new", "out-of-fold", "drift"}, metrics["test"])
    assert recorded["drift"]


def test_images_that_have_moved(copied, command, refused, images, tmp_path):
    moved = shutil.copytree(images, tmp_path / "moved")
    config = copied.path / "config.toml"
    config.write_text(config.read_text(encoding="utf-8").replace(str(images), str(tmp_path / "gone")), encoding="utf-8")
    message = refused("evaluate", copied.path)
    assert f"transferkit evaluate {copied.path} --data FOLDER" in message
    said = json.loads(command("evaluate", copied.path, "--data", moved, "--json").out)
    assert said["as_recorded"] is True
    next((moved / "green").iterdir()).unlink()
    assert "no longer those of" in refused("evaluate", copied.path, "--data", moved)


def test_options_of_other_images_need_other_images(run, refused, images):
    for option in (("--include-seen",), ("--conflicts", "drop"), ("--out", "there")):
        assert "transferkit evaluate RUN DATA" in refused("evaluate", run.path, *option)
    assert "--data is the place of the run's own" in refused("evaluate", run.path, images, "--data", images)


def test_python_says_what_the_command_says(run, images):
    with pytest.raises(kit.UserError, match="must be one of refuse, drop"):
        kit.evaluate(run, images, conflicts="perhaps")
    done = kit.evaluate(run, images)
    assert done["images"]["scored"] == done["all"]["n"] == run.metrics["test"]["n"]
    assert kit.evaluate(run, moved=images) == {split: run.metrics[split] for split in ("train", "validation", "test")}


def test_what_is_refused(run, refused, tmp_path):
    strange = make_images(tmp_path / "strange", ("green", "violet"), 3)
    assert "also has violet" in refused("evaluate", run.path, strange)
    assert "There is no " in refused("evaluate", run.path, "nowhere")
    assert "nowhere is not a folder" in refused("evaluate", "nowhere")
    assert "is not a run folder" in refused("evaluate", strange)
    assert "openvino" in refused("evaluate", run.path, "--backend", "openvino")


def test_a_run_without_its_model_or_with_a_damaged_one(copied, refused):
    whole = copied.model_path.read_bytes()
    copied.model_path.write_bytes(whole[: len(whole) // 2])
    assert "model.keras cannot be loaded" in refused("evaluate", copied.path)
    copied.model_path.unlink()
    assert "it has no model yet" in refused("evaluate", copied.path)
    copied.model_path.write_bytes(whole)
    change_manifest(copied, status="interrupted")
    assert f"transferkit train --resume {copied.path}" in refused("evaluate", copied.path)


def test_images_that_are_no_longer_those_of_the_run(copied, refused):
    change_manifest(copied, data=copied.manifest["data"] | {"fingerprint": "0" * 64})
    message = refused("evaluate", copied.path)
    assert "no longer those of" in message
    assert f"transferkit evaluate {copied.path} {copied.config.data.path}" in message
    assert f"transferkit evaluate {copied.path} --data FOLDER" in message
