"""One model of every file of timm can be measured, and agrees with the layer groups of its authors."""

import importlib.util
import warnings
from pathlib import Path

import pytest

from lerac.depth import find_layers

pytestmark = pytest.mark.wide

HERE = Path(__file__).parent
MODELS = (HERE / "timm_models.txt").read_text().split()  # by `benchmarks/timm_agreement.py --per-file`


@pytest.fixture(scope="module")
def agreement():
    path = HERE.parents[1] / "benchmarks" / "timm_agreement.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_file_is_missing(agreement):
    """A newer timm may have more files: then the list of models needs another look."""
    missing = [file for file, names in agreement.files_of_timm().items() if not set(names) & set(MODELS)]
    assert not missing


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_one_layer(agreement, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = agreement.build(name)
    layers = find_layers(model, agreement.example(model))
    found = [parameter for layer in layers for parameter in layer.parameters]
    assert sorted(found) == sorted(parameter for parameter, _ in model.named_parameters())
    assert len(layers) <= 32
    assert len({layer.name for layer in layers}) == len(layers)


@pytest.mark.timeout(900)
def test_measured_depths_agree_with_timm(agreement):
    results = [agreement.compare(name) for name in MODELS]
    assert not [result.warning for result in results if result.warning]
    known = [result for result in results if result.ordered]
    assert len(known) > 0.9 * len(results)
    assert sum(not result.inverted for result in known) >= 0.85 * len(known)
    assert sum(result.rate for result in known) <= 0.0015 * len(known)
