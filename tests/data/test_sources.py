"""Every layout a user may have becomes the same samples; everything else becomes one useful message."""

import csv
import io
import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.data import tables
from kit.data.sources import load_samples
from kit.errors import ConfigError, DataError


def fill(root: Path, *paths: str) -> Path:
    """Writes a small file at each path; sources do not look inside."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def listed(found) -> list[tuple]:
    return [(sample.path, sample.label, sample.split) for sample in found.samples]


def test_folder_of_class_folders(tmp_path):
    fill(tmp_path / "garden", "tulips/b.jpg", "tulips/deep/er/a.jpg", "roses/c.jpg", "roses/README.txt", "LICENSE.txt")
    found = load_samples(str(tmp_path / "garden"))
    assert (found.name, found.kind, found.classes) == ("garden", "folder", ("roses", "tulips"))
    assert listed(found) == [
        ("roses/README.txt", "roses", None),
        ("roses/c.jpg", "roses", None),
        ("tulips/b.jpg", "tulips", None),
        ("tulips/deep/er/a.jpg", "tulips", None),
    ]
    assert all(sample.file.is_absolute() and sample.file.is_file() for sample in found.samples)


def test_what_systems_leave_behind_is_ignored(tmp_path):
    fill(
        tmp_path, "a/1.jpg", "b/2.jpg", "a/.hidden.jpg", "a/Thumbs.db", "b/.DS_Store", "__MACOSX/a/1.jpg", ".git/x.jpg"
    )
    assert [path for path, *_ in listed(load_samples(str(tmp_path)))] == ["a/1.jpg", "b/2.jpg"]


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_split_folders(tmp_path, validation):
    fill(tmp_path, "train/a/1.jpg", "train/b/2.jpg", f"{validation}/a/3.jpg", "test/b/4.jpg")
    found = load_samples(str(tmp_path))
    assert found.kind == "splits"
    assert sorted(listed(found)) == sorted(
        [
            ("train/a/1.jpg", "a", "train"),
            ("train/b/2.jpg", "b", "train"),
            (f"{validation}/a/3.jpg", "a", "validation"),
            ("test/b/4.jpg", "b", "test"),
        ]
    )


def test_train_may_be_a_class(tmp_path):
    fill(tmp_path, "train/1.jpg", "bus/2.jpg")
    assert load_samples(str(tmp_path)).classes == ("bus", "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no images"),
        (["1.jpg", "2.jpg"], "no class folders"),
        (["a/1.jpg"], "one class only"),
        (["train/1.jpg", "val/2.jpg"], "no class folders"),
        (["train/a/1.jpg", "val/a/2.jpg", "others/3.jpg"], "also others"),
    ],
)
def test_folders_that_are_no_data(tmp_path, files, message):
    fill(tmp_path, *files)
    with pytest.raises(DataError, match=message) as caught:
        load_samples(str(tmp_path))
    assert caught.value.hint


def test_an_empty_class_folder_is_named(tmp_path):
    fill(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "forgotten").mkdir()
    with pytest.raises(DataError, match="forgotten"):
        load_samples(str(tmp_path))


@pytest.mark.parametrize("path", ["", "nowhere", "nul\0byte"])
def test_missing_paths(path):
    with pytest.raises(DataError):
        load_samples(path)


def test_another_kind_of_file(tmp_path):
    fill(tmp_path, "model.keras")
    with pytest.raises(DataError, match="neither a table"):
        load_samples(str(tmp_path / "model.keras"))


def test_an_existing_path_wins_over_the_known_name(tmp_path, monkeypatch):
    fill(tmp_path, "flowers/a/1.jpg", "flowers/b/2.jpg")
    monkeypatch.chdir(tmp_path)
    assert load_samples("flowers").root == tmp_path / "flowers"


def test_links_are_followed_and_loops_end(tmp_path):
    fill(tmp_path, "data/a/1.jpg", "data/b/2.jpg", "elsewhere/3.jpg")
    (tmp_path / "data/a/link.jpg").symlink_to(tmp_path / "elsewhere/3.jpg")
    (tmp_path / "data/a/broken.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "data/a/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/b/self").symlink_to(tmp_path / "data/b")
    paths = [path for path, *_ in listed(load_samples(str(tmp_path / "data")))]
    assert paths == ["a/1.jpg", "a/broken.jpg", "a/link.jpg", "b/2.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither pipes in folders nor names that are not Unicode")
def test_pipes_are_passed_over_and_odd_names_survive(tmp_path):
    fill(tmp_path, "a/1.jpg", "b/2.jpg")
    os.mkfifo(tmp_path / "a/pipe.jpg")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    paths = [path for path, *_ in listed(load_samples(str(tmp_path)))]
    assert [os.fsencode(path) for path in paths] == [b"a/1.jpg", b"a/\xff.jpg", b"b/2.jpg"]


# === Tables ===


def test_table(tmp_path):
    fill(tmp_path, "img/1.jpg", "img/2.jpg", "img/3.jpg")
    (tmp_path / "t.csv").write_text(
        "\ufeffPath,label,split,group,camera\nimg/2.jpg,b,VAL,g1,x\nimg/1.jpg,a,,,\n\n"
        f'{tmp_path / "img/3.jpg"},"a, b",test,g1,y\n'
    )
    found = load_samples(str(tmp_path / "t.csv"))
    assert (found.name, found.kind, found.root) == ("t", "table", tmp_path)
    assert [(s.path, s.label, s.split, s.group) for s in found.samples] == [
        ("img/1.jpg", "a", None, None),
        ("img/2.jpg", "b", "validation", "g1"),
        ("img/3.jpg", "a, b", "test", "g1"),
    ]


def test_table_of_a_spreadsheet_with_semicolons_and_backslashes(tmp_path):
    fill(tmp_path, "img/1.jpg", "img/2.jpg")
    (tmp_path / "t.csv").write_text("path;label\r\nimg\\1.jpg;a\r\nimg\\2.jpg;b\r\n")
    assert [path for path, *_ in listed(load_samples(str(tmp_path / "t.csv")))] == ["img/1.jpg", "img/2.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,label\n", "no rows"),
        ("picture,label\n1.jpg,a\n", "lacks the column path; it has picture, label"),
        ("path,label,label\n1.jpg,a,b\n", "label more than once"),
        ("path,label\n1.jpg,a\n2.jpg,\n3.jpg,  \n", "no label in rows 3, 4"),
        ("path,label\n,a\n2.jpg,b\n", "no path in row 2"),
        ("path,label,split\n1.jpg,a,train\n2.jpg,b,hold-out\n", "unknown split in row 3"),
        ("path,label\n1.jpg,a\n2.jpg,b\n./1.jpg,b\n", "another row has too in rows 2, 4"),
        ("path,label\n1,jpg,a\n2.jpg,b\n", "more cells .* row 2"),
        ("path,label\nx/1.jpg,a\nx/2.jpg,b\n", "None of the 2 files"),
        ("path,label\n1.jpg,a\n2.jpg,a\n", "one class only"),
        ('path,label\n"' + "x" * 200_000 + '",a\n', "not a readable CSV"),
    ],
)
def test_tables_that_are_no_data(tmp_path, text, message):
    fill(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_samples(str(tmp_path / "t.csv"))
    assert caught.value.hint


def test_parquet_reads_as_csv_does(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    fill(tmp_path, "1.jpg", "2.jpg")
    columns = {"path": ["2.jpg", "1.jpg"], "label": [7, 3], "split": ["train", None], "photo": [b"bytes", b"bytes"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert listed(load_samples(str(tmp_path / "t.parquet"))) == [("1.jpg", "3", None), ("2.jpg", "7", "train")]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(DataError, match="not a readable Parquet"):
        load_samples(str(tmp_path / "bad.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    fill(tmp_path, "t.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match="pip install 'pyarrow"):
        load_samples(str(tmp_path / "t.parquet"))


def test_columns_are_found_by_the_names_they_go_by(tmp_path):
    fill(tmp_path, "1.jpg", "2.jpg")
    for path, label in (("file_name", "label"), ("filename", "class"), ("image_id", "category"), ("Image", "Target")):
        (tmp_path / "t.csv").write_text(f"width,{label},{path}\n9,b,2.jpg\n9,a,1.jpg\n")
        found = load_samples(str(tmp_path / "t.csv"))
        assert listed(found) == [("1.jpg", "a", None), ("2.jpg", "b", None)]
        assert found.tree == (f"t.csv: 2 rows; path = {path}, label = {label}",)


def test_columns_can_be_named(tmp_path):
    fill(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "t.csv").write_text("path,photo,label,breed,part\nx,1.jpg,9,pug,Training\ny,2.jpg,9,poodle,TEST\n")
    found = load_samples(str(tmp_path / "t.csv"), "path=photo, label=breed,split=part")
    assert listed(found) == [("1.jpg", "pug", "train"), ("2.jpg", "poodle", "test")]
    with pytest.raises(DataError, match="lacks the column kind; it has path, photo"):
        load_samples(str(tmp_path / "t.csv"), "label=kind")
    for wrong in ("photo", "image=photo", "path=", "path=a,path=b"):
        with pytest.raises(ConfigError, match=r"data\.columns must name columns"):
            load_samples(str(tmp_path / "t.csv"), wrong)


@pytest.mark.parametrize("cells", [("0", "1"), ("0.0", "1.0"), ("False", "True"), ("", "1")])
def test_one_hot_columns_are_classes(tmp_path, cells):
    fill(tmp_path, "1.jpg", "2.jpg")
    no, yes = cells
    rows = f"1.jpg, {no}, {yes}, 640\n2.jpg, {yes}, {no}, 480\n"
    (tmp_path / "_classes.csv").write_text(f"filename, cat, dog, width\n{rows}")
    assert listed(load_samples(str(tmp_path / "_classes.csv"))) == [("1.jpg", "dog", None), ("2.jpg", "cat", None)]
    (tmp_path / "_classes.csv").write_text(f"filename, cat, dog, width\n{rows}3.jpg, {yes}, {yes}, 1\n")
    with pytest.raises(DataError, match="more than one class, or none, in row 4"):
        load_samples(str(tmp_path / "_classes.csv"))


@pytest.mark.parametrize(
    ("encoding", "warned"), [("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("cp1252", True)]
)
def test_tables_in_the_encodings_that_excel_writes(tmp_path, encoding, warned):
    """Excel's cp1252 once gave class names with lone surrogates, without a word."""
    fill(tmp_path, "1.jpg", "2.jpg", "é.jpg")
    text = "sep=;\r\npath;label\r\n1.jpg;rosé\r\n2.jpg;tulipe\r\né.jpg;rosé\r\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    found = load_samples(str(tmp_path / "t.csv"))
    assert found.classes == ("rosé", "tulipe")
    assert all(sample.file.exists() for sample in found.samples)
    assert [("Windows-1252" in warning) for warning in found.warnings] == [True] * warned
    "".join(found.classes).encode("utf-8")  # no lone surrogates


