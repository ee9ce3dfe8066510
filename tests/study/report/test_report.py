import csv
import re
import shlex
import shutil

import pytest
from pages import page_of, report_of
from studies import make_study, train_here

from lerac.regimes.effects import Smoothing
from lerac.study.errors import StudyError
from lerac.study.figures.rates import sigma_figure
from lerac.study.plan.request import request_study
from lerac.study.recipes.recipe import recipe_text
from lerac.study.report.commands import commands_of
from lerac.study.runs.comparison import compare
from lerac.study.runs.folder import extend_study
from lerac.study.runs.merging import merge
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import RunFolder
from lerac.study.statistics import analyse


def test_shows_every_run_the_means_and_the_verdicts(report, finished):
    folder, study = finished
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    shown = {
        (r["regime"], r["seed"]): f"{100 * float(r['value']):.2f}"
        for r in rows
        if (r["split"], r["metric"]) == ("test", "accuracy")
    }
    assert len(shown) == 12
    for seed in study.seeds:
        assert " ".join([str(seed), *(shown[regime, str(seed)] for regime in study.regimes)]) in spaced(report)
    results = collect(folder, study.runs())
    [comparison] = compare(study, results, analyse(results))
    assert comparison.reach.startswith("With 3 paired seeds, a true difference to conventional of ")
    assert comparison.reach in report.words
    for summary in comparison.test:
        assert f"{100 * summary.mean:.2f} ± {100 * summary.sd:.2f}" in report.words
    assert len(comparison.verdicts) == 3
    assert all(verdict in report.words for verdict in comparison.verdicts)
    assert report.words.index(comparison.reach) < report.words.index(comparison.verdicts[0])


