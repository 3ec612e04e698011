"""The Python API: what docs/python-api.md promises."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kit
from kit.data.images import decode
from kit.errors import ConfigError, DataError, StorageError
from kit.run_writer import RunWriter
from kit.setting_table import SHORTHANDS
from small_settings import SMALL

pytestmark = pytest.mark.once(backend="tensorflow")


@pytest.fixture(scope="module")
def run(images, toy_weights, tmp_path_factory):
    """A run made as in a notebook; never write into it."""
    seen = []
    out = tmp_path_factory.mktemp("api") / "run"
    run = kit.train(images, out, weights=toy_weights, on_epoch=seen.append, **SMALL)
    assert [len(history) for history in seen] == [1, 2, 3]
    return run


def test_importing_the_packages_imports_neither_a_backend_nor_optuna(run_python):
    code = """
import sys, kit, search, reports
kit.configure, kit.UserError, dir(kit)
assert not {"keras", "jax", "tensorflow", "optuna", "plotly"} & set(sys.modules), sorted(sys.modules)
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr


def test_names_that_are_not_there_are_attribute_errors():
    import reports
    import search

    for package in (kit, search, reports):
        assert all(getattr(package, name) for name in package.__all__)
        with pytest.raises(AttributeError, match="nonsense"):
            package.nonsense  # noqa: B018


