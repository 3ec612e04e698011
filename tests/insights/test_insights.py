"""What a run records for its page: each part by itself, then the parts together on one trained network."""

import io
import sys
from dataclasses import asdict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from doubles import swap
from kit.csv_tables import make_table
from kit.data.audit import Finding
from kit.errors import StorageError
from kit.insights import HEAT, Evidence, Insights, linear_probe, read_album, thumbnails, write_album
from kit.insights.evidence import activation_maps, heat, shares
from kit.insights.image_map import map_images
from kit.insights.label_issues import JOINT_MARGIN, PROBE_MARGIN, label_issues

AWKWARD = {"a/\udcff.jpg": b"1", "line\nend": b"", "=1+1": b"3", "n" * 255: b"4"}


# === Album ===


def test_an_album_keeps_any_path_and_its_bytes_depend_on_the_images_alone(tmp_path):
    write_album(tmp_path / "one.zip", AWKWARD)
    write_album(tmp_path / "two.zip", AWKWARD)
    assert read_album(tmp_path / "one.zip") == AWKWARD
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert read_album(tmp_path / "none.zip") == {}


def test_a_damaged_album_is_named(tmp_path):
    write_album(tmp_path / "one.zip", AWKWARD)
    (tmp_path / "one.zip").write_bytes((tmp_path / "one.zip").read_bytes()[:-30])
    with pytest.raises(StorageError, match=r"one\.zip is damaged"):
        read_album(tmp_path / "one.zip")