def test_text_in_no_known_encoding_is_refused(tmp_path):
    fill(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "t.csv").write_bytes(b"path,label\n1.jpg,a\x81\n2.jpg,b\n")
    with pytest.raises(DataError, match="neither UTF-8 nor Windows-1252"):
        load_samples(str(tmp_path / "t.csv"))


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8),
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_table_reads_back_what_a_spreadsheet_wrote(tmp_path_factory, cells, delimiter, encoding):
    file = tmp_path_factory.mktemp("tables") / "t.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    paths = [f"{i}-{path.replace('/', '').replace(chr(92), '')}" for i, path in enumerate(cells)]
    writer.writerows([("path", "label"), *zip(paths, cells.values(), strict=True)])
    file.write_bytes(text.getvalue().encode(encoding))
    (file.parent / paths[0]).touch()
    read = {sample.path: sample.label for sample in tables.read_table(file).samples}
    assert read == {
        path: unicodedata.normalize("NFC", label) for path, label in zip(paths, cells.values(), strict=True)
    }


def test_ids_are_found_by_name_below_the_tables_folder(tmp_path):
    """As Kaggle packs it: labels.csv beside train/, ids without suffix."""
    fill(tmp_path, "train/00a.jpg", "train/00b.png", "train/00b.txt")
    (tmp_path / "labels.csv").write_text("id,label\n00b,b\n00a,a\n00c,a\n")
    found = load_samples(str(tmp_path / "labels.csv"))
    assert listed(found) == [("00c", "a", None), ("train/00a.jpg", "a", None), ("train/00b.png", "b", None)]
    assert "found by their names" in found.warnings[0]
    fill(tmp_path, "test/00a.jpg")
    with pytest.raises(DataError, match="lists 00a, and several files are called so"):
        load_samples(str(tmp_path / "labels.csv"))


