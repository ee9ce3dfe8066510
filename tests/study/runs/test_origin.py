"""What runs are trained on: recorded, never changed within a study, and said wherever the paper's numbers stand."""

import csv
import hashlib
import io
import json
import shutil

import pytest
import torchvision
from in_this_process import in_this_process
from pages import Page, page_of
from studies import make_run, make_study, train_here

from lerac import cli
from lerac.study.data import DATASETS, digits
from lerac.study.data.pictures import cifar
from lerac.study.data.places import MARKER
from lerac.study.errors import StudyError
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.report.tables import table_csv, table_tex
from lerac.study.runs.comparison import compare
from lerac.study.runs.merging import merge
from lerac.study.runs.outcomes import collect
from lerac.study.runs.run import train_run
from lerac.study.statistics import analyse
from lerac.study.terminal.study import study_json

SMALL = ("network.widths=[4, 4, 4, 4]", "data.train=60", "data.validation=20", "data.test=30", "training.epochs=1")
FOLDER = "cifar-10-batches-py"


def small_study(*overrides, regimes=("conventional", "lerac"), seeds=(0,)):
    recipe = load_recipe("resnet18/cifar10", [*SMALL, "lerac.k=1", "warmup.k=1", *overrides])
    return Study(recipes=[recipe], regimes=list(regimes), seeds=list(seeds))


@pytest.fixture
def data(tmp_path, monkeypatch):
    """What could be CIFAR-10, but for its size and its checksums."""
    monkeypatch.setenv("LERAC_DATA", str(tmp_path))
    monkeypatch.setattr(cifar, "COUNTS", {"train": 200, "test": 50})
    DATASETS["cifar10"].sample(tmp_path)
    (tmp_path / FOLDER / MARKER).unlink()
    return tmp_path / FOLDER


