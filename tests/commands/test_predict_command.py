"""`transferkit predict`: which files it takes, what it says of them, in three forms."""

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kit.csv_tables import unescape_cell
from kit.data.pixels import cached_pixels
from kit.errors import ConfigError, DataError
from kit.predict import Predictor, find_images


@pytest.fixture
def folder(images, tmp_path) -> Path:
    """Images as people name them, and what is none."""
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    for place in ("a.jpg", "deep/b.JPEG", "=1+1.jpg", 'with, "quotes".jpg', "[1].jpg", ".hidden.jpg"):
        shutil.copy(images / "red/0000.jpg", folder / place)
    (folder / "notes.txt").write_text("no image")
    return folder


# === What it says ===


def test_json_agrees_with_what_the_run_recorded(run, images, command):
    done = command("predict", run.path, images, "--json")
    assert (done.status, done.err) == (0, "")
    said = json.loads(done.out)
    assert said["run"] == str(run.path)
    recorded = run.predictions.set_index("path")
    columns = [name for name in recorded.columns if name.startswith("p_")]
    classes = [name.removeprefix("p_") for name in columns]
    assert len(said["predictions"]) == 72
    for one in said["predictions"]:
        assert list(one["probabilities"]) == classes
        found = np.array(list(one["probabilities"].values()))
        row = recorded.loc[Path(one["path"]).relative_to(images).as_posix(), columns].to_numpy(np.float64)
        # the run read float16 activations from its stores; predict passes whole images through the network
        np.testing.assert_allclose(found, row, atol=0.01)
        assert found.sum() == pytest.approx(1)
        assert one["confidence"] == found.max()
        assert one["label"] == classes[int(found.argmax())]


def test_with_tta_the_answer_is_the_mean_of_image_and_mirror_image(run, images, command, tmp_path):
    file, mirrored = images / "red/0003.jpg", tmp_path / "mirrored.png"
    with Image.open(file) as image:
        image.resize((48, 48)).save(tmp_path / "plain.png")
        image.resize((48, 48)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)

    def told(*options: str) -> list[np.ndarray]:
        done = command("predict", run.path, tmp_path / "plain.png", mirrored, "--json", *options)
        assert (done.status, done.err) == (0, "")
        return [np.array(list(one["probabilities"].values())) for one in json.loads(done.out)["predictions"]]

    plain, both = told(), told("--tta")
    assert not np.allclose(*plain, atol=1e-4)
    for one in both:
        np.testing.assert_allclose(one, (plain[0] + plain[1]) / 2, atol=1e-6)


def test_tta_is_refused_where_left_and_right_mean_something(run, tmp_path, images, refused):
    other = shutil.copytree(run.path, tmp_path / "run")
    config = other / "config.toml"
    config.write_text(config.read_text().replace("flip = true", "flip = false"))
    said = refused("predict", other, images / "red/0000.jpg", "--tta")
    assert "without mirrored views" in said
    assert "Leave --tta out" in said


def test_the_pixels_are_those_of_training(run, images):
    files = sorted(images.rglob("*.jpg"))[::9]
    from kit.files import sha256_file

    keys = [sha256_file(file) for file in files]
    config = run.config
    (trained,) = cached_pixels(files, keys, (0,), config)
    seen = []

    def forward(block):
        seen.append(block.copy())
        return np.full((len(block), 3), 1 / 3, np.float32)

    predictor = Predictor(("blue", "green", "red"), config.data, forward)
    assert len(list(predictor.predict(files))) == len(files)
    np.testing.assert_array_equal(seen[0][: len(files)], trained[:])


def test_the_table_names_the_class_and_the_next(run, images, command):
    one = json.loads(command("predict", run.path, images / "red/0000.jpg", "--json").out)["predictions"][0]
    done = command("predict", run.path, images / "red/0000.jpg")
    assert (done.status, done.err) == (0, "")
    second, third = sorted(set(one["probabilities"]) - {one["label"]}, key=lambda name: -one["probabilities"][name])
    assert done.out == (
        f"{images / 'red/0000.jpg'}  {one['label']} {one['confidence']:.3f}  "
        f"({second} {one['probabilities'][second]:.3f}, {third} {one['probabilities'][third]:.3f})\n"
    )