def test_tables_neutralise_what_a_spreadsheet_would_run(tmp_path):
    insights = Insights(tmp_path)
    row = {"path": ["=1+1"], "split": ["train"], "label": ["@a"], "predicted": ["+b"]}
    insights.write_table("doubted", make_table({**row, "p_label": np.array([0.1]), "p_predicted": np.array([0.9])}))
    assert insights.doubted["path"].tolist() == ["=1+1"]
    cells = (tmp_path / "doubted.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    assert [cell[1] for cell in cells[:4]] == ["'", "t", "'", "'"]


def test_thumbnails_are_small_and_unreadable_files_have_none(tmp_path):
    Image.new("RGB", (900, 300), (200, 30, 30)).save(tmp_path / "wide.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    images = thumbnails.thumbnails_of_files({name: tmp_path / name for name in ("wide.png", "broken.jpg")})
    assert list(images) == ["wide.png"]
    with Image.open(io.BytesIO(images["wide.png"])) as image:
        assert (image.format, image.size) == ("JPEG", (thumbnails.SIDE, thumbnails.SIDE // 3))


def test_the_sample_is_the_seeds():
    assert thumbnails.sample(50, 1).tolist() == thumbnails.sample(50, 1).tolist() != thumbnails.sample(50, 2).tolist()
    assert sorted(thumbnails.sample(10, 0).tolist()) == list(range(10))
    assert len(thumbnails.sample(1000, 0)) == thumbnails.GRID
    assert thumbnails.sample(0, 0).tolist() == []


def test_worst_mistakes_and_confused_pairs():
    labels = np.array([0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 1, 0, 0, 2, 0])
    confidence = np.array([0.9, 0.8, 0.6, 0.7, 0.9, 0.7])
    worst = thumbnails.worst_mistakes(labels, predicted, confidence)
    assert worst.tolist() == [1, 3, 5, 2]
    assert thumbnails.confused(labels, predicted, worst) == [3, 2, 1, 5]


def test_images_of_each_class_and_of_findings():
    assert thumbnails.per_class(["a", "b", "a", "a"], 2) == [0, 1, 2]
    findings = [Finding("duplicate", "warning", tuple("abcdef"), "")] * 2
    assert thumbnails.in_findings(findings) == [*"abcd", *"abcd"]


# === Activation maps ===


def test_evidence_adds_up_to_the_logit():
    random = np.random.default_rng(0)
    features = random.uniform(0, 6, (3, 4, 5, 7)).astype(np.float32)
    kernel, bias = random.normal(size=(7, 6)).astype(np.float32), random.normal(size=6).astype(np.float32)
    output, offset = random.normal(size=(6, 2)).astype(np.float32), random.normal(size=2).astype(np.float32)
    targets = np.array([0, 1, 1])
    maps = activation_maps(features, (kernel, bias), output, targets)
    before = features.mean(axis=(1, 2)) @ kernel + bias
    logits = np.maximum(before, 0) @ output + offset
    constant = ((before > 0) * bias * output.T[targets]).sum(axis=1) + offset[targets]
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + constant, logits[np.arange(3), targets], rtol=1e-4, atol=1e-4)


def test_evidence_without_a_hidden_layer():
    features = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    output = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    assert activation_maps(features, None, output, np.array([1])).tolist() == [[[2.0, 6.0], [10.0, 14.0]]]


def lightness(colour):
    """CIE L*, 0 to 100, of sRGB colours (..., 3), 0-255."""
    shares = np.asarray(colour, float) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y <= 216 / 24389, y * 24389 / 27, 116 * np.cbrt(y) - 16)


def test_the_scale_of_heat_is_even_to_the_eye():
    steps = np.diff(lightness(HEAT))
    assert steps.min() > 12
    assert steps.max() < 30


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_heat_is_seen_on_any_image_and_leaves_it_plain_where_there_is_none(grey):
    pixels = np.full((40, 40, 3), grey, np.uint8)
    shown = np.asarray(heat(pixels, shares(np.array([[5.0, -1.0], [-1.0, -1.0]])[None])[0], 64), int)
    assert np.abs(shown[:8, :8] - grey).max(axis=2).min() > 60
    assert (shown[48:, 48:] == grey).all()
    nothing = heat(pixels, shares(np.full((1, 2, 2), -9.0))[0], 64)
    assert (np.asarray(nothing) == grey).all()


def test_maps_of_one_image_share_a_scale():
    np.testing.assert_allclose(shares(np.array([[[4.0, -1.0]], [[2.0, 1.0]]])), [[[1.0, 0.0]], [[0.5, 0.25]]])


def test_the_page_that_runs_the_model_has_the_same_colours():
    script = (Path(__file__).resolve().parents[2] / "kit" / "export" / "web" / "page.js").read_text(encoding="utf-8")
    assert f"const HEAT = {[list(stop) for stop in HEAT]};" in script


def test_evidence_reads_back_and_damage_is_named(tmp_path):
    insights = Insights(tmp_path)
    assert insights.evidence == Evidence()
    kept = Evidence((1, 2), {"a/\udcff.jpg": [(3, b"\x00\xff"), (1, b"\x05\x06")]})
    insights.write_evidence(kept)
    assert insights.evidence == kept
    file = tmp_path / "evidence.json"
    file.write_text(file.read_text().replace("[\n    1,\n    2\n  ]", "[2, 2]"))
    with pytest.raises(StorageError, match=r"evidence\.json is damaged: a map is not 2 x 2"):
        _ = insights.evidence


# === Map ===


def test_images_that_are_alike_lie_near_each_other_and_the_map_is_the_seeds():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (random.normal(0, 1, (60, 8)) + 12 * np.eye(3, 8)[labels]).astype(np.float32)
    name, places = map_images(features, 5)
    assert name in ("t-SNE", "UMAP")
    assert (places.min(), places.max()) == (0, 1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (labels[apart.argmin(axis=1)] == labels).mean() > 0.9
    np.testing.assert_array_equal(map_images(features, 5)[1], places)


def test_a_map_of_images_that_are_all_alike_is_one_place():
    name, places = map_images(np.zeros((12, 1), np.float32), 0)
    assert (name, np.unique(places).tolist()) == ("PCA", [0.5])


def test_umap_makes_the_map_where_it_is_installed(monkeypatch, tmp_path):
    (tmp_path / "umap.py").write_text(
        "class UMAP:\n"
        "    def __init__(self, n_neighbors, random_state, n_jobs):\n"
        "        assert (n_neighbors, random_state, n_jobs) == (11, 7, 1)\n"
        "    def fit_transform(self, features):\n"
        "        return 3.0 + 4 * features[:, :2]\n"
    )
    spec = spec_from_file_location("umap", tmp_path / "umap.py")
    monkeypatch.setitem(sys.modules, "umap", module_from_spec(spec))  # gone after the test, unlike what is imported
    spec.loader.exec_module(sys.modules["umap"])
    features = np.random.default_rng(0).uniform(size=(12, 60))
    name, places = map_images(features, 7)
    assert name == "UMAP"
    first = features[:, :2] - features[:, :2].min(axis=0)
    np.testing.assert_allclose(places, first / first.max(), rtol=1e-4, atol=1e-6)


# === Probe ===


@pytest.fixture(scope="module")
def blobs():
    """Two hundred images of four classes, two of them with a wrong label: features, labels, groups."""
    random = np.random.default_rng(0)
    labels = np.arange(200) % 4
    features = random.normal(0, 1, (200, 30)) + 6 * np.eye(4)[labels] @ random.normal(0, 1, (4, 30))
    labels = labels.copy()
    labels[[10, 77]] = (labels[[10, 77]] + 1) % 4
    return features.astype(np.float16), labels, [str(k // 2) for k in range(200)]


def test_wrong_labels_are_doubted_first(blobs):
    features, labels, groups = blobs
    reduced = linear_probe.reduce(features, np.arange(200), 4, seed=0)
    said = linear_probe.out_of_fold(reduced, labels, groups, 4, seed=0)
    nothing = np.full((200, 4), 0.25)
    assert set(label_issues(said, nothing, labels, np.ones(200, bool)).images[:2].tolist()) == {10, 77}
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(said, linear_probe.out_of_fold(reduced, labels, groups, 4, seed=0))


def test_a_label_is_doubted_by_both_models_or_not_at_all():
    """Alone, the probe doubted labels that the trained model sided with: 29 of 59 on real flowers."""
    labels = np.zeros(400, int)
    probe = np.tile([0.9, 0.1], (400, 1))
    probe[:4] = [0.01, 0.99]
    model = np.tile([0.9, 0.1], (400, 1))
    model[0] = [0.1, 0.9]
    model[2] = [0.999, 0.001]
    learned = np.zeros(400, bool)
    assert label_issues(probe, model, labels, learned).images.tolist() == [0]
    # an image that was trained on: the model has learned its label, and must be surer of it than the probe of the other
    assert label_issues(probe, model, labels, ~learned).images.tolist() == [0, 1, 3]


@given(st.integers(0, 2**32 - 1), st.floats(1, 4.5))
@settings(max_examples=30, deadline=None)
def test_right_labels_are_seldom_doubted_however_sure_the_probe_is(seed, sharpness):
    """Labels drawn from probabilities are right by construction; the probe that reports them is overconfident."""
    random = np.random.default_rng(seed)
    truth = random.dirichlet(np.full(4, 0.3), 400)
    labels = (random.random((400, 1)) > truth.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    probe = np.maximum(truth, 1e-12) ** sharpness
    found = label_issues(probe / probe.sum(axis=1, keepdims=True), truth, labels, np.zeros(400, bool))
    assert len(found.images) <= 40
    rows = found.images
    margins = np.log(found.probabilities[rows, found.others] / found.probabilities[rows, labels[rows]])
    assert (np.diff(margins) <= 1e-9).all()
    assert (margins > PROBE_MARGIN).all()
    assert JOINT_MARGIN < PROBE_MARGIN


@pytest.mark.once(backend="tensorflow")
@pytest.mark.full
def test_few_labels_of_drawn_flowers_are_doubted(needs_backend, tmp_path):
    """Their labels are right by construction; of 1,000 129 were doubted, all at 100%."""
    from kit.pipeline import train
    from kit.settings import load_config
    from kit.synthetic import DemoData, write_data_set

    write_data_set(tmp_path / "photos", DemoData(per_class=40, size=96))
    sets = {"data.path": str(tmp_path / "photos"), "model.weights": "starter", "data.image_size": 96, "views.count": 1}
    sets |= {"phases.0.epochs": 6, "phases.1.epochs": 1, "phases.1.unfreeze_depth": 1}
    run = train(load_config(flags=sets), tmp_path / "run")
    doubted = Insights(run.insights).summary["doubted"]
    assert doubted["judged"] == 200
    assert doubted["total"] == len(Insights(run.insights).doubted) <= 8


def test_copies_of_an_image_judge_each_other_never(blobs):
    features, labels, _ = blobs
    twice, both = np.repeat(features, 2, axis=0), np.repeat(labels, 2)
    reduced = linear_probe.reduce(twice, np.arange(400), 4, seed=0)
    said = linear_probe.out_of_fold(reduced, both, np.repeat(np.arange(200), 2).astype(str).tolist(), 4, seed=0)
    assert said[20].argmax() != both[20]  # image 10 and its copy carry the same wrong label


def test_the_learning_curve_rises(blobs):
    features, labels, _ = blobs
    reduced = linear_probe.reduce(features, np.arange(150), 4, seed=0)
    curve = linear_probe.learning_curve(reduced, labels, np.arange(150), np.arange(150, 200), 4, seed=0)
    sizes = [images for images, _, _ in curve]
    assert sizes == [9, 9, 9, 19, 19, 19, 38, 38, 38, 75, 75, 75, 150]
    assert curve[-1][2] > np.mean([accuracy for images, _, accuracy in curve if images == 9])


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0, 1, 1]])
def test_hardly_any_images_are_no_reason_to_fail(labels):
    features, labels = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32), np.array(labels)
    reduced = linear_probe.reduce(features, np.arange(3), 3, seed=0)
    said = linear_probe.out_of_fold(reduced, labels, ["a", "b", "c"], 3, seed=0)
    assert said.shape == (3, 3)
    assert linear_probe.learning_curve(reduced, labels, np.arange(3), np.arange(3), 3, seed=0) == []


def test_images_that_are_all_alike_are_no_reason_to_fail():
    features, labels = np.ones((40, 5), np.float32), np.arange(40) % 2
    reduced = linear_probe.reduce(features, np.arange(40), 2, seed=0)
    assert np.isfinite(linear_probe.out_of_fold(reduced, labels, list(map(str, range(40))), 2, seed=0)).all()


@given(st.data(), st.integers(1, 30), st.integers(2, 5), st.integers(1, 6), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_any_grouping_is_stood(data, images, classes, groups, seed):
    """One single group, groups that hold a whole class, groups across all classes: an answer, and no label doubted
    for want of a class to compare it with."""
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=images, max_size=images)))
    names = data.draw(st.lists(st.integers(1, groups).map(str), min_size=images, max_size=images))
    features = np.random.default_rng(seed).normal(size=(images, 6)).astype(np.float32)
    reduced = linear_probe.reduce(features, np.arange(images), classes, seed)
    said = linear_probe.out_of_fold(reduced, labels, names, classes, seed)
    assert said.shape == (images, classes)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-4)
    elsewhere = [
        any(labels[k] == label and names[k] != name for k in range(images))
        for label, name in zip(labels, names, strict=True)
    ]
    doubted = label_issues(said, said, labels, np.zeros(images, bool)).images
    assert set(doubted.tolist()) <= set(np.flatnonzero(elsewhere).tolist())