def publish(monkeypatch, folder):
    md5 = {path.name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in folder.iterdir()}
    known = torchvision.datasets.CIFAR10
    monkeypatch.setattr(known, "train_list", [[f"data_batch_{i}", md5[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(known, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": md5["batches.meta"]})


def said(capsys, folder, study, outcomes):
    """Page, terminal, tables and JSON of what has come out of a study."""
    from rich.console import Console

    from lerac.study.terminal.study import print_study

    analysis = analyse(outcomes)
    comparisons = compare(study, outcomes, analysis)
    capsys.readouterr()
    print_study(Console(width=1000), comparisons, analysis)
    return {
        "page": page_of(folder, study, outcomes).words,
        "terminal": capsys.readouterr().out,
        "tex": table_tex(comparisons),
        "csv": ";".join(row["differs"] for row in csv.DictReader(io.StringIO(table_csv(comparisons)))),
        "json": str(study_json(comparisons, analysis)["recipes"][0]["warnings"]),
    }


def test_noise_in_a_data_sets_layout_is_not_the_published_files(tmp_path, monkeypatch, data, capsys):
    study = small_study()
    train_here(tmp_path / "study", study)
    outcomes = collect(tmp_path / "study", study.runs())
    assert {outcome.origin.published for outcome in outcomes} == {False}
    for where, text in said(capsys, tmp_path, study, outcomes).items():
        assert "not the published files" in text, where
    publish(monkeypatch, data)
    again = small_study()
    train_here(tmp_path / "again", again)
    outcomes = collect(tmp_path / "again", again.runs())
    assert {outcome.origin.published for outcome in outcomes} == {True}
    for where, text in said(capsys, tmp_path, again, outcomes).items():
        assert "not the published files" not in text, where
        assert "training.epochs=1" in text, where  # which was changed, and is said, too


@pytest.mark.parametrize("changed", [[], ["training.epochs=90", "optimizer.name=sgd"]])
def test_changed_settings_are_said_wherever_the_papers_numbers_stand(tmp_path, capsys, changed):
    recipe = load_recipe("resnet18/cifar10", changed)
    study = Study(recipes=[recipe], regimes=["conventional", "lerac"], seeds=[0])
    assert recipe.published
    found = said(capsys, tmp_path, study, collect(tmp_path, study.runs()))
    words = {"page": "Settings were changed here"}
    for where, text in found.items():
        assert (words.get(where, "settings changed") in text) is bool(changed), where
        if changed:
            assert "training.epochs=90, optimizer.name=sgd" in text, where


def test_a_run_says_what_it_was_trained_on(tmp_path):
    run = make_run()
    train_run(tmp_path, run)
    config = json.loads((tmp_path / run.folder / "config.json").read_text(encoding="utf-8"))
    assert config["trained_on"]["sha256"] == digits.PUBLISHED
    assert config["trained_on"]["published"] is True


def test_it_is_none_of_what_folders_are_named_after():
    assert "trained_on" not in make_run().configuration()
    assert "trained_on" not in make_study().model_dump()


ASKED = [
    "compare",
    "resnet18/cifar10",
    *(word for one in SMALL for word in ("--set", one)),
    "--set",
    "data.sample=true",
]


@pytest.fixture
def sampled(tmp_path):
    """A finished study on a sample of CIFAR-10, and its command."""
    root = tmp_path / "root"
    root.mkdir()
    DATASETS["cifar10"].sample(root)
    words = [*ASKED, "--set", "lerac.k=1", "--regimes", "conventional", "--workers", "1", "--data-root", str(root)]
    words += ["--out", str(tmp_path / "out")]
    with in_this_process():
        assert cli.run([*words, "--seeds", "1"]) == 0
        yield tmp_path / "out", root / FOLDER, words


def test_a_study_is_not_extended_with_other_data(sampled, capsys):
    out, folder, words = sampled
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    original = (folder / "data_batch_2").read_bytes()
    (folder / "data_batch_2").write_bytes((folder / "data_batch_1").read_bytes())
    capsys.readouterr()
    assert cli.run([*words, "--seeds", "2"]) == 2
    error = capsys.readouterr().err
    assert "trained on other data" in error
    assert len(error.strip().splitlines()) == 1
    assert all(path.read_bytes() == content for path, content in before.items())
    assert cli.run([*words, "--seeds", "1"]) == 0  # nothing is left to train, so nothing is wrong
    train = ["train", *words[1:], "--regime", "conventional", "--seed", "5"]
    at = train.index("--regimes")
    del train[at : at + 2], train[train.index("--workers") : train.index("--workers") + 2]
    assert cli.run(train) == 2
    (folder / "data_batch_2").write_bytes(original)
    assert cli.run([*words, "--seeds", "2"]) == 0


def test_a_run_does_not_go_on_with_other_data(tmp_path, data):
    [run] = small_study(regimes=["conventional"]).runs()
    train_run(tmp_path / "study", run)
    (tmp_path / "study" / run.folder / "status.json").unlink()
    (data / "data_batch_4").write_bytes((data / "data_batch_5").read_bytes())
    with pytest.raises(StudyError, match="trained on other data than is there now"):
        train_run(tmp_path / "study", run)


def test_folders_with_other_data_are_merged_with_a_warning(tmp_path, data, capsys):
    studies = [small_study(seeds=[seed]) for seed in (0, 1)]
    train_here(tmp_path / "one", studies[0])
    (data / "data_batch_4").write_bytes((data / "data_batch_5").read_bytes())
    train_here(tmp_path / "other", studies[1])
    study, outcomes = merge([tmp_path / "one", tmp_path / "other"])
    found = said(capsys, tmp_path, study, outcomes)
    for where in ("page", "terminal"):
        assert "trained on different data (2 on " in found[where]


def test_runs_that_do_not_say_it_are_continued_and_said(finished, tmp_path):
    folder, study = finished
    shutil.copytree(folder, tmp_path / "old")
    for path in (tmp_path / "old").glob("runs/*/*/config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        del config["trained_on"]
        path.write_text(json.dumps(config), encoding="utf-8")
    [first, *_] = study.runs()
    (tmp_path / "old" / first.folder / "status.json").unlink()
    train_run(tmp_path / "old", first)
    page = page_of(tmp_path, study, collect(tmp_path / "old", study.runs()))
    assert "Data of small-cnn/digits, 12 runs: not written down" in page.words
    assert "different data" not in page.words


@pytest.mark.parametrize(
    "told", [3, "x", [], {}, {"sha256": 3}, {"sha256": "a", "published": [1]}, {"published": True}]
)
def test_a_damaged_record_is_named(finished, tmp_path, told):
    folder, study = finished
    run = study.runs()[0]
    shutil.copytree(folder / run.folder, tmp_path / run.folder)
    path = tmp_path / run.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"trained_on": told}), encoding="utf-8")
    with pytest.raises(StudyError, match=r"config\.json is damaged: trained_on"):
        collect(tmp_path, [run])


def test_the_page_has_the_fingerprint(report: Page):
    assert f"Data of small-cnn/digits, 12 runs: {digits.PUBLISHED[:12]}, the published files" in report.words


def test_latex_says_it_in_a_row_of_its_own(tmp_path):
    recipes = [load_recipe(name, ["training.epochs=90"]) for name in ("resnet18/cifar10", "resnet18/cifar100")]
    study = Study(recipes=recipes, regimes=["conventional", "lerac"], seeds=[0])
    outcomes = collect(tmp_path, study.runs())
    text = table_tex(compare(study, outcomes, analyse(outcomes)))
    said = [line for line in text.splitlines() if "multicolumn" in line]
    assert len(said) == 2
    for line in said:
        assert line.startswith(r"\multicolumn{8}{p{0.9\linewidth}}{Paper: of another experiment than here: settings ch")
        assert line.endswith(r"(training.epochs=90).}\\")
