"""Folders as people have them: splits by meaning, wrappers, unlabelled images, leftovers, transferkit's own records."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.data import folders, listing
from kit.data.labels import look_alikes, require_learnable
from kit.data.sources import load_samples
from kit.errors import DataError

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/fixtures"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "elsewhere"))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def fill(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def listed(root: Path) -> list[tuple]:
    return [(sample.path, sample.label, sample.split) for sample in load_samples(str(root)).samples]


# === Splits by meaning ===


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("Training", "Testing", "test"),
        ("TRAIN", "Validation", "validation"),
        ("seg_train", "seg_test", "test"),
        ("train", "dev", "validation"),
        ("train", "eval", "validation"),
        ("TrainSet", "valid_set", "validation"),
        ("01-train", "02-holdout", "test"),
        ("trainImages", "testImages", "test"),
    ],
)
def test_split_folders_are_known_by_their_meaning(root, train, other, split):
    """Training/ beside Testing/ was once a model that told Testing from Training."""
    fill(root, *(f"{part}/{label}/{part}{n}.jpg" for part in (train, other) for label in ("a", "b") for n in (1, 2)))
    found = load_samples(str(root))
    assert (found.kind, found.classes) == ("splits", ("a", "b"))
    assert {sample.split for sample in found.samples if sample.path.startswith(f"{train}/")} == {"train"}
    assert {sample.split for sample in found.samples if sample.path.startswith(f"{other}/")} == {split}
    assert list(found.tree) == [
        "photos/: split folders",
        f"  photos/{train}/ = train: 2 class folders, 4 files: a 2, b 2",
        f"  photos/{other}/ = {split}: 2 class folders, 4 files: a 2, b 2",
    ]


def test_eval_beside_val_is_the_test_split(root):
    fill(root, *(f"{part}/{label}/1.jpg" for part in ("train", "val", "eval") for label in "ab"))
    assert {split for path, _, split in listed(root) if path.startswith("eval")} == {"test"}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "tram", "bus"),
        ("train", "test", "bus"),
        ("passenger_train", "freight_train"),
        ("train_station", "test_track", "bus_stop"),
        ("running", "training", "resting"),
    ],
)
def test_vehicles_and_the_like_stay_classes(root, names):
    fill(root, *(f"{name}/{n}.jpg" for name in names for n in (1, 2)))
    found = load_samples(str(root))
    assert (found.kind, found.classes) == ("folder", tuple(sorted(names)))


def test_splits_that_hold_other_classes_are_refused_before_training(root):
    fill(root, "train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/c/2.jpg")
    with pytest.raises(DataError, match=r"no training images of 'c' \(validation\).*cannot be learned") as caught:
        require_learnable(load_samples(str(root)))
    assert "Add images of it to train" in caught.value.hint


def test_wrapper_folders_are_stepped_into(root):
    """Of the Intel scenes: seg_train/seg_train/<classes>, and seg_pred/seg_pred/ without labels."""
    fill(root, *(f"{part}/{part}/{label}/1.jpg" for part in ("seg_train", "seg_test") for label in ("sea", "street")))
    fill(root, "seg_pred/seg_pred/7.jpg", "seg_pred/seg_pred/8.jpg")
    found = load_samples(str(root))
    assert found.classes == ("sea", "street")
    assert {sample.split for sample in found.samples} == {"train", "test"}
    assert "  photos/seg_test/seg_test/ = test: 2 class folders, 2 files: sea 1, street 1" in found.tree
    (warning,) = found.warnings
    assert warning.startswith(f"{root / 'seg_pred'} holds 2 images without labels")
    assert f"`transferkit predict RUN {root / 'seg_pred'}`" in warning


def test_a_single_folder_around_everything_is_stepped_into(root):
    fill(root, "archive/flowers/a/1.jpg", "archive/flowers/b/2.jpg", "archive/readme.txt", "loose.jpg")
    found = load_samples(str(root))
    assert [sample.path for sample in found.samples] == ["archive/flowers/a/1.jpg", "archive/flowers/b/2.jpg"]
    assert found.tree == ("photos/archive/flowers/: 2 class folders, 2 files: a 1, b 1",)
    assert found.warnings == (f"Left out for want of a label: 1 image beside the class folders of {root}.",)


@pytest.mark.parametrize("folder", ["test", "test/unknown", "test/images", "Test/test"])
def test_an_unlabelled_test_folder_is_left_out_with_a_word(root, folder):
    fill(root, "train/a/1.jpg", "train/b/2.jpg", f"{folder}/3.jpg", f"{folder}/4.jpg")
    found = load_samples(str(root))
    assert {sample.split for sample in found.samples} == {"train"}
    assert found.classes == ("a", "b")
    assert "predict them later: `transferkit predict RUN" in found.warnings[0]
    assert any("2 images without labels, left out" in line for line in found.tree)


def test_validation_images_without_class_folders_are_refused(root):
    """Of Tiny ImageNet: val/images/*.JPEG with a file of annotations."""
    fill(root, "train/n01/images/1.JPEG", "train/n02/images/2.JPEG", "val/images/3.JPEG", "val/val_annotations.txt")
    with pytest.raises(DataError, match=r"val holds 1 image in no class folders") as caught:
        load_samples(str(root))
    assert "path,label,split" in caught.value.hint


def test_beside_splits_folders_without_images_are_left_out_and_others_refused(root):
    fill(root, "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "val/b/4.jpg", "annotations/a.xml")
    found = load_samples(str(root))
    assert len(found.samples) == 4
    assert found.warnings == ("photos/annotations/ holds no images and is left out.",)
    fill(root, "extra/5.jpg")
    with pytest.raises(DataError, match="also extra"):
        load_samples(str(root))


def test_splits_inside_the_class_folders_are_taken(root):
    fill(root, *(f"{label}/{part}/1.jpg" for label in ("daisy", "rose") for part in ("train", "test")))
    assert {(label, split) for _, label, split in listed(root)} == {
        *(("daisy", "train"), ("daisy", "test"), ("rose", "train"), ("rose", "test")),
    }


def test_folders_inside_class_folders_are_said_and_doubted_where_they_recur(root):
    fill(root, "rose/2019/1.jpg", "rose/2020/1.jpg", "daisy/close/up/2.jpg", "daisy/3.jpg")
    found = load_samples(str(root))
    assert found.tree[1] == "    folders inside belong to their class: daisy/ (close), rose/ (2019, 2020)"
    assert found.warnings == ()
    shutil.rmtree(root)
    fill(root, "fold1/a/1.jpg", "fold1/b/2.jpg", "fold2/a/3.jpg", "fold2/b/4.jpg")
    (warning,) = load_samples(str(root)).warnings
    assert "hold the same folders (a, b)" in warning


_NAMES = ("train", "Training", "seg_train", "test", "Testing", "val", "Valid", "dev", "bus", "tram", "images", "a", "b")


@given(
    st.lists(st.tuples(*(st.sampled_from(_NAMES) for _ in range(3)), st.sampled_from(["1.jpg", "2.png"])), min_size=1)
)
def test_every_image_is_taken_once_or_spoken_of(tmp_path_factory, shape):
    """Whatever the folders: an error with advice, or each file in one class, or a word about what is left out."""
    root = tmp_path_factory.mktemp("any")
    files = {"/".join(dict.fromkeys(parts)) for parts in shape}
    fill(root, *files)
    try:
        found = load_samples(str(root))
    except DataError:  # says what to do: tested above for each kind
        return
    paths = [sample.path for sample in found.samples]
    assert len(paths) == len(set(paths))
    assert set(paths) <= files
    assert set(paths) == files or found.warnings
    for sample in found.samples:
        assert sample.label in sample.path.split("/")[:-1]


# === Labels ===


def test_look_alike_classes_are_refused_and_shown_with_their_blanks(root):
    fill(root, *(f"{place}/{n}.jpg" for place in ("train/Daisy", "valid/daisy", "test/Daisy ") for n in (1, 2)))
    fill(root, *(f"{split}/rose/1.jpg" for split in ("train", "valid", "test")))
    with pytest.raises(DataError, match="differ only in case, blanks or Unicode form") as caught:
        require_learnable(load_samples(str(root)))
    assert "'Daisy' (train) and 'Daisy ' (test) and 'daisy' (validation)" in caught.value.what


def test_a_folder_without_images_is_no_class(root):
    fill(root, "a/1.jpg", "b/2.jpg", "annotations/1.xml", "annotations/2.xml")
    with pytest.raises(DataError, match="has no image of annotations"):
        require_learnable(load_samples(str(root)))


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        (["a", "A"], []),  # letters
        (["rose", "Rose"], [["Rose", "rose"]]),
        (["hot dog", "hot  dog "], [["hot  dog ", "hot dog"]]),
        (["caf\u00e9", "cafe\u0301"], [["cafe\u0301", "caf\u00e9"]]),
        (["A-", "A+", "A1"], []),
    ],
)
def test_names_that_look_alike(labels, alike):
    assert look_alikes(labels) == alike


# === What is no data ===


def test_what_systems_leave_behind_is_ignored_wherever_it_lies(root):
    fill(root, "a/1.jpg", "b/2.jpg")
    for name in ("@eaDir", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", ".ipynb_checkpoints", ".Trashes"):
        fill(root, f"{name}/9.jpg", f"a/{name}/9.jpg")
    assert [path for path, *_ in listed(root)] == ["a/1.jpg", "b/2.jpg"]


RECORDS = {
    "runs/photos-1/manifest.json": json.dumps({"schema_version": 1, "kind": "run", "status": "running"}),
    "runs/photos-1/insights/1.jpg": "",
    "runs/begun/.lock": "",
    "inspections/photos-1/manifest.json": json.dumps({"schema_version": 1, "kind": "inspection"}),
    "inspections/photos-1/thumbnails.jpg": "",
    "studies/one/study.toml": 'schema_version = 1\nkind = "study"\n',
    "studies/two/optuna.db": "",
    "handed/over/export.json": json.dumps({"schema_version": 1, "kind": "export"}),
    "handed/over/1.jpg": "",
    "three/seed-0/manifest.json": json.dumps({"schema_version": 1, "kind": "run"}),
    "three/seeds.json": json.dumps({"schema_version": 1, "kind": "seeds"}),
    "a/inside/manifest.json": json.dumps({"schema_version": 1, "kind": "run"}),
    "a/inside/9.jpg": "",
    "cache/stores/1.jpg": "",
}


@pytest.mark.parametrize("split", ["", "train/"])
def test_transferkits_own_records_are_no_data(root, monkeypatch, split):
    fill(root, f"{split}a/1.jpg", f"{split}b/2.jpg")
    if split:
        fill(root, "test/a/3.jpg", "test/b/4.jpg")
    before = listed(root)
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(root / "cache"))
    for path, content in RECORDS.items():
        place = root / (split + path if path.startswith("a/") else path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    assert listed(root) == before


def test_records_of_version_0_1_are_known(root):
    shutil.copytree(FIXTURES, root, dirs_exist_ok=True)
    assert {path.split("/")[0] for path, *_ in listed(root)} == {"flowers"}
    assert len(listed(root)) == 60
    for record in ("run-0.1", "killed-run-0.1", "study-0.1"):
        with pytest.raises(DataError, match="what transferkit recorded of a"):
            load_samples(str(root / record))


def test_every_kind_of_record_that_is_written_is_known():
    code = "".join(file.read_text() for part in ("kit", "search") for file in (ROOT / part).rglob("*.py"))
    written = set(re.findall(r"\"kind\": \"([a-z-]+)\"", code))
    known = {kind for kinds in listing.RECORDS.values() for kind in kinds}
    # trials.json lies in a study, benchmark.json and abstention.json in a run; drawn images, the demo's folder are data
    assert written - {"trials", "benchmark", "abstention", "demo-data", "demo"} <= known


def test_folders_without_a_single_image_are_no_data(root):
    """Once found out after the weights were downloaded."""
    fill(root, "a/1.txt", "b/2.xml")
    with pytest.raises(DataError, match="holds no images: none of its 2 files is one"):
        load_samples(str(root))


def test_a_record_itself_is_refused_as_data(root):
    fill(root, "a/1.jpg", "b/2.jpg")
    (root / "manifest.json").write_text(RECORDS["runs/photos-1/manifest.json"])
    with pytest.raises(DataError, match="recorded of a run"):
        load_samples(str(root))


def test_other_peoples_manifests_are_no_records(root):
    fill(root, "a/1.jpg", "b/2.jpg", "b/optuna.jpg")
    (root / "a/manifest.json").write_text('{"kind": "run"}')
    (root / "b/manifest.json").write_text("[]")
    (root / "b/demo-data.json").write_text('{"schema_version": 1, "kind": "demo-data"}')
    assert {label for _, label, _ in listed(root)} == {"a", "b"}


# === Listing ===


def test_each_folder_is_listed_once_and_no_file_is_opened(root, monkeypatch):
    fill(root, *(f"{part}/{label}/{n}.jpg" for part in ("train", "test") for label in "ab" for n in range(5)))
    scanned = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: scanned.append(str(folder)) or scan(folder))
    monkeypatch.setattr("builtins.open", lambda *args, **options: pytest.fail(f"{args[0]} was opened"))
    found = folders.read_folder(root, "photos")
    monkeypatch.undo()
    assert len(found.samples) == 20
    assert len(scanned) == len(set(scanned)) == 7


def test_files_are_images_by_name_or_by_content(root):
    from PIL import Image

    image = Image.new("RGB", (8, 8))
    for name in ("a.jpg", "b.JPG", "c.jfif", "d.jpe", "f.jpg_large"):
        image.save(root / name, "JPEG")
    image.save(root / "without", "PNG")
    image.save(root / "g.jp2", "JPEG2000")
    image.save(root / "h.ppm", "PPM")
    (root / "IMG_0001.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (root / "phone").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (root / "empty.png").touch()
    fill(root, "notes.txt", "P")
    (root / "nothing").touch()
    assert {file.name for file in root.iterdir() if not listing.looks_like_image(file)} == {"notes.txt", "P", "nothing"}
