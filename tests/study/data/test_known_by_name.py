"""The table of data sets: every entry is there, says what its loader reads, and costs nothing until it is used."""

import inspect
import subprocess
import sys

import pytest

from lerac.study.data import DATASETS
from lerac.study.data.pictures import imagenet200
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError

HEAVY = ("torch", "numpy", "PIL", "scipy", "sklearn", "torchvision", "timm", "transformers", "datasets", "soundfile",
         "mnist1d")  # fmt: skip
SMALL = {"train": 20, "validation": 10, "test": 9}
VALUES = {"sample": True, "size": 32, "crop": "random", "tokens": "words", "max_length": 9, "min_count": 1, "fold": 1,
          "rate": 8000, "hop": 512, "columns": 9, "augment": {}}  # fmt: skip

LISTS_EVERYTHING = f"""
import sys
from lerac.study.recipes.recipe import load_recipe, recipe_names, recipe_sources
from lerac.study.terminal import data
from lerac.study.terminal.recipes import known_recipes
for name in recipe_names():
    for source in recipe_sources(name):
        load_recipe(name, ["training.epochs=300"], source)
assert len(known_recipes()) == len(recipe_names()) > 30
print([name for name in {HEAVY!r} if name in sys.modules])
"""


class Watched:
    """Settings that remember which of them were read."""

    def __init__(self, data):
        self.data, self.read = data, set()

    def __getattr__(self, name):
        self.read |= {"train": {"train"}, "cut_off": {"validation"}, "asked_of_train": set()}.get(name, {name})
        return getattr(self.data, name)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for dataset in DATASETS.values():
        if dataset.has_files:
            dataset.sample(folder)
    return folder


def test_reading_all_recipes_loads_nothing_that_reads_data_or_builds_networks():
    done = subprocess.run([sys.executable, "-c", LISTS_EVERYTHING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_is_there(name):
    dataset = DATASETS[name]
    home = dataset._of(dataset.home)
    assert list(inspect.signature(home.load).parameters)[-3:] == ["data", "seed", "root"]
    if dataset.has_files:
        assert list(inspect.signature(home.check).parameters) == ["root"]
        assert callable(dataset._of(dataset.sampler))


@pytest.mark.parametrize("name", DATASETS)
def test_a_loader_reads_the_settings_that_its_entry_names_and_no_others(name, root):
    dataset = DATASETS[name]
    values = {key: value for key, value in VALUES.items() if key in dataset.settings}
    watched = Watched(DataSettings(**SMALL, **values))
    splits = dataset._of(dataset.home).load(watched, 0, root)
    assert watched.read == set(dataset.settings)
    assert (splits.classes, splits.task) == (dataset.classes, dataset.task)
    assert (splits.vocabulary > 0) == (dataset.inputs == "text")
    assert splits.channels == dataset.channels


@pytest.mark.parametrize("name", DATASETS)
def test_settings_of_other_data_are_refused(name):
    for key, value in VALUES.items():
        data = DataSettings(**SMALL, **{key: value})
        if key in DATASETS[name].settings:
            DATASETS[name].check_settings(name, data)
        else:
            with pytest.raises(StudyError, match=f"data: .* takes no {key}; allowed in \\[data\\]: train, validation"):
                DATASETS[name].load(data, 0)


def test_as_many_examples_as_the_parts_have_together():
    for name, dataset in DATASETS.items():
        if dataset.has_files:
            home = dataset._of(dataset.home)
            module = inspect.getmodule(home) or sys.modules[type(home).__module__]
            counts = home.counts if hasattr(home, "counts") else module.COUNTS
            more = imagenet200.CLASSES * imagenet200.MOST if name == "imagenet200" else 0  # trained on, at most
            assert dataset.examples == sum(counts.values()) + more