def test_a_competitions_table_finds_its_ids_in_the_folder_of_its_split(tmp_path):
    """As Kaggle packs it: ids that count from 1 in train/ and in test/, and an example of an answer."""
    fill(tmp_path, "train/1.jpg", "train/2.jpg", "test/1.jpg", "test/2.jpg", "test/3.jpg")
    (tmp_path / "train_labels.csv").write_text("id,healthy,rust\n1,1,0\n2,0,1\n")
    (tmp_path / "sample_submission.csv").write_text("id,healthy,rust\n1,0,1\n2,0,1\n3,0,1\n")
    (tmp_path / "test.csv").write_text("id\n1\n2\n3\n")
    assert listed(load_samples(str(tmp_path))) == [("train/1.jpg", "healthy", None), ("train/2.jpg", "rust", None)]


@pytest.mark.parametrize("whole", [True, False])
def test_an_imagefolder_with_metadata_is_read_without_its_package(tmp_path, whole):
    """As Hugging Face lays it out, one file for all or one in each split folder, CSV or JSON Lines."""
    fill(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg", "test/4.jpg")
    if whole:
        (tmp_path / "metadata.csv").write_text(
            "file_name,label,split\ntrain/1.jpg,a,train\ntrain/2.jpg,b,train\ntest/3.jpg,a,test\ntest/4.jpg,b,test\n"
        )
    else:
        (tmp_path / "train/metadata.csv").write_text("file_name,label\n1.jpg,a\n2.jpg,b\n")
        (tmp_path / "test/metadata.jsonl").write_text(
            '{"file_name": "3.jpg", "label": "a", "objects": {"bbox": [1]}}\n{"file_name": "4.jpg", "label": "b"}\n'
        )
    assert listed(load_samples(str(tmp_path))) == [
        ("test/3.jpg", "a", "test"),
        ("test/4.jpg", "b", "test"),
        ("train/1.jpg", "a", "train"),
        ("train/2.jpg", "b", "train"),
    ]


@pytest.mark.parametrize("broken", ['{"file_name": ', "[1]\n"])
def test_broken_json_lines_are_one_message(tmp_path, broken):
    (tmp_path / "metadata.jsonl").write_text(broken)
    with pytest.raises(DataError, match=r"metadata\.jsonl is no"):
        load_samples(str(tmp_path / "metadata.jsonl"))


IDS = ("n01440764", "n02012849", "n03126707")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"),
        ("words.txt", "n01440764\ttench, Tinca tinca\nn02012849\tcrane\nn03126707\tcrane\nn00001740\tentity\n"),
        (
            "imagenet_class_index.json",
            '{"0": ["n01440764", "tench"], "134": ["n02012849", "crane"], "517": ["n03126707", "crane"]}',
        ),
    ],
)
def test_ids_of_imagenet_get_the_names_that_lie_with_them(tmp_path, name, text):
    fill(tmp_path, *(f"ILSVRC/Data/CLS-LOC/train/{one}/{one}_1.JPEG" for one in IDS))
    (tmp_path / name).write_text(text)
    found = load_samples(str(tmp_path / "ILSVRC/Data/CLS-LOC/train"))
    assert found.classes == ("crane (n02012849)", "crane (n03126707)", "tench")
    assert f"{name}: names of 3 of 3 classes (n01440764 = tench, ...)" in found.tree
    (tmp_path / name).write_text("of something else")
    assert load_samples(str(tmp_path / "ILSVRC/Data/CLS-LOC/train")).classes == IDS


