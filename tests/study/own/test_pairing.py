"""Pairing is checked, not believed: what differs between the regimes of a seed is said, and changes the statistics."""

import functions
import pytest

import lerac.study
from lerac.study.errors import StudyError


def compare(function, folder, **options):
    return lerac.study.compare(function, "conventional,lerac(k=1)", 2, out=folder / "study", workers=0, **options)


def test_a_training_that_draws_from_its_seed_is_paired(tmp_path):
    study = compare(functions.train, tmp_path, metric="accuracy", paired="require")
    assert not study.analysis.not_paired
    assert "not paired" not in str(study)


@pytest.mark.parametrize(
    ("function", "differs"),
    [
        (functions.other_weights, "weights"),
        (functions.other_batch, "first batch"),
        (functions.other_steps, "steps"),
    ],
    ids=["weights", "first batch", "steps"],
)
def test_what_differs_is_said_in_terminal_and_report(function, differs, tmp_path):
    study = compare(function, tmp_path)
    [reason] = study.analysis.not_paired.values()
    assert differs in reason
    assert f"not paired: {differs}" in " ".join(str(study).split())
    assert "not paired" in study.report.read_text()
    with pytest.raises(StudyError, match="not paired") as error:
        compare(function, tmp_path / "required", paired="require")
    assert differs in str(error.value)
    assert "\n" not in str(error.value)