def test_csv_has_a_row_a_file_and_spreadsheets_run_nothing(run, folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    done = command("predict", run.path, ".", "--csv")
    assert (done.status, done.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [unescape_cell(row["path"]) for row in rows] == [
        "=1+1.jpg",
        "[1].jpg",
        "a.jpg",
        "deep/b.JPEG",
        'with, "quotes".jpg',
    ]
    assert rows[0]["path"] == "'=1+1.jpg"
    assert len({row["confidence"] for row in rows}) == 1  # the same image under all names
    for row in rows:
        probabilities = {name: float(row[f"p_{name}"]) for name in ("blue", "green", "red")}
        assert float(row["confidence"]) == max(probabilities.values()) == probabilities[row["predicted"]]
        assert row["problem"] == ""


def test_below_a_threshold_the_answer_is_unsure_in_every_form(run, images, command):
    said = json.loads(command("predict", run.path, images, "--json").out)["predictions"]
    confidences = sorted(one["confidence"] for one in said)
    threshold = (confidences[20] + confidences[21]) / 2
    answers = ["unsure" if one["confidence"] < threshold else one["label"] for one in said]
    assert answers.count("unsure") == 21
    asked = ("predict", run.path, images, "--threshold", str(threshold))
    as_json = json.loads(command(*asked, "--json").out)
    assert as_json["threshold"] == threshold
    assert [one["answer"] for one in as_json["predictions"]] == answers
    assert [one["label"] for one in as_json["predictions"]] == [one["label"] for one in said]
    rows = list(csv.DictReader(io.StringIO(command(*asked, "--csv").out)))
    assert [row["answer"] for row in rows] == answers
    assert [row["predicted"] for row in rows] == [one["label"] for one in said]
    lines = command(*asked).out.splitlines()
    assert [re.split(" {2,}", line)[1].split(" ")[0] for line in lines] == answers
    unsure = answers.index("unsure")
    assert f"unsure  ({said[unsure]['label']} {said[unsure]['confidence']:.3f}, " in lines[unsure]


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "high"])
def test_a_threshold_that_is_no_share_is_refused(run, command, images, threshold):
    done = command("predict", run.path, images, "--threshold", threshold)
    assert done.status == 2
    assert "--threshold" in done.err


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_unreadable_files_are_named_and_the_others_are_predicted(run, folder, command, form):
    (folder / "torn.jpg").write_bytes((folder / "a.jpg").read_bytes()[:400])
    (folder / "empty.png").touch()
    done = command("predict", run.path, folder, *form)
    assert done.status == 2
    assert "error: 2 of 7 files could not be read: " in done.err
    assert str(folder / "torn.jpg") in done.err
    assert str(folder / "empty.png") in done.err
    assert "notes.txt" not in done.err + done.out.partition('"passed_over"')[0]
    if form == ("--json",):
        said = json.loads(done.out)["predictions"]
        assert [Path(one["path"]).name for one in said if "problem" in one] == ["empty.png", "torn.jpg"]
        assert sum("label" in one for one in said) == 5
    elif form == ("--csv",):
        rows = list(csv.DictReader(io.StringIO(done.out)))
        assert [bool(row["problem"]) for row in rows].count(True) == 2
        assert all(bool(row["problem"]) != bool(row["predicted"]) for row in rows)
    else:
        assert len(done.out.splitlines()) == 7


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_cannot_steer_the_terminal(run, folder, command):
    hostile = os.fsdecode(b"\x1b[31mred\nline\xff.jpg")
    shutil.copy(folder / "a.jpg", folder / hostile)
    shown = command("predict", run.path, folder / hostile)
    assert shown.status == 0
    assert "\x1b" not in shown.out
    assert len(shown.out.splitlines()) == 1
    said = json.loads(command("predict", run.path, folder / hostile, "--json").out)
    assert said["predictions"][0]["path"] == str(folder / hostile)  # for machines, the name itself


# === The evidence ===


def test_a_picture_of_each_image_shows_the_evidence_beside_it(run, folder, command, tmp_path):
    shutil.copy(folder / "a.jpg", folder / "deep/A.jpg")
    Image.new("L", (30, 50)).save(folder / "black.png")
    (folder / "torn.jpg").write_bytes((folder / "a.jpg").read_bytes()[:400])
    plain = json.loads(command("predict", run.path, folder, "--json").out)["predictions"]
    done = command("predict", run.path, folder, "--explain", tmp_path / "why", "--json")
    said = json.loads(done.out)["predictions"]
    pictures = [one.pop("evidence", None) for one in said]
    assert said == plain
    assert [place for place, one in enumerate(said) if "problem" in one] == [pictures.index(None)]
    found = sorted(file.name for file in (tmp_path / "why").iterdir())
    assert sorted(Path(one).name for one in pictures if one) == found
    stems = ("1", "1-1", "a", "A-2", "b", "black", "with---quotes")
    assert found == sorted(f"{stem}.evidence.png" for stem in stems)
    for one, file in zip(said, pictures, strict=True):
        if file:
            with Image.open(file) as picture:
                image, heat = np.split(np.asarray(picture, int), 2, axis=1)
            assert (np.ptp(heat, axis=2) > 60).any(), one["path"]  # colour, on black too
            if one["path"].endswith("black.png"):
                assert image.max() == 0