@pytest.mark.parametrize("packing", ["folder", ".zip", ".tar.gz"])
def test_a_table_among_the_images_is_taken(tmp_path, packing):
    fill(tmp_path / "dogs", "images/1.jpg", "images/2.jpg", "annotations/1.xml")
    (tmp_path / "dogs/notes.csv").write_text("what,ever\n1,2\n")
    (tmp_path / "dogs/labels.csv").write_text("file_name,label\nimages/1.jpg,pug\nimages/2.jpg,poodle\n")
    data = str(tmp_path / "dogs") if packing == "folder" else packed(tmp_path / "dogs", tmp_path / f"dogs{packing}")
    found = load_samples(data)
    assert (found.name, found.kind) == ("dogs", "table" if packing == "folder" else "archive")
    assert listed(found) == [("images/1.jpg", "pug", None), ("images/2.jpg", "poodle", None)]
    assert all(sample.file.exists() for sample in found.samples)


def test_a_table_in_each_split_folder_is_taken(tmp_path):
    """As Roboflow exports: train/_classes.csv beside the images, valid/ and test/ likewise."""
    for split in ("train", "valid", "test"):
        fill(tmp_path / "export", f"{split}/1.jpg", f"{split}/2.jpg")
        (tmp_path / "export" / split / "_classes.csv").write_text("filename, cat, dog\n1.jpg, 1, 0\n2.jpg, 0, 1\n")
    found = load_samples(str(tmp_path / "export"))
    assert (found.name, found.classes) == ("export", ("cat", "dog"))
    assert [(path, split) for path, _, split in listed(found)][::2] == [
        *(("test/1.jpg", "test"), ("train/1.jpg", "train"), ("valid/1.jpg", "validation")),
    ]
    assert (
        found.tree[0] == "test/ = test: _classes.csv: 2 rows; path = filename, label = the one of 2 columns that is 1"
    )
    (tmp_path / "export/valid/_classes.csv").unlink()
    with pytest.raises(DataError, match="no class folders"):
        load_samples(str(tmp_path / "export"))