# === All of it, after a run ===


@pytest.fixture(scope="module")
def run(images, lively_weights, tmp_path_factory):
    """A finished run of few epochs, so that it makes mistakes; never write into it."""
    from kit.pipeline import train
    from kit.settings import load_config

    sets = {
        "data.path": str(images),
        "model.weights": str(lively_weights),
        "data.image_size": 48,
        "model.alpha": 0.35,
        "views.count": 1,
        "model.head_units": 16,
        "training.batch_size": 16,
        "phases.0.epochs": 1,
        "phases.1.epochs": 1,
        "phases.1.unfreeze_depth": 1,
    }
    return train(load_config(flags=sets), tmp_path_factory.mktemp("runs") / "small")


@pytest.mark.full
def test_a_run_records_its_insights_and_draws_its_page(run):
    insights, samples, verdicts = Insights(run.insights), run.samples, run.predicted
    assert set(insights.images["path"]) == set(samples["path"])
    assert insights.images["width"].unique().tolist() == [96]
    summary, thumbnails = insights.summary, insights.album("thumbnails")
    test = verdicts[verdicts["split"] == "test"]
    assert set(summary["sample"]) == set(test["path"])
    assert set(summary["sample"]) <= set(thumbnails)
    wrong = test[test["label"] != test["predicted"]]["path"].tolist()
    assert wrong, "this network is meant to err"
    assert set(insights.evidence.images) == set(test["path"])  # of right answers too
    for path, label, predicted in zip(test["path"], test["label"], test["predicted"], strict=True):
        (first, _), (second, _) = insights.evidence.images[path]
        assert run.classes[first] == predicted
        assert (run.classes[second] == label) == (label != predicted)
    assert insights.map["path"].tolist()[:5] == summary["sample"][:5]
    assert set(insights.map["path"]) == set(test["path"])
    assert insights.map[["x", "y"]].to_numpy().min() == 0
    assert summary["map"] == {"method": "t-SNE"}
    assert insights.learning_curve["photos"].max() == (samples["split"] == "train").sum()
    assert {"insights"} <= set(run.manifest["stages"])
    page = run.report_path.read_text(encoding="utf-8")
    assert '"maps":{"' in page
    assert 'class="note missing"' not in page


