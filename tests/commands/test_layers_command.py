"""`lerac layers MODEL`: the contract's JSON, a table, and one clear line for bad input."""

import json
import sys

import pytest
import torch

import lerac
from lerac.cli import run
from lerac.commands.named_models import named_model
from lerac.study.errors import StudyError
from lerac.study.models import MODELS

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.stem = nn.Linear(3, 4)
        self.unused = nn.Linear(1, 1)
    def forward(self, x, scale=1.0):
        return self.head(self.stem(x)) * scale

def alone():
    return nn.Sequential(nn.Conv2d(5, 4, 3), nn.Flatten(), nn.LazyLinear(2))

def plain():
    return nn.Sequential(nn.Conv1d(5, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3))

def with_tensor():
    return Net(), torch.zeros(2, 3)

def with_keywords():
    return Net(), {"x": torch.zeros(2, 3), "scale": 2.0}

def wrong_inputs():
    return Net(), torch.zeros(2, 7)

def strange():
    return nn.BatchNorm1d(3)

def nothing():
    return 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "some_nets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield "some_nets"
    sys.modules.pop("some_nets", None)


def layers_json(capsys, name):
    assert run(["layers", name, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_is_what_find_layers_gives(module, capsys):
    answer = layers_json(capsys, "small-cnn")
    found = lerac.find_layers(MODELS["small-cnn"](1, 10), torch.zeros(2, 1, 8, 8))
    assert answer == {"model": "small-cnn", "layers": [layer.as_dict() for layer in found]}
    assert [lerac.Layer(**layer) for layer in answer["layers"]] == list(found)


@pytest.mark.parametrize("function", ["with_tensor", "with_keywords"])
def test_functions_give_models_with_inputs(module, capsys, function):
    layers = layers_json(capsys, f"{module}:{function}")["layers"]
    depth = {name: layer["depth"] for layer in layers for name in layer["parameters"]}
    assert depth["stem.weight"] < depth["head.weight"]
    [placed] = [layer["placed"] for layer in layers if layer["placed"]]
    assert placed.keys() == {"unused.weight", "unused.bias"}


def test_inputs_can_be_guessed_from_the_first_layer(module, capsys):
    layers = layers_json(capsys, f"{module}:plain")["layers"]
    assert [layer["name"] for layer in layers] == ["0", "2"]


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:resnet18"])
def test_residual_networks_by_name(name, capsys):
    layers = layers_json(capsys, name)["layers"]
    assert (layers[0]["name"], layers[-1]["name"]) == ("conv1", "fc")
    assert sum(len(layer["parameters"]) for layer in layers) == 62


def test_transformers_by_config_class_and_file(tmp_path, capsys):
    import transformers

    by_class = layers_json(capsys, "hf:BertConfig")["layers"]
    assert by_class[0]["name"] == "embeddings.word_embeddings"
    config = transformers.BertConfig(num_hidden_layers=2, architectures=["BertForSequenceClassification"])
    config.save_pretrained(tmp_path)
    by_file = layers_json(capsys, f"hf:{tmp_path / 'config.json'}")["layers"]
    assert by_file[-1]["parameters"] == ["classifier.weight", "classifier.bias"]


def test_the_table_shows_every_layer_and_what_was_placed(module, capsys):
    assert run(["layers", f"{module}:with_tensor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["depth", "layer", "tensors", "weights"],
        ["0", "stem", "2", "16"],
        ["1", "head…unused", "4", "12"],
    ]
    assert lines[4].startswith("unused.weight: depth 1, ")


def test_a_file_is_as_good_as_a_module_and_is_told_what_a_recipe_tells_it(module, capsys, tmp_path):
    by_module, by_file = (layers_json(capsys, f"{name}:with_tensor")["layers"] for name in (module, f"{module}.py"))
    assert by_module == by_file
    (tmp_path / "asks.py").write_text(
        "from torch import nn\n\ndef made(channels, classes, width=4):\n"
        "    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.Flatten(), nn.Linear(width * 62 * 62, classes))\n"
    )
    assert len(layers_json(capsys, f"{tmp_path}/asks.py:made")["layers"]) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet", f"unknown model 'resnet': expected {', '.join(sorted(MODELS))}, timm:NAME"),
        ("timm:resnet81", "timm has no model 'resnet81'; did you mean resnet18"),
        ("torchvision:resnet81", "torchvision has no model 'resnet81'; did you mean resnet18"),
        ("hf:Bert", "'Bert' is neither a file here nor a config class of transformers, as BertConfig is"),
        ("timm:", "'timm:' names no model: expected timm:NAME"),
        ("no_such_module:make", "there is no module 'no_such_module'"),
        ("some_nets:make", "some_nets has no function 'make'"),
        ("some_nets.py:make", "some_nets.py has no function 'make'"),
        ("some_net.py:with_tensor", "some_net.py; did you mean some_nets.py?"),
        ("some_nets:nothing", "some_nets:nothing must return a torch.nn.Module, or one and its inputs, not int"),
        ("some_nets:strange", "some_nets:strange returned a model without inputs, and none can be guessed"),
        ("some_nets:alone", "lazy modules"),
        ("some_nets:wrong_inputs", "Net.forward fails on these example inputs"),
    ],
)
def test_bad_names_are_one_line_and_exit_code_2(module, capsys, name, message):
    assert run(["layers", name]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(StudyError, match="this needs timm: pip install 'timm'"):
        named_model("timm:resnet18")