def test_a_table_that_cannot_be_used_unasked_is_to_be_named(tmp_path):
    fill(tmp_path, "1.jpg", "2.jpg", "T.CSV")
    (tmp_path / "T.CSV").write_text("Bild,Art\n1.jpg,a\n2.jpg,b\n")
    with pytest.raises(DataError, match=r"no class folders.*\n.*Or name the table: .*T\.CSV"):
        load_samples(str(tmp_path))
    with pytest.raises(DataError, match="lacks the columns path and label; it has Bild, Art"):
        load_samples(str(tmp_path / "T.CSV"))
    assert load_samples(str(tmp_path / "T.CSV"), "path=Bild,label=Art").classes == ("a", "b")


def test_of_several_tables_among_the_images_one_is_to_be_named(tmp_path):
    fill(tmp_path, "1.jpg", "2.jpg")
    for name in ("train.csv", "sample.csv"):
        (tmp_path / name).write_text("id,label\n1,a\n2,b\n")
    with pytest.raises(DataError, match=r"several tables of images: sample\.csv, train\.csv") as caught:
        load_samples(str(tmp_path))
    assert "Name one of them" in caught.value.hint


# === Archives ===


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


def packed(folder: Path, archive: Path) -> str:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for file in sorted(folder.rglob("*")):
                opened.write(file, file.relative_to(folder.parent))
    else:
        with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as tar:
            tar.add(folder, folder.name)
    return str(archive)