@pytest.mark.full
def test_feature_maps_of_a_cut_average_to_what_the_head_reads(run):
    """The maps are drawn from the very features that the head was given."""
    from kit.data.images import decode
    from kit.predict import load_classifier
    from kit.training.forward import compile_forward

    classifier, data = load_classifier(run), run.config.data
    samples = run.samples
    files = [f"{data.path}/{path}" for path in samples["path"][:4]]
    pixels = np.stack([decode(Path(file), data) for file in files])
    (features,) = compile_forward(classifier.feature_maps(classifier.backbone.cut(-1)))(pixels)
    (pooled,) = compile_forward(classifier.trunk(classifier.backbone.cut(-1), (classifier.backbone.cut(0),)))(pixels)
    np.testing.assert_allclose(features.mean(axis=(1, 2)), pooled, rtol=1e-4, atol=1e-4)
    layers = {layer.name: layer.get_weights() for layer in classifier.head.layers}
    maps = activation_maps(features, tuple(layers["hidden"]), layers["probabilities"][0], np.zeros(4, int))
    before = pooled @ layers["hidden"][0] + layers["hidden"][1]
    towards = layers["probabilities"][0][:, 0]
    evidence = ((before > 0) * (before - layers["hidden"][1]) * towards).sum(axis=1)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), evidence, rtol=1e-3, atol=1e-4)


@pytest.mark.full
def test_a_page_that_cannot_be_drawn_costs_a_warning_and_not_the_run(run, tmp_path, monkeypatch, capsys):
    from kit import report_hook

    (tmp_path / "manifest.json").write_text('{"kind": "run"}')
    assert report_hook.draw_page(tmp_path) is None
    assert "warning: no page of" in capsys.readouterr().err
    swap(monkeypatch, report_hook, "entry_points", lambda group: [])
    assert report_hook.draw_page(run.path) == run.report_path


@pytest.mark.full
def test_findings_are_recorded_as_the_audit_told_them(run):
    assert Insights(run.insights).findings == [asdict(finding) for finding in ()]
