"""One model of every file of timm can be measured, and agrees with the layer groups that timm's authors wrote."""

import importlib.util
import warnings
from pathlib import Path

import pytest

timm = pytest.importorskip("timm")

from lerac.depth import find_layers

pytestmark = pytest.mark.wide

HERE = Path(__file__).parent
CHOSEN = frozenset((HERE / "timm_models.txt").read_text().split())


def benchmark():
    path = HERE.parents[1] / "benchmarks" / "timm_agreement.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


agreement = benchmark()


def model_of(names):
    """The smallest, which was looked up once because that takes longer than the tests; or else the first."""
    return next((name for name in names if name in CHOSEN), names[0])


MODELS = [model_of(names) for names in agreement.files_of_timm().values()]


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_one_layer(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = agreement.build(name)
    layers = find_layers(model, agreement.example(model))
    found = [parameter for layer in layers for parameter in layer.parameters]
    assert sorted(found) == sorted(parameter for parameter, _ in model.named_parameters())
    assert len(layers) <= 32
    assert len({layer.name for layer in layers}) == len(layers)


@pytest.mark.timeout(900)
def test_measured_depths_agree_with_timm():
    results = [agreement.compare(name) for name in MODELS]
    assert not [result.warning for result in results if result.warning]
    known = [result for result in results if result.ordered]
    assert len(known) > 0.9 * len(results)
    assert sum(not result.inverted for result in known) >= 0.85 * len(known)
    assert sum(result.rate for result in known) <= 0.0015 * len(known)