def test_settings_are_the_options_of_the_command_line(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text("seed = 3\n[model]\nhead_units = 64\n")
    config = kit.configure("photos", file=file, views=2, head_units=32, sets=["model.dropout=0.25"])
    assert (config.data.path, config.seed, config.views.count) == ("photos", 3, 2)
    assert (config.model.head_units, config.model.dropout) == (32, 0.25)
    assert kit.configure(**{"training.monitor": "val_loss"}).training.monitor == "val_loss"
    assert set(SHORTHANDS.values()) & {"data.path"} == set()
    with pytest.raises(ConfigError, match=r"no setting learning_rte \(a keyword\)\.\n.*nearest is .*learning_rate"):
        kit.configure("photos", learning_rte=1e-3)


def test_the_environment_is_not_read(monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_SEED", "7")
    assert kit.configure("photos").seed == 0


def test_a_whole_configuration_takes_nothing_beside_it():
    with pytest.raises(ConfigError, match=r"and views beside it\.\n.*kit.configure"):
        kit.train(kit.configure("photos"), views=2)


def test_a_trained_run_predicts_as_its_record_says(run, images):
    assert run.classes == ("blue", "green", "red")
    recorded = run.predictions.query("split == 'test'").set_index("path")
    files = [images / path for path in recorded.index]
    predicted = run.predict(files)
    assert [one.label for one in predicted] == list(recorded["predicted"])
    assert [one.path for one in predicted] == list(map(str, files))
    one = run.predict(str(files[0]))
    assert one.label == predicted[0].label
    assert one.probabilities == pytest.approx(predicted[0].probabilities, abs=1e-6)


def test_the_model_of_a_run_is_keras_own_and_answers_alike(run, images):
    import keras

    file = images / "red/0000.jpg"
    expected = run.predict(file).probabilities
    assert isinstance(run.model, keras.Model)
    assert run.model is run.model
    assert {type(layer).__module__.partition(".")[0] for layer in run.model.layers} == {"keras"}
    pixels = decode(file, run.config.data)
    assert run.model.predict(pixels[None], verbose=0)[0] == pytest.approx(expected, abs=1e-5)


def test_a_run_does_what_the_commands_do(run, images, tmp_path):
    import shutil

    own = kit.load_run(shutil.copytree(run.path, tmp_path / "run"))
    assert own.evaluate()["test"]["accuracy"] == run.metrics["test"]["accuracy"]
    assert own.evaluate(images, include_seen=True)["images"] == kit.evaluate(run, images, include_seen=True)["images"]
    own.report_path.unlink()
    assert own.report() == own.report_path
    assert "Accuracy and loss" in own.report_path.read_text(encoding="utf-8")
    assert own.export("keras").is_dir()
    assert (own.path / "exports/keras/export.json").exists()
    assert "finished, test accuracy" in repr(own)
    with pytest.raises(kit.UserError, match="format"):
        own.export("floppy")


def test_a_run_loaded_again_is_the_same(run, images):
    again = kit.load_run(str(run.path))
    assert again == run
    assert again.predict([images / "red"]) == run.predict([f"{images}/red/*.jpg"])
    assert kit.resume(again) == run
    assert kit.evaluate(again)["test"] == {
        key: value for key, value in run.metrics["test"].items() if key in kit.evaluate(again)["test"]
    }


def test_evaluate_with_a_threshold_counts_the_answers(run, images):
    """Of its own images and of others; mirrored as well."""
    sure = run.predictions.query("split == 'test'")["confidence"]
    threshold = float(sure.median())
    own = kit.evaluate(run, threshold=threshold)["answered"]["test"]
    assert (own["n"], own["answered"]) == (len(sure), (sure >= threshold).sum())
    others = [run.evaluate(images, include_seen=True, threshold=threshold, tta=tta) for tta in (False, True)]
    assert [one["answered"]["all"]["n"] for one in others] == [others[0]["images"]["scored"]] * 2
    assert others[0]["all"]["log_loss"] != others[1]["all"]["log_loss"]
    assert "answered" not in kit.evaluate(run)
    for wrong in ({"threshold": 83}, {"threshold": "high"}, {"tta": True}):
        with pytest.raises(kit.UserError, match=next(iter(wrong))):
            kit.evaluate(run, **wrong)


def test_what_cannot_be_predicted_is_one_message(run, images, tmp_path):
    torn = tmp_path / "torn.jpg"
    torn.write_bytes((images / "red/0000.jpg").read_bytes()[:300])
    with pytest.raises(DataError, match=r"torn\.jpg cannot be read"):
        run.predict(torn)
    assert run.predict([torn])[0].problem
    with pytest.raises(DataError, match=r"is a folder\.\n.*in a list"):
        run.predict(images)
    with pytest.raises(DataError, match=r"nowhere\.jpg is not a file"):
        run.predict("nowhere.jpg")
    with pytest.raises(StorageError, match="is not a run folder"):
        kit.load_run(images)


def as_pixels(file):
    with Image.open(file) as image:
        return np.asarray(image)


def test_images_in_memory_are_predicted_as_their_files(run, images, tmp_path):
    """Pixels, bytes, Pillow's images in any mode, and lists of them: what a file of the same pixels gives."""
    plain = tmp_path / "plain.png"
    Image.fromarray(as_pixels(images / "red/0000.jpg")).save(plain)
    turned = tmp_path / "turned.jpg"
    with Image.open(images / "green/0000.jpg") as image:
        image.getexif()[0x0112] = 6
        image.save(turned, exif=image.getexif(), quality=95)
    grey, clear, cmyk = tmp_path / "grey.png", tmp_path / "clear.png", tmp_path / "cmyk.tif"
    Image.open(plain).convert("L").save(grey)
    cut = Image.open(plain).convert("RGBA")
    cut.putalpha(Image.fromarray(np.tile(np.arange(cut.width, dtype=np.uint8), (cut.height, 1))))
    cut.save(clear)
    Image.open(plain).convert("CMYK").save(cmyk)
    for file in (plain, turned, grey, clear, cmyk):
        expected = run.predict(file)
        assert run.predict(file.read_bytes()).probabilities == expected.probabilities
        with Image.open(file) as image:
            found = run.predict(image)
        # a JPEG file may be decoded at a fraction of its size
        assert found.probabilities == pytest.approx(expected.probabilities, abs=0.02 if file is turned else 1e-6)
    for file in (plain, grey, clear):
        assert run.predict(as_pixels(file)).probabilities == run.predict(file).probabilities
    several = run.predict([plain, as_pixels(plain), plain.read_bytes()])
    assert [one.path for one in several] == [str(plain), "<image 1>", "<image 2>"]
    assert len({one.probabilities for one in several}) == 1
    stacked = run.predict(np.stack([as_pixels(plain)] * 2))
    assert [one.label for one in stacked] == [several[0].label] * 2
    assert run.predict([b"no image"])[0].problem.startswith("not-an-image")


def test_a_table_gives_one_prediction_a_row(run, images):
    files = [str(images / path) for path in ("red/0000.jpg", "blue/0000.jpg", "red/0000.jpg")]
    expected = [run.predict(file).label for file in files]
    table = pd.DataFrame({"Image": files, "width": [1, 2, 3]}, index=[7, 8, 9])
    assert [one.label for one in run.predict(table)] == expected
    assert [one.label for one in run.predict(table["Image"])] == expected
    gone = run.predict(pd.DataFrame({"path": [files[0], "gone.jpg"]}))
    assert [bool(one.problem) for one in gone] == [False, True]


def test_an_open_file_is_its_bytes(run, images):
    file = images / "green/0000.jpg"
    with open(file, "rb") as opened:
        assert run.predict(opened).probabilities == run.predict(file.read_bytes()).probabilities
    with open(file, "rb") as opened:
        assert [one.label for one in run.predict([opened, str(file)])] == [run.predict(file).label] * 2


def test_answers_of_an_image_and_its_mirror_image_are_averaged(run, images):
    file = images / "green/0000.jpg"
    with Image.open(file) as image:
        mirrored = Image.fromarray(np.asarray(image)[:, ::-1])
        plain, other, both = run.predict(image), run.predict(mirrored), run.predict(image, tta=True)
    mean = (np.array(plain.probabilities) + np.array(other.probabilities)) / 2
    # resampling is not mirrored to the bit
    assert both.probabilities == pytest.approx(mean, abs=0.01)
    assert run.predict([file], tta=True)[0].probabilities == pytest.approx(both.probabilities, abs=0.02)


WRONG = {
    "array": np.zeros((4, 4)),
    "vector": np.arange(3),
    "empty array": np.zeros((0, 4, 3), np.uint8),
    "image": Image.new("RGB", (4, 4)),
    "bytes": b"bytes",
    "table": pd.DataFrame({"path": ["a.jpg", "b.jpg"]}),
    "column": pd.Series(["a.jpg", "b.jpg"]),
    "number": 3,
    "none": None,
    "list": [3, None],
    "mapping": {"a": 1},
    "object": object(),
    "empty": "",
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_bad_input_of_any_kind_is_a_user_error(run, value):
    """And never a TypeError, or "truth value is ambiguous"."""
    import reports
    import search

    calls = [
        lambda: kit.train(value, weights="none"),
        lambda: kit.load_run(value),
        lambda: kit.resume(value),
        lambda: kit.evaluate(value),
        lambda: kit.train("nowhere", weights=value),
        lambda: kit.train("nowhere", views=value),
        lambda: search.run_study(value, trials=1),
        lambda: reports.write_report(value),
    ]
    if value is not None:
        calls += [lambda: kit.evaluate(run, value), lambda: kit.configure("photos", file=value)]
        calls += [lambda: kit.train("nowhere", out=value), lambda: kit.evaluate(run, moved=value)]
    if not isinstance(value, Image.Image):
        calls.append(lambda: run.predict(value))
    for call in calls:
        with pytest.raises(kit.UserError):
            call()


def test_a_table_or_wrong_pixels_are_told_what_to_give_instead(run):
    with pytest.raises(DataError, match=r"None of the table's 2 files is there; the first is a\.jpg\."):
        run.predict(WRONG["table"])
    with pytest.raises(DataError, match=r"columns is one of paths: a, b\.\nCall it path"):
        run.predict(pd.DataFrame({"a": [1], "b": [2]}))
    with pytest.raises(DataError, match=r"gives text\.\n.*'rb'"), open(__file__, encoding="utf-8") as text:
        run.predict(text)
    with pytest.raises(DataError, match=r"not float64 \(4, 4\)\.\n.*astype\('uint8'\)"):
        run.predict(np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"came without labels\.\n.*images and labels"):
        kit.train(np.zeros((4, 4, 4, 3), np.uint8))


def test_a_dtype_policy_of_the_notebook_does_not_leak_in(images, toy_weights, tmp_path):
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        run = kit.train(images, tmp_path / "run", weights=toy_weights, **SMALL)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert b"bfloat16" not in zipfile.ZipFile(run.model_path).read("config.json")
        assert run.predict(images / "red/0000.jpg").label
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


def test_numbers_of_numpy_are_settings(tmp_path):
    config = kit.configure(
        "photos",
        views=np.int64(2),
        dropout=np.float32(0.25),
        strict=np.bool_(True),
        seed=np.uint32(7),
        **{"data.background": np.array([1, 2, 3], np.uint8), "split.train": np.float64(0.7)},
    )
    assert config == kit.configure(
        "photos", views=2, dropout=0.25, strict=True, seed=7, **{"data.background": (1, 2, 3), "split.train": 0.7}
    )
    assert type(config.views.count) is int
    with pytest.raises(ConfigError, match=r"must be a whole number, not 2\.5"):
        kit.configure("photos", views=np.float64(2.5))


def test_an_unfinished_run_tells_its_record_but_predicts_nothing(tmp_path):
    RunWriter.create(tmp_path / "run", kit.configure("photos"))
    run = kit.load_run(tmp_path / "run")
    assert run.config.data.path == "photos"
    with pytest.raises(StorageError, match="not finished"):
        run.predict(Path(__file__))


def test_a_run_shows_what_one_does_with_it_and_not_how_it_is_written(tmp_path):
    RunWriter.create(tmp_path / "run", kit.configure("photos"))
    shown = {name for name in dir(kit.load_run(tmp_path / "run")) if not name.startswith("_")}
    assert {"predict", "evaluate", "export", "report", "figures", "model", "metrics", "history"} <= shown
    writing = {"create", "lock", "require_vacant", "remove_leftovers", "update_manifest"}
    assert not writing & (shown | set(dir(kit.Run)))
    assert [name for name in shown if name.startswith("write")] == []


@pytest.mark.full
def test_a_study_and_its_page(images, toy_weights, tmp_path):
    import search

    space = tmp_path / "space.toml"
    space.write_text(
        "[model]\nhead_units = { low = 8, high = 16 }\n[phases.1]\nunfreeze_depth = { low = 1, high = 2 }\n"
    )
    config = kit.configure(images, weights=toy_weights, **SMALL)
    study = search.run_study(config, trials=2, out=tmp_path / "study", space=space)
    assert study.path == tmp_path / "study"
    assert study.record.counts.finished == 2
    assert study.page == study.path / "report.html"
    assert study.best.run.predict(images / "red/0000.jpg").label in study.best.run.classes
    again = search.run_study(config, trials=2, out=tmp_path / "study", space=space)
    assert again.record.trials == study.record.trials
    assert again.best == study.best


def test_reports_of_one_record_and_of_several(run, tmp_path):
    import shutil

    import reports

    other = tmp_path / "other"
    shutil.copytree(run.path, other)
    page = reports.write_report(run, tmp_path / "one.html", grid=4)
    assert page == tmp_path / "one.html"
    scores = run.metrics["test"]
    assert f"{round(scores['accuracy'] * scores['n'])} of {scores['n']} right" in page.read_text(encoding="utf-8")
    assert reports.write_report([run, other], tmp_path / "two.html").exists()
    for given, complaint in (([], "No record"), ([run, run.path], "given twice"), ([tmp_path], "is not a record")):
        with pytest.raises(kit.UserError, match=complaint):
            reports.write_report(given, tmp_path / "none.html")
    with pytest.raises(ConfigError, match="grid must be from 1 to 96, not 0"):
        reports.write_report(run, grid=0)
