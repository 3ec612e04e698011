"""Splits are stable, keep groups whole, and respect what is given."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import SplitConfig
from kit.data.split import assign_folds, assign_splits, share_out
from kit.errors import DataError

NAMES = ("train", "validation", "test")


def assign(labels, groups=None, given=None, config=None):
    count = len(labels)
    groups = groups or [f"image {index}" for index in range(count)]
    return assign_splits(labels, groups, given or [None] * count, config or SplitConfig())


def counts(labels, splits, split):
    """Images of each class in a split."""
    return {label: sum(pair == (label, split) for pair in zip(labels, splits, strict=True)) for label in set(labels)}


@pytest.mark.parametrize(
    ("classes", "per_class", "most"),
    [(2, 20, (3, 3)), (40, 14, (2, 3)), (100, 10, (1, 2)), (5, 100, (15, 15)), (3, 3, (1, 1))],
)
def test_every_class_has_its_share_and_so_has_the_whole(classes, per_class, most):
    """Of 20 images a class, 70/15/15 gave 14/2/4; of 40 classes of 14, five had no validation image."""
    labels = [f"c{number}" for number in range(classes)] * per_class
    for seed in range(3):
        splits, _ = assign(labels, config=SplitConfig(seed=seed))
        for split in ("validation", "test"):
            found = counts(labels, splits, split)
            assert set(found.values()) <= set(most)
            if per_class > 3:
                assert abs(sum(found.values()) - 0.15 * len(labels)) < 1


samples = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=120)
shares = st.sampled_from([(0.7, 0.15, 0.15), (0.6, 0.2, 0.2), (0.8, 0.2, 0.0), (0.85, 0.0, 0.15), (0.34, 0.33, 0.33)])


@given(samples, shares, st.integers(0, 5))
def test_stratified_shares(rows, three, seed):
    """Groups of one class: whole, within one group of the share, in every split if there are three."""
    labels = [label for label, _ in rows]
    groups = [f"{label}{group}" for label, group in rows]
    named = dict(zip(NAMES, three, strict=True))
    parts = share_out(labels, groups, named, seed)
    assert len({*zip(groups, parts, strict=True)}) == len(set(groups))
    assert {named[part] > 0 for part in parts} == {True}
    sizes = Counter(groups)
    for label in set(labels):
        own = {group: size for group, size in sizes.items() if group[0] == label}
        present = {part for of, part in zip(labels, parts, strict=True) if of == label}
        if len(own) >= 3:
            assert present == {part for part, share in named.items() if share}
        for part, share in named.items():
            count = counts(labels, parts, part)[label]
            assert abs(count - share * sum(own.values())) <= max(own.values())


@given(samples, st.integers(2, 10), st.integers(0, 5))
def test_folds(rows, folds, seed):
    """Each class in each fold within one group of its share, groups whole."""
    labels = [label for label, _ in rows]
    groups = [f"{label}{group}" for label, group in rows]
    config = SplitConfig(folds=folds, seed=seed)
    if len(set(groups)) < folds:
        with pytest.raises(DataError, match=f"do not make {folds} folds"):
            assign_folds(labels, groups, [None] * len(rows), config)
        return
    assigned, _ = assign_folds(labels, groups, [None] * len(rows), config)
    assert set(assigned) == set(range(1, folds + 1))
    assert len({*zip(groups, assigned, strict=True)}) == len(set(groups))
    sizes = Counter(groups)
    for label in set(labels):
        own = [size for group, size in sizes.items() if group[0] == label]
        for fold in range(1, folds + 1):
            assert abs(counts(labels, assigned, fold)[label] - sum(own) / folds) <= max(own)


def test_few_large_groups_are_shared_out_as_far_as_they_go():
    """Two videos of each class: no class can be everywhere, but no split or fold is empty, and all are trained on."""
    labels = [f"c{number}" for number in range(10) for _ in range(40)]
    groups = [f"{label}-{number // 20 % 2}" for number, label in enumerate(labels)]
    for seed in range(5):
        folds, _ = assign_folds(labels, groups, [None] * 400, SplitConfig(folds=5, seed=seed))
        assert set(Counter(folds).values()) == {80}
        splits, _ = assign_splits(labels, groups, [None] * 400, SplitConfig(seed=seed))
        assert set(counts(labels, splits, "train").values()) <= {20, 40}
        assert Counter(splits)["test"] == Counter(splits)["validation"] == 60
    lone, _ = assign_splits(["a", "b", "c"], ["1", "2", "3"], [None] * 3, SplitConfig(train=0.4, test=0.45))
    assert lone == ["train"] * 3


@given(samples, st.integers(0, 5), st.randoms())
def test_the_order_of_the_samples_does_not_matter(rows, seed, random):
    """Groups span classes here."""
    named = {"train": 0.7, "validation": 0.15, "test": 0.15}
    labels, groups = [label for label, _ in rows], [str(group) for _, group in rows]
    parts = dict(zip(groups, share_out(labels, groups, named, seed), strict=True))
    assert len({*zip(groups, share_out(labels, groups, named, seed), strict=True)}) == len(set(groups))
    random.shuffle(rows)
    labels, groups = [label for label, _ in rows], [str(group) for _, group in rows]
    assert dict(zip(groups, share_out(labels, groups, named, seed), strict=True)) == parts


def test_groups_that_span_classes_are_stratified_too():
    """Patients with images of several classes each, and nothing else: no class is without a split."""
    labels = [label for patient in range(40) for label in ("ab", "bc", "abc", "c")[patient % 4]]
    groups = [str(patient) for patient in range(40) for _ in ("ab", "bc", "abc", "c")[patient % 4]]
    for seed in range(5):
        parts = share_out(labels, groups, {"train": 0.7, "validation": 0.15, "test": 0.15}, seed)
        for part, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
            for label, count in counts(labels, parts, part).items():
                assert abs(count - share * labels.count(label)) <= 3


@given(samples, st.integers(0, 5))
def test_joining_train_and_validation_leaves_test_alone(rows, seed):
    labels, groups = [label for label, _ in rows], [str(group) for _, group in rows]
    apart = share_out(labels, groups, {"train": 0.7, "validation": 0.15, "test": 0.15}, seed)
    joined = share_out(labels, groups, {"train": 0.85, "validation": 0.0, "test": 0.15}, seed)
    assert [part == "test" for part in apart] == [part == "test" for part in joined]


@pytest.mark.parametrize(("per_class", "most"), [(20, 0.08), (100, 0.03), (1000, 0.01)])
def test_few_images_move_when_a_tenth_is_added(per_class, most):
    """docs/how-it-works.md states what this measures."""
    moved = []
    for seed in range(8):
        groups = [f"{seed}-{number}" for number in range(per_class * 5 * 11 // 10)]
        labels = [f"c{number % 5}" for number in range(len(groups))]
        before, _ = assign(labels[: per_class * 5], groups[: per_class * 5])
        after, _ = assign(labels, groups)
        moved.append(sum(was != now for was, now in zip(before, after, strict=False)) / len(before))
    assert sum(moved) / len(moved) < most


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(0, 60))
def test_by_hash_an_image_keeps_its_split_when_others_are_added(seed, before, added):
    config = SplitConfig(method="hash", seed=seed, train=0.98, validation=0.01, test=0.01)
    groups = [f"g{index}" for index in range(before + added)]
    labels = [f"c{index % 3}" for index in range(before + added)]
    few, _ = assign_or_train(labels[:before], groups[:before], config)
    many, _ = assign_or_train(labels, groups, config)
    assert many[:before] == few


def assign_or_train(labels, groups, config):
    """One image more that is trained on for certain: without any, there is nothing to assign."""
    splits, warnings = assign_splits([*labels, "c"], [*groups, "anchor"], [*([None] * len(labels)), "train"], config)
    return splits[:-1], warnings


def test_classes_with_few_images_are_named_with_what_their_number_can_tell():
    labels = ["many"] * 200 + ["few"] * 20
    _, warnings = assign(labels)
    assert warnings == [
        "Fewer than 10 validation images of few (3): with 3, 90% right would mean between 36% and 99% (95% interval).",
        "Fewer than 10 test images of few (3): with 3, 90% right would mean between 36% and 99% (95% interval).",
        "`transferkit train DATA --folds 5` measures on every image instead.",
    ]
    assert assign(["a"] * 70 + ["b"] * 70)[1] == []


def test_the_seed_chooses_the_split():
    labels = ["a"] * 200
    assert assign(labels)[0] == assign(labels)[0]
    assert assign(labels)[0] != assign(labels, config=SplitConfig(seed=1))[0]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8), st.sampled_from([None, *NAMES])), min_size=1))
def test_groups_stay_together_and_given_splits_are_kept(rows):
    labels, groups, given = ([*column] for column in zip(*rows, strict=True))
    groups = [f"g{group}" for group in groups]
    labels, groups, given = [*labels, "a"], [*groups, "anchor"], [*given, None]
    given[-1] = "train"
    splits, _ = assign_splits(labels, groups, given, SplitConfig())
    if None in given:
        assert all(was in (None, is_now) for was, is_now in zip(given, splits, strict=True))
    for group in set(groups):
        members = [(was, is_now) for was, is_now, of in zip(given, splits, groups, strict=True) if of == group]
        fixed = [was for was, _ in members if was]
        free = {is_now for was, is_now in members if was is None}
        assert len(free) <= 1  # whole
        if fixed and free:
            assert free == {max(fixed, key=NAMES.index)}


def test_a_group_across_classes_stays_whole():
    for seed in range(20):
        splits, _ = assign(["a", "b"] * 10, ["shared"] * 2 + [str(n) for n in range(18)], config=SplitConfig(seed=seed))
        assert splits[0] == splits[1]


def test_given_splits_are_taken_as_they_are():
    given = ["train", "validation", "test"] * 10
    splits, warnings = assign(["a"] * 30, ["same"] * 30, given)
    assert splits == given
    assert warnings == []


@pytest.mark.parametrize(("there", "missing"), [("validation", "test"), ("test", "validation")])
def test_a_missing_split_is_taken_from_train_and_said(there, missing):
    given = ["train"] * 800 + [there] * 100
    splits, warnings = assign(["a"] * 900, given=given)
    got = Counter(splits)
    assert splits[800:] == [there] * 100
    assert got[missing] == round(800 * 0.15 / 0.85)
    assert any(missing in warning and "18%" in warning for warning in warnings)


def test_no_missing_split_is_made_where_none_is_wanted():
    given = ["train"] * 40 + ["validation"] * 10
    config = SplitConfig(train=0.8, validation=0.2, test=0.0)
    assert assign(["a"] * 50, given=given, config=config) == (given, [])


def test_shares_of_zero_stay_empty():
    splits, warnings = assign(["a"] * 500, config=SplitConfig(train=1.0, validation=0.0, test=0.0))
    assert set(splits) == {"train"}
    assert warnings == []


def test_a_class_that_lacks_a_split_is_named():
    splits, warnings = assign(["a", "a", "a", "rare"], given=["train", "validation", "test", "train"])
    assert splits[3] == "train"
    assert warnings[:2] == ["The validation split has no image of rare.", "The test split has no image of rare."]


def test_only_a_train_split_is_shared_out_whole():
    splits, warnings = assign(["a"] * 400, given=["train"] * 400)
    assert splits == assign(["a"] * 400)[0]
    assert "no validation and no test" in warnings[0]


def test_nothing_to_train_on():
    with pytest.raises(DataError, match="train split"):
        assign(["a", "b"], given=["validation", "test"])
    with pytest.raises(ValueError, match="entries"):
        assign_splits(["a"], [], [None], SplitConfig())


def test_names_that_are_not_utf_8():
    groups = [f"group:\udcff{number}" for number in range(50)]
    assert set(assign(["a"] * 50, groups)[0]) == set(NAMES)
