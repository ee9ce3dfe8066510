"""Every recipe trains on the sample of its data set, through the code that trains on the real data."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from networks import needed
from small_recipes import small_official_run, small_run, train_to_the_end, write_samples

from lerac.study.data import DATASETS
from lerac.study.recipes.recipe import load_recipe, recipe_names, recipe_sources

pytestmark = pytest.mark.wide
NAMES = recipe_names()


@pytest.fixture(scope="module", autouse=True)
def samples(tmp_path_factory):
    """Samples of all data sets that a recipe names, and a vocabulary."""
    for module in ("datasets", "soundfile", "librosa", "soxr"):
        pytest.importorskip(module)
    root = tmp_path_factory.mktemp("data")
    write_samples(root, *sorted({name.split("/")[1] for name in NAMES} - {"digits", "mnist1d"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LERAC_DATA", str(root))
        patch.setenv("LERAC_WEIGHTS", str(root / "weights"))
        yield root


@pytest.mark.parametrize("regime", ["conventional", "cbs", "lerac"])
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains(name, regime):
    needed(name.split("/")[0])
    if regime == "cbs" and load_recipe(name).cbs is None:
        pytest.skip("has nothing that could be smoothed")
    if regime == "lerac" and name == "linear/mnist1d":
        pytest.skip("has a single layer")
    more = ("cbs.sigma=1.0", "cbs.decay=0.9") if name == "lenet/digits" else ()  # has no [cbs] of its own
    training = train_to_the_end(small_run(name, regime, *more))
    if DATASETS[name.split("/")[1]].task == "regression":
        assert {"train_mae", "validation_mae"} <= training.history[-1].keys()


@pytest.mark.parametrize("name", [name for name in NAMES if "official" in recipe_sources(name)])
def test_a_recipe_with_the_authors_settings_trains(name):
    train_to_the_end(small_official_run(name, "lerac"))
