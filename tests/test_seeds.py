"""Mean and spread of scores over runs of several seeds."""

import pytest

from kit.seeds import summarise_seeds


def test_summary_of_seeds_keeps_the_nesting():
    runs = [
        {"test": {"accuracy": 0.9, "confusion": [[1]], "top_5_accuracy": None, "per_class": {"a": {"f1": 1}}}},
        {"test": {"accuracy": 0.7, "confusion": [[2]], "top_5_accuracy": None, "per_class": {"a": {"f1": 0}}}},
        {"test": {"accuracy": 0.8, "confusion": [[3]], "top_5_accuracy": None, "per_class": {}}},
    ]
    summary = summarise_seeds(runs)
    assert set(summary["test"]) == {"accuracy", "per_class"}
    accuracy = summary["test"]["accuracy"]
    assert accuracy == {
        "mean": pytest.approx(0.8), "standard_deviation": pytest.approx(0.1), "low": 0.7, "high": 0.9, "runs": 3,
    }  # fmt: skip
    assert summary["test"]["per_class"]["a"]["f1"]["runs"] == 2


def test_one_seed_has_no_spread():
    assert summarise_seeds([{"accuracy": 0.5}])["accuracy"] == {
        "mean": 0.5, "standard_deviation": None, "low": 0.5, "high": 0.5, "runs": 1,
    }  # fmt: skip
    assert summarise_seeds([]) == {}
