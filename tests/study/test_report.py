import base64
import csv
import re
import shlex
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from lerac.study.errors import StudyError
from lerac.study.figures import sigma_figure
from lerac.study.folder import collect, extend_study
from lerac.study.plan import Smoothing
from lerac.study.recipe import recipe_text
from lerac.study.report import _commands, compare, merge, write_report
from lerac.study.requests import request_study
from lerac.study.runs import RunFolder
from lerac.study.statistics import verdict
from studies import make_study, train_here

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Checks that tags close in order; keeps text, pictures and everything that could be loaded."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.images, self.links = [], "", [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        attributes = dict(attrs)
        if tag == "img":
            self.images.append(attributes)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def page_of(tmp_path, study, results):
    path = tmp_path / "report.html"
    write_report(path, study, results)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    folder, study = finished
    return page_of(tmp_path_factory.mktemp("report"), study, collect(folder, study.runs()))


def test_holds_the_numbers_of_results_csv(page, finished):
    folder, study = finished
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    shown = [r for r in rows if (r["split"], r["metric"]) == ("test", "accuracy")]
    assert len(shown) == 12
    for regime in study.regimes:
        line = [f"{100 * float(r['value']):.2f}" for r in shown if r["regime"] == regime]
        assert re.search(regime + r"\s*" + r"\s*".join(map(re.escape, line)), page.text), (regime, line)
    [comparison] = compare(study, collect(folder, study.runs()))
    for summary in comparison.test:
        assert f"{100 * summary.mean:.2f} ± {100 * summary.sd:.2f}" in page.text
        if summary.difference:
            assert verdict(summary) in page.text


def test_loads_nothing_and_pictures_are_real(page):
    assert page.links
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert len(page.images) == 2 + 4  # differences, training, and the rates of four regimes
    for image in page.images:
        assert image["alt"]
        svg = base64.b64decode(image["src"].partition(",")[2])
        assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert b"<image" not in svg
        assert not re.search(rb"(href|src)=\"(?!#)", svg)


def test_shows_the_blur_and_the_rates_of_smoothing(tmp_path):
    study = make_study("conventional", "cbs", "cbs+lerac", "cbs(sigma=2)")
    page = page_of(tmp_path, study, collect(tmp_path, study.runs()))
    pictures = {image["alt"]: image["src"] for image in page.images}
    assert len(page.images) == 4 + 1
    assert "σ of the blur against the step: cbs, cbs+lerac, cbs(sigma=2)" in pictures
    rates = {regime: pictures[f"Learning rate of every layer against the step: {regime}"] for regime in study.regimes}
    assert rates["cbs"] == rates["conventional"]
    assert rates["cbs"] != rates["cbs+lerac"]
    assert "each network is tested with the σ of its chosen epoch" in " ".join(page.text.split())


def test_sigma_is_drawn_as_it_is_planned():
    same = Smoothing(1.0, 0.5, 4)
    [axes] = sigma_figure({"a": same, "b": same, "c": Smoothing(2.0, 1.0, 100)}, 10).axes
    one, other = axes.lines
    assert one.get_label() == "a, b"
    assert [list(part) for part in one.get_data()] == [[0, 4, 8, 10], [1, 0.5, 0.25, 0.25]]
    assert [list(part) for part in other.get_data()] == [[0, 10], [2, 2]]


def test_says_how_to_do_it_again(page, finished):
    _, study = finished
    [command] = re.findall(r"lerac compare .*", page.text)
    words = shlex.split(command)
    assert words[:3] == ["lerac", "compare", "small-cnn/digits"]
    assert words[words.index("--regimes") + 1] == ",".join(study.regimes)
    assert words[words.index("--seeds") + 1] == "0,1,2"
    sets = {words[i + 1] for i, word in enumerate(words) if word == "--set"}
    assert {"data.train=90", "training.epochs=2"} <= sets
    import torch

    assert f"torch: {torch.__version__}" in page.text


def test_the_same_study_gives_the_same_bytes(finished, tmp_path):
    folder, study = finished
    pages = []
    for name in ("a", "b"):
        write_report(tmp_path / name, study, collect(folder, study.runs()))
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_half_finished(tmp_path):
    study = make_study("conventional", "lerac", seeds=(0, 1))
    train_here(tmp_path, study, study.runs()[:3])
    page = page_of(tmp_path, study, collect(tmp_path, study.runs()))
    assert "3 of 4 runs have ended" in page.text
    assert "lerac: " in page.text
    assert "1 seed, too few for a verdict. Not ended yet: 1 seed." in page.text


def test_nothing_trained_yet(tmp_path):
    study = make_study("conventional", "lerac")
    page = page_of(tmp_path, study, collect(tmp_path, study.runs()))
    assert "0 of 2 runs have ended" in page.text
    assert len(page.images) == 2  # the plan of the rates needs no training


def test_failures_are_shown_and_escaped(tmp_path):
    study = make_study("conventional", "lerac", overrides=("optimizer.lr=1e30",))
    runs = study.runs()
    train_here(tmp_path, study, runs[:1])
    RunFolder(tmp_path, runs[1]).write_error("Traceback: <b>boom</b>\n")
    page = page_of(tmp_path, study, collect(tmp_path, runs))
    assert "diverged, the loss was not finite at step 1" in page.text
    assert "Traceback: <b>boom</b>" in page.text
    assert "conventional itself diverged on seeds 0" in page.text


def test_no_baseline_no_comparison(tmp_path):
    study = make_study("lerac")
    train_here(tmp_path, study)
    [comparison] = compare(study, collect(tmp_path, study.runs()))
    assert comparison.verdicts == ["No comparison: conventional is not among the regimes."]


def test_merge(tmp_path):
    one, two = make_study("conventional", seeds=(0, 1)), make_study("lerac", seeds=(1, 0))
    train_here(tmp_path / "one", one)
    train_here(tmp_path / "two", two)
    study, results = merge([tmp_path / "one", tmp_path / "two"])
    assert study == one.extend(two)
    assert all(result.status for result in results)
    assert len(results) == 4
    [comparison] = compare(study, results)
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
    assert page.text.count("Where the values come from") == 2
    assert len(re.findall(r"lerac compare .*", page.text)) == 2  # they were changed by different --set


def test_the_command_names_the_source_of_a_recipe_that_has_several(tmp_path):
    text = recipe_text("digits").replace('source = "ours"', "")
    (tmp_path / "mine.toml").write_text(text + "\n[official.warmup]\nk = 3\n[ours.warmup]\nk = 2\n")
    word = str(tmp_path / "mine.toml")
    study = request_study([word], "conventional", [0], [], "ours", "cpu")
    assert _commands(study) == [f"lerac compare {word} --source ours --regimes conventional --seeds 0-0"]
    (tmp_path / "mine.toml").unlink()
    assert "--source ours" in _commands(study)[0]
