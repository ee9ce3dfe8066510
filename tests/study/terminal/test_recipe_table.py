"""`lerac recipes`: the cells of the paper's tables against a transcript of them, and what a person sees."""

import json

import pytest
from networks import needed
from rich.console import Console

from lerac.cli import run
from lerac.study.data import DATASETS
from lerac.study.errors import StudyError
from lerac.study.models import MODELS
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import Recipe, load_recipe, recipe_names, recipe_sources
from lerac.study.runs.comparison import compare
from lerac.study.runs.outcomes import collect
from lerac.study.statistics import analyse
from lerac.study.terminal.recipes import GROUPS, ROWS, known_recipes
from lerac.study.terminal.study import print_study

# Croitoru et al., "Learning Rate Curriculum", arXiv 2205.09180v1: accuracy in %, mean ± standard deviation of 5 runs.
REGIMES = {
    "conventional": "conventional", "CBS": "cbs", "LeRaC": "lerac", "linear": "lerac(curve=linear)",
    "both": "cbs+lerac",
}  # fmt: skip
IMAGES = """
resnet18         conventional 89.20 0.43 65.28 0.16 57.41 0.05
resnet18         CBS          89.53 0.22 66.41 0.21 55.49 0.20
resnet18         LeRaC        89.56 0.16 66.02 0.17 57.86 0.20
wrn52-2          conventional 91.22 0.24 68.14 0.16 55.97 0.30
wrn52-2          CBS          89.05 1.00 65.73 0.36 48.30 1.53
wrn52-2          LeRaC        91.58 0.16 69.38 0.26 56.48 0.60
cvt13            conventional 71.84 0.37 41.87 0.16 33.38 0.27
cvt13            CBS          72.64 0.29 44.48 0.40 33.56 0.36
cvt13            LeRaC        72.90 0.28 43.46 0.18 33.95 0.28
cvt13            linear       72.49 0.27 43.39 0.14 33.86 0.07
cvt13            both         73.25 0.19 44.90 0.41 34.20 0.61
cvt13-pretrained conventional 93.56 0.05 77.80 0.16 70.71 0.35
cvt13-pretrained CBS          85.85 0.15 62.35 0.48 68.41 0.13
cvt13-pretrained LeRaC        94.15 0.03 78.93 0.05 71.34 0.08
"""
TEXT = """
bert-large conventional 74.12 0.32 74.48 1.36 92.13 0.08
bert-large CBS          74.37 1.11 74.97 1.96 91.47 0.22
bert-large LeRaC        75.55 0.66 75.81 0.29 92.45 0.13
lstm       conventional 64.40 1.37 54.12 1.60 59.42 0.36
lstm       CBS          64.75 1.54 54.03 0.45 59.89 0.38
lstm       LeRaC        65.80 0.33 55.71 1.04 59.98 0.34
"""
SOUND = """
septr       conventional 70.47 0.67 91.13 0.33
septr       CBS          69.98 0.71 91.15 0.41
septr       LeRaC        70.95 0.56 91.58 0.28
densenet121 conventional 67.21 0.12 88.91 0.11
densenet121 CBS          68.16 0.19 88.76 0.17
densenet121 LeRaC        68.99 0.08 90.02 0.10
"""
TABLES = (
    (("cifar10", "cifar100", "tiny-imagenet"), IMAGES),
    (("boolq", "rte", "qnli"), TEXT),
    (("cremad", "esc50"), SOUND),
)

OUR_OWN = ("digits", "fashion-mnist", "mnist1d")  # data that the paper does not have


def transcript():
    """Recipe → regime → [mean, standard deviation]."""
    cells = {}
    for datasets, table in TABLES:
        for line in table.split("\n")[1:-1]:
            model, regime, *numbers = line.split()
            for dataset, mean, spread in zip(datasets, numbers[::2], numbers[1::2], strict=True):
                cells.setdefault(f"{model}/{dataset}", {})[REGIMES[regime]] = [float(mean), float(spread)]
    return cells


def test_every_number_of_the_paper_that_we_know_is_in_its_recipe_and_no_other():
    known = {recipe["name"]: recipe for recipe in known_recipes()}
    assert {name: recipe["published"] for name, recipe in known.items() if recipe["published"]} == transcript()
    for name, recipe in known.items():
        if recipe["dataset"] in ("food101", "imagenet200", "utkface", "voc"):  # of later versions
            assert recipe["cell"] == "unknown"
            assert recipe["unknown"]
        else:
            assert recipe["cell"] == ("none" if recipe["dataset"] in OUR_OWN else "known"), name
            assert recipe["unknown"] == []