def spaced(page):
    """The text with a space between the cells of a table."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.html).replace("−", "-").split())


def test_embeds_results_csv(report, finished):
    folder, _ = finished
    header, *rows = csv.reader((folder / "results.csv").read_text().splitlines())
    assert report.data["columns"] == header
    assert [[str(cell) for cell in row] for row in report.data["rows"]] == rows
    assert all(type(row[5]) is float for row in report.data["rows"])


def test_says_where_nothing_is_published(report):
    assert "published, %" not in report.words
    assert "the first version of the paper, from which we have its numbers, has none for this recipe" in report.words


def test_loads_nothing_and_pictures_have_a_text(report):
    assert report.links
    assert [link for link in report.links if not link.startswith("#")] == ["data:,"]
    assert not re.search(r"https?:|@import|url\((?!#)|\bfetch\b|XMLHttpRequest", report.html)
    assert len(report.pictures) == 2 + 2 + 4  # seeds and differences, curves, and the rates of four regimes
    assert all(report.pictures)
    assert report.html.count("<svg") == len(report.pictures)


def test_every_colour_of_a_picture_is_defined_by_day_and_by_night(report):
    used = set(re.findall(r"var\((--c[0-9a-f]{6})\)", report.html))
    assert len(used) > 10
    for colour in used:
        assert len(re.findall(rf"{colour}: #[0-9a-f]{{6}};", report.html)) == 2, colour
    assert "--c000000: #000000;" in report.html
    assert "--c000000: #ebebeb;" in report.html


def test_shows_the_blur_and_the_rates_of_smoothing(tmp_path):
    study = make_study("conventional", "cbs", "cbs+lerac", "cbs(sigma=2)")
    page = page_of(tmp_path, study, collect(tmp_path, study.runs()))
    assert len(page.pictures) == 4 + 1
    assert "σ of the blur against the step: cbs, cbs+lerac, cbs(sigma=2)" in page.pictures
    rates = dict(zip(page.pictures, re.findall(r"<svg.*?</svg>", page.html, re.DOTALL), strict=True))
    lines = {
        regime: re.findall(r'd="M [^"]*"', rates[f"Learning rate of every layer against the step: {regime}"])
        for regime in study.regimes
    }
    assert lines["cbs"] == lines["conventional"]
    assert lines["cbs"] != lines["cbs+lerac"]
    assert "each network is tested with the σ of its chosen epoch" in page.words


def test_sigma_is_drawn_as_it_is_planned():
    same = Smoothing(1.0, 0.5, 4)
    [axes] = sigma_figure({"a": same, "b": same, "c": Smoothing(2.0, 1.0, 100)}, 10).axes
    one, other = axes.lines
    assert one.get_label() == "a, b"
    assert [list(part) for part in one.get_data()] == [[0, 4, 8, 10], [1, 0.5, 0.25, 0.25]]
    assert [list(part) for part in other.get_data()] == [[0, 10], [2, 2]]


def test_says_how_to_do_it_again(report, finished):
    _, study = finished
    [command] = re.findall(r"lerac compare .*", report.text)
    words = shlex.split(command)
    assert words[:3] == ["lerac", "compare", "small-cnn/digits"]
    assert words[words.index("--regimes") + 1] == ",".join(study.regimes)
    assert words[words.index("--seeds") + 1] == "0-2"
    sets = {words[i + 1] for i, word in enumerate(words) if word == "--set"}
    assert {"data.train=90", "training.epochs=2"} <= sets
    import torch

    assert f"torch: {torch.__version__}" in report.words


def test_the_same_study_gives_the_same_bytes(finished, report, tmp_path):
    folder, study = finished
    report_of(tmp_path / "again", study, collect(folder, study.runs()), folders=[folder])
    assert (tmp_path / "again").read_bytes() == report.html.encode()


def test_half_finished(tmp_path):
    study = make_study("conventional", "lerac", seeds=(0, 1))
    train_here(tmp_path, study, study.runs()[:3])
    page = page_of(tmp_path, study, collect(tmp_path, study.runs()))
    assert "3 of 4 runs have ended" in page.words
    assert "lerac: " in page.words
    assert "1 seed, too few for a verdict. Not ended yet: 1 seed." in page.words


def test_nothing_trained_yet(tmp_path):
    study = make_study("conventional", "lerac")
    page = page_of(tmp_path, study, collect(tmp_path, study.runs()))
    assert "0 of 2 runs have ended" in page.words
    assert len(page.pictures) == 2  # the plan of the rates needs no training


def test_failures_are_shown_and_escaped(tmp_path):
    study = make_study("conventional", "lerac", overrides=("optimizer.lr=1e30",))
    runs = study.runs()
    train_here(tmp_path, study, runs[:1])
    (tmp_path / runs[1].folder).mkdir(parents=True)
    RunFolder(tmp_path, runs[1]).write_error("Traceback: <b>boom</b>\n")
    page = page_of(tmp_path, study, collect(tmp_path, runs))
    assert "diverged, the loss was not finite at step 1" in page.words
    assert "Traceback: <b>boom</b>" in page.words
    assert "conventional itself diverged on seeds 0" in page.words


def test_no_baseline_no_comparison(tmp_path):
    study = make_study("lerac")
    train_here(tmp_path, study)
    page = page_of(tmp_path, study, collect(tmp_path, study.runs()))
    says = "No comparison: conventional is not among the regimes; any of them can be made the baseline."
    assert page.words.count(says) == 1
    assert "difference to" not in page.words
    assert "ratio to" not in page.words
    assert "statistics" not in page.ids


def test_merge(tmp_path):
    one, two = make_study("conventional", seeds=(0, 1)), make_study("lerac", seeds=(1, 0))
    train_here(tmp_path / "one", one)
    train_here(tmp_path / "two", two)
    study, results = merge([tmp_path / "one", tmp_path / "two"])
    assert study == one.extend(two)
    assert all(result.ended for result in results)
    assert len(results) == 4
    [comparison] = compare(study, results, analyse(results))
    assert comparison.test[1].difference.n == 2


def test_merge_refuses_contradictions(tmp_path):
    study = make_study("conventional")
    train_here(tmp_path / "one", study)
    with pytest.raises(StudyError, match="holds no study"):
        merge([tmp_path / "one", tmp_path / "nothing"])
    train_here(tmp_path / "other", make_study("conventional", epochs=1))
    with pytest.raises(StudyError, match=r"other cannot be merged with .*one: .*training.epochs 2, now asked for 1"):
        merge([tmp_path / "one", tmp_path / "other"])
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    assert len(merge([tmp_path / "one", tmp_path / "copy"])[1]) == 1
    [run] = study.runs()
    status = RunFolder(tmp_path / "copy", run).status()
    status["test"]["loss"] += 1e-9
    RunFolder(tmp_path / "copy", run).write_status(status)
    with pytest.raises(StudyError, match="has another test loss than in the folders before it"):
        merge([tmp_path / "one", tmp_path / "copy"])


def test_two_recipes(tmp_path):
    first = make_study("conventional", "lerac", epochs=1)
    second = make_study("conventional", epochs=1, overrides=('model="wrn52-2"', "data.train=20", "data.test=10"))
    study = first.extend(second)
    train_here(tmp_path, study, first.runs())
    assert extend_study(tmp_path, study) == study
    page = page_of(tmp_path, study, collect(tmp_path, study.runs()))
    assert page.words.count("All values, and where they come from") == 2
    assert len(re.findall(r"lerac compare .*", page.text)) == 2  # they were changed by different --set


def test_the_command_names_the_source_of_a_recipe_that_has_several(tmp_path):
    text = recipe_text("digits").replace('source = "ours"', "")
    (tmp_path / "mine.toml").write_text(text + "\n[official.warmup]\nk = 3\n[ours.warmup]\nk = 2\n")
    word = str(tmp_path / "mine.toml")
    study = request_study([word], "conventional", [0], [], "ours", "cpu")
    analysis = analyse(collect(tmp_path, study.runs()))
    assert commands_of(study, analysis) == [f"lerac compare {word} --source ours --regimes conventional --seeds 0-0"]
    (tmp_path / "mine.toml").unlink()
    assert "--source ours" in commands_of(study, analysis)[0]


def test_the_command_names_the_precision(tmp_path):
    study = request_study(["digits"], "conventional", [4, 5, 6, 9], [], None, "cpu", "bf16")
    [command] = commands_of(study, analyse(collect(tmp_path, study.runs())))
    assert command.endswith("--regimes conventional --seeds 4-6,9 --precision bf16")