def tar_of(archive: Path, *members: tarfile.TarInfo) -> str:
    with tarfile.open(archive, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return str(archive)


def member(name: str, size: int = 1, **fields) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz"])
def test_archives_are_unpacked_once_and_stepped_into(tmp_path, suffix):
    fill(tmp_path / "wrap", "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg")
    archive = packed(tmp_path / "wrap", tmp_path / f"images{suffix}")
    found = load_samples(archive)
    assert (found.name, found.kind) == ("images", "archive")
    assert listed(found) == [
        ("train/a/1.jpg", "a", "train"),
        ("train/b/2.jpg", "b", "train"),
        ("val/a/3.jpg", "a", "validation"),
    ]
    written = found.samples[0].file.stat().st_mtime_ns
    found.samples[0].file.write_bytes(b"seen before")
    os.utime(found.samples[0].file, ns=(written, written))
    assert load_samples(archive).samples[0].file.read_bytes() == b"seen before"
    assert not list((tmp_path / "cache/archives").glob(".tmp-*"))


@pytest.mark.parametrize(
    "evil",
    [
        member("../escaped.jpg"),
        member("/escaped.jpg"),
        member("a/../../escaped.jpg"),
        member("C:\\escaped.jpg"),
        member("a/link", 0, type=tarfile.SYMTYPE, linkname="../../.."),
        member("a/link", 0, type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member("a/device", 0, type=tarfile.CHRTYPE),
    ],
    ids=lambda made: f"{made.name} -> {made.linkname}",
)
def test_archives_that_reach_out_are_refused(tmp_path, evil):
    archive = tar_of(tmp_path / "evil.tar", member("a/1.jpg"), member("b/2.jpg"), evil)
    with pytest.raises(DataError, match="not safe to unpack"):
        load_samples(archive)
    assert not list(tmp_path.rglob("escaped.jpg"))
    assert not [entry for entry in (tmp_path / "cache/archives").iterdir() if entry.is_dir()]


def link(name: str, target: str, type: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    return member(name, 0, type=type, linkname=target)


def too_long_to_follow() -> list[tarfile.TarInfo]:
    """CVE-2025-4517: where a path is longer than the system follows, older tarfiles take its `..` for nothing."""
    long, steps, path, made = "d" * 240, "abcdefghijklmnop", "", []
    for step in steps:
        made += [member(f"{path}{long}", 0, type=tarfile.DIRTYPE), link(f"{path}{step}", long)]
        path += f"{long}/"
    deep = f"{'/'.join(steps)}/{'l' * 254}"
    return [*made, link(deep, "../" * len(steps)), link("out", f"{deep}/../../../.."), member("out/escaped.jpg")]


@pytest.mark.parametrize(
    "members",
    [
        too_long_to_follow(),
        [link("a/b/c/up", "../../x"), link("h", "a/b/c/up", tarfile.LNKTYPE), member("h/escaped.jpg")],
        [link("d", "a/b/c"), link("d/up", "../../x")],
        [link("D", "a/b/c"), link("d/up", "../../x")],
        [link("out", "a/../../x")],
        [link("out", "//etc")],
        [link("a\\b\\c", "../../x")],
    ],
    ids=["too long to follow", "hard link to a link", "below a link", "case", "down and up", "absolute", "backslash"],
)
def test_chains_of_links_that_reach_out_are_refused(tmp_path, members):
    """By their text, whatever the disk says and whichever Python unpacks."""
    archive = tar_of(tmp_path / "evil.tar", member("a/b/c/1.jpg"), *members)
    with pytest.raises(DataError, match=r"not safe to unpack: .*, which may lead out of it"):
        load_samples(archive)
    assert not list(tmp_path.rglob("escaped.jpg"))
    assert not [entry for entry in (tmp_path / "cache/archives").iterdir() if entry.is_dir()]


def test_links_inside_an_archive_are_kept(tmp_path):
    members = [member(".all/1.jpg"), member(".all/2.jpg"), link("train/a/1.jpg", "../../.all/1.jpg")]
    members += [link("train/b", "../.all"), link("train/c/3.jpg", ".all/2.jpg", tarfile.LNKTYPE)]
    found = load_samples(tar_of(tmp_path / "links.tar", member("val/a/9.jpg"), member("val/b/8.jpg"), *members))
    assert [sample.path for sample in found.samples if sample.path.startswith("train")] == [
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/b/2.jpg",
        "train/c/3.jpg",
    ]


def test_a_zip_that_reaches_out_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as opened:
        opened.writestr("a/1.jpg", "x")
        opened.writestr("../escaped.jpg", "x")
    with pytest.raises(DataError, match="leads out"):
        load_samples(str(tmp_path / "evil.zip"))


def zip_of(archive: Path, names: list[bytes]) -> str:
    """A zip whose members have these very bytes for names, not flagged as UTF-8."""
    stand_ins = [letter * len(name) for letter, name in zip("pqrs", names, strict=False)]
    with zipfile.ZipFile(archive, "w") as opened:
        for stand_in in stand_ins:
            opened.writestr(zipfile.ZipInfo(stand_in), b"x")
    content = archive.read_bytes()
    for stand_in, name in zip(stand_ins, names, strict=True):
        content = content.replace(stand_in.encode(), name)
    archive.write_bytes(content)
    return str(archive)


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        ([rb"images\roses\1.jpg", rb"images\tulips\2.jpg"], ["roses/1.jpg", "tulips/2.jpg"]),
        (["rosé/1.jpg".encode(), "tulipán/2.jpg".encode()], ["rosé/1.jpg", "tulipán/2.jpg"]),
        ([b"ros\x82/1.jpg", b"tulips/2.jpg"], ["rosé/1.jpg", "tulips/2.jpg"]),  # code page 437
    ],
    ids=["Windows", "UTF-8", "DOS"],
)
def test_names_in_zips_of_other_systems(tmp_path, names, paths):
    found = load_samples(zip_of(tmp_path / "names.zip", names))
    assert [sample.path for sample in found.samples] == paths
    assert all(sample.file.read_bytes() == b"x" for sample in found.samples)


def test_backslashes_cannot_lead_out_of_a_zip(tmp_path):
    with pytest.raises(DataError, match="leads out"):
        load_samples(zip_of(tmp_path / "evil.zip", [rb"a\1.jpg", rb"b\..\..\escaped.jpg"]))


def test_limits_of_archives(tmp_path, monkeypatch):
    archive = tar_of(tmp_path / "many.tar", *(member(f"{label}/{n}.jpg", 10) for label in "ab" for n in range(3)))
    monkeypatch.setattr("kit.data.archives.MAX_MEMBERS", 5)
    with pytest.raises(DataError, match="more than 5 files"):
        load_samples(archive)
    monkeypatch.setattr("kit.data.archives.MAX_MEMBERS", 6)
    monkeypatch.setattr("kit.data.archives.MAX_UNPACKED_BYTES", 59)
    with pytest.raises(DataError, match="or 59 bytes"):
        load_samples(archive)
    monkeypatch.setattr("kit.data.archives.MAX_UNPACKED_BYTES", 60)
    assert len(load_samples(archive).samples) == 6


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_damaged_archives(tmp_path, suffix):
    fill(tmp_path / "wrap", *(f"{label}/{number}.jpg" for label in "ab" for number in range(30)))
    (tmp_path / "wrap/a/big.jpg").write_bytes(os.urandom(100_000))
    archive = Path(packed(tmp_path / "wrap", tmp_path / f"cut{suffix}"))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError):
        load_samples(str(archive))
    archive.write_bytes(b"not an archive at all")
    with pytest.raises(DataError):
        load_samples(str(archive))