def test_the_folder_for_pictures_is_no_file(run, folder, refused, command):
    assert "a file is in its place" in refused("predict", run.path, folder, "--explain", folder / "a.jpg")
    rows = list(csv.DictReader(io.StringIO(command("predict", run.path, folder, "--csv", "--explain", folder).out)))
    assert {Path(row["evidence"]).parent for row in rows} == {folder}
    assert all(Path(row["evidence"]).is_file() for row in rows)


def test_python_explains_any_class_of_any_image(run, images):
    from kit.explain import Explainer

    file = images / "red/0000.jpg"
    one = run.explain(file)
    assert one.label == one.prediction.label == run.predict(file).label
    other = next(name for name in run.classes if name != one.label)
    second = run.explain(np.asarray(Image.open(file)), other)
    assert second.label == other
    # places add up to what the head makes of the pooled features: the class that leads has more evidence
    assert one.evidence.mean() > second.evidence.mean()
    assert one.picture.size == (2 * 224, 224)
    assert one._repr_png_().startswith(b"\x89PNG")
    assert [each.prediction.path for each in run.explain([str(images / "red")])][:1] == [str(file)]
    with pytest.raises(ConfigError, match="no class 'rose'"):
        run.explain(file, "rose")
    with pytest.raises(DataError, match=r"explain\(\["):
        run.explain(images)
    assert isinstance(run._explainer, Explainer)


# === What it takes ===


def test_files_folders_and_globs_each_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = find_images(["a.jpg", "deep", "*.jpg", "**/*.JPEG", "[1].jpg"])
    assert [str(file) for file in found] == [
        *("a.jpg", "deep/b.JPEG", "=1+1.jpg", "[1].jpg", 'with, "quotes".jpg'),
    ]
    assert find_images(["notes.txt"]) == [Path("notes.txt")]  # named, so it is looked at and found to be none
    assert find_images([".hidden.jpg"]) == [Path(".hidden.jpg")]


def test_a_folder_is_searched_for_images_by_content_and_the_rest_is_counted(run, folder, command, tmp_path):
    """Of eight images by all their names two were once predicted, without a word of the others."""
    others = tmp_path / "others"
    others.mkdir()
    with Image.open(folder / "a.jpg") as image:
        for name in ("a.jpg", "b.JPG", "c.jfif", "d.jpe", "f.jpg_large", "without"):
            image.save(others / name, "JPEG")
        image.save(others / "g.jp2", "JPEG2000")
        image.save(others / "h.ppm", "PPM")
    (others / "notes.txt").write_text("no image")
    (others / "@eaDir").mkdir()
    (others / "@eaDir/a.jpg").write_bytes(b"thumbnail")
    done = command("predict", run.path, others)
    assert (done.status, len(done.out.splitlines())) == (0, 8)
    assert "Passed over, being no images: 1 .txt." in done.err
    assert json.loads(command("predict", run.path, others, "--json").out)["passed_over"] == [str(others / "notes.txt")]
    (others / "IMG_0001.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    done = command("predict", run.path, others)
    assert done.status == 2
    assert "IMG_0001.HEIC" in done.err
    assert "HEIC" in done.err.partition("IMG_0001.HEIC")[2]


@pytest.mark.parametrize("path", ["nowhere.jpg", "*.gif", "", "x" * 5000])
def test_what_names_nothing_is_refused(folder, monkeypatch, path):
    monkeypatch.chdir(folder / "deep")
    if path:  # where nothing is named, an image in the folder one is in must not be taken
        (folder / "deep/b.JPEG").unlink()
    with pytest.raises(DataError, match=r"There is no image at|cannot be looked at"):
        find_images([path])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_pipe_does_not_block(run, folder, command):
    os.mkfifo(folder / "pipe.jpg")
    done = command("predict", run.path, folder / "pipe.jpg", folder / "a.jpg")
    assert done.status == 2
    assert "not a regular file" in done.err
    assert "a.jpg" in done.out


def test_what_is_refused(run, refused, command, folder, tmp_path):
    assert "There is no image at" in refused("predict", run.path, "nowhere.jpg")
    assert "exclude each other" in refused("predict", run.path, folder, "--json", "--csv")
    assert "is not a run folder" in refused("predict", folder, folder)
    assert command("predict", run.path).status == 2
    half = Path(shutil.copytree(run.path, tmp_path / "half"))
    (half / "model.keras").unlink()
    assert "it has no model yet" in refused("predict", half, folder)


def test_of_a_study_the_best_run_answers(run, images, command, refused, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(run.path, study / "best")
    file = images / "red/0000.jpg"
    assert "is not a run folder" in refused("predict", study, file)
    (study / "study.toml").write_text("", encoding="utf-8")
    done = command("predict", study, file, "--json")
    assert done.status == 0, done.err
    assert (
        json.loads(done.out)["predictions"]
        == json.loads(command("predict", run.path, file, "--json").out)["predictions"]
    )
    assert f"its best run is taken: {study / 'best'}" in command("predict", study, file).err