def test_json_says_what_the_paper_leaves_open(capsys):
    assert run(["recipes", "--json"]) == 0
    known = {recipe["name"]: recipe for recipe in json.loads(capsys.readouterr().out)}
    assert list(known) == recipe_names()
    recipe = known["resnet18/cifar10"]
    assert list(recipe)[:4] == ["name", "model", "dataset", "sources"]
    assert recipe["chosen"] == [
        "training.epochs", "training.early_stopping", "schedule.patience", "warmup", "lerac.k", "cbs.every",
    ]  # fmt: skip
    assert (recipe["metric"], recipe["parameters"]) == ("accuracy", 11_173_962)
    assert (known["resnet18/utkface"]["metric"], known["lstm/rte"]["parameters"]) == ("mae", None)


@pytest.mark.parametrize("model", sorted({name.partition("/")[0] for name in recipe_names()} - {"lstm"}))
def test_parameters_are_those_of_the_network(model):
    needed(model)
    for name in recipe_names():
        if name.startswith(f"{model}/"):
            for source in recipe_sources(name):
                recipe = load_recipe(name, source=source)
                data = DATASETS[recipe.dataset]
                network = MODELS[model].skeleton(data.classes, data.channels, **recipe.network)
                assert sum(p.numel() for p in network.parameters()) == recipe.parameters, (name, source)


def test_a_person_sees_a_table_of_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    at = lines.index("Images: accuracy, %")
    assert lines[at + 1].split() == ["model", "cifar10", "cifar100", "tiny-imagenet", "imagenet200", "food101"]
    assert lines[at + 2].split() == ["resnet18", "●", "89.56±0.16", "●", "66.02±0.17", "●", "57.86±0.20", "○", "○"]
    assert lines[at + 3].split() == ["11.3", "million", *"PAPAPAOAOA"]
    models = [line.split()[0] for line in lines[at + 2 : at + 12 : 2]]
    assert models == ["resnet18", "wrn52-2", "wide-resnet50", "cvt13", "cvt13-pretrained"]
    assert "Age: mean absolute error, years" in lines
    text = " ".join(" ".join(lines).split())
    of = {cell: sum(recipe["cell"] == cell for recipe in known_recipes()) for cell in ("unknown", "none")}
    assert "22 are cells with known numbers: 72 means with their standard deviations" in text
    assert f"Of {of['unknown']} the numbers are unknown to us, {of['none']} are ours." in text
    assert "resnet18/utkface: Later versions of the paper have UTKFace; with which networks" in text
    for word in (
        "● a cell of the paper",
        "○ a cell that later",
        "· not in the paper",
        "P the paper's",
        "A the authors'",
    ):
        assert word in text


def test_every_recipe_has_its_place():
    shown = [dataset for datasets in GROUPS.values() for dataset in datasets]
    assert sorted(shown) == sorted(DATASETS)
    assert set(ROWS) <= set(MODELS)
    assert {load_recipe(name).cell for name in recipe_names()} == {"known", "unknown", "none"}


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        ({"cell": "known"}, "cell is 'known': known goes with numbers in"),
        ({"cell": "none", "published": {"lerac": [90.0, 1.0]}}, "cell is 'none'"),
        ({"cell": "unknown", "published": {"lerac": [90.0, 1.0]}}, "cell is 'unknown'"),
        ({"cell": "none", "unknown": ["The numbers."]}, "unknown: of what the paper does not have"),
        ({"cell": "perhaps"}, "Input should be 'known', 'unknown' or 'none'"),
        ({"parameters": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_notes_are_refused(notes, says):
    values = load_recipe("digits").model_dump()
    with pytest.raises(ValueError, match=says):
        Recipe.model_validate({**values, **notes})
    assert Recipe.model_validate({**values, "cell": None}).cell is None  # a file of a user need not say


def test_what_others_report_stands_in_the_recipes_and_below_the_table_of_a_comparison(tmp_path, capsys):
    """Greydanus and Kobak, ICML 2024: accuracies on MNIST-1D in %."""
    known = {recipe["name"]: recipe["reported"] for recipe in known_recipes()}
    told = {name.partition("/")[0]: reported["score"] for name, reported in known.items() if reported}
    assert told == {"linear": 32, "mlp": 68, "cnn1d": 94, "gru": 91}
    for name in ("mlp/mnist1d", "gru/digits"):
        recipe = load_recipe(name)
        assert "reported" not in recipe.settings()
        study = Study(recipes=[recipe], regimes=["conventional", "lerac"], seeds=[0])
        outcomes = collect(tmp_path, study.runs())
        print_study(Console(width=1000), compare(study, outcomes, analyse(outcomes)), analyse(outcomes))
        said = "Reported by others: 68 %, Greydanus and Kobak" in capsys.readouterr().out
        assert said is (name == "mlp/mnist1d")
    with pytest.raises(StudyError, match="reported is what a recipe says about its values, not one of them"):
        load_recipe("mlp/mnist1d", ["reported.score=99.0"])
