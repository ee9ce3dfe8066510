"""Networks that are none of ours: from each source one is trained, continued, and compared with a loop by hand."""

import copy
import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from plain_digits import train_by_hand
from studies import equal, trained, weights
from torch import nn

import lerac
from lerac.cli import run as command
from lerac.regimes.drawing import derive
from lerac.study.errors import StudyError
from lerac.study.models.network import find_function
from lerac.study.models.theirs import Theirs
from lerac.study.plan.rates import rates_of
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.report.details import details_of
from lerac.study.seeds import seed_everything
from lerac.study.training.training import Training, build

NETS = """
from torch import nn
from beside import hidden

def tiny(*, channels, classes, width=4):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, hidden, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(hidden * 64, classes),
    )
"""
RECIPE = """
name = "flowers"
model = "MODEL"
dataset = "digits"
source = "user"
[data]
train = 90
validation = 40
test = 60
[training]
epochs = 2
batch_size = 32
[optimizer]
name = "sgd"
lr = 0.01
momentum = 0.9
[schedule]
name = "constant"
[network]
OPTIONS
"""
REGIMES = ("conventional", "cbs(every=0.5)", "lerac(k=1)")


def by_timm():
    import timm

    return timm.create_model("resnet10t", num_classes=10, in_chans=1, channels=[8, 8, 8, 16], stem_width=8)


def by_torchvision():
    from torchvision import models

    return models.get_model("shufflenet_v2_x0_5", num_classes=10)


def by_transformers():
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"hidden_sizes": [8, 16], "depths": [1, 1], "embedding_size": 8, "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(num_labels=10, num_channels=1, **sizes))


def by_function():
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 64, 10)),
    )


SOURCES = {
    "nets.py:tiny": ("width = 6", by_function),
    "nets:tiny": ("width = 6", by_function),
    "timm:resnet10t": ("channels = [8, 8, 8, 16]\nstem_width = 8", by_timm),
    "torchvision:shufflenet_v2_x0_5": ("", by_torchvision),
    "hf:ResNetConfig": (
        'hidden_sizes = [8, 16]\ndepths = [1, 1]\nembedding_size = 8\nlayer_type = "basic"', by_transformers
    ),
}  # fmt: skip
WIDE = [pytest.param(model, marks=[] if "py" in model else pytest.mark.wide) for model in SOURCES]


@pytest.fixture
def nets(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "nets.py").write_text(NETS)
    (folder / "beside.py").write_text("hidden = 5\n")
    return folder


def recipe_of(folder: Path, model: str, options: str = "", *, named: str = "recipe.toml"):
    (folder / named).write_text(RECIPE.replace("MODEL", model).replace("OPTIONS", options))
    return str(folder / named)


def run_of(file: str, regime: str, *overrides: str):
    return Study(recipes=[load_recipe(file, overrides)], regimes=[regime], seeds=[3]).runs()[0]


@pytest.mark.parametrize("model", WIDE)
def test_every_source_is_trained_continued_and_a_loop_by_hand(model, nets):
    options, made = SOURCES[model]
    file = recipe_of(nets, model, options)
    for regime in REGIMES:
        run = run_of(file, regime)
        seed_everything(derive(run.seed, "weights"))
        own = build(run)[1]
        seed_everything(derive(run.seed, "weights"))
        assert equal(getattr(own, "module", own).state_dict(), made().state_dict())

        whole = trained(run)
        assert len(whole.history) == 2
        first = trained(run, epochs=1)
        continued = Training(run)
        continued.load_state_dict(copy.deepcopy(first.state_dict()))
        torch.rand(5)
        while not continued.over:
            continued.run_epoch()
        assert equal(weights(continued), weights(whole))

        by_hand = train_by_hand(run, partial(lerac.attach, regime=regime))
        assert equal(by_hand.last, weights(whole))
        assert by_hand.test == whole.test().score
        if "lerac" in regime:
            assert rates_of(run).layers == whole.rates.layers


def test_a_recipe_may_be_moved_and_its_network_not_be_changed(nets, tmp_path):
    file = recipe_of(nets, "nets.py:tiny")
    first, run = load_recipe(file), run_of(file, "lerac(k=1)")
    assert (first.name, first.slug, first.lerac.k, first.warmup.k, first.cbs.every) == ("flowers", "flowers", 5, 5, 2)
    study = Study(recipes=[first], regimes=["conventional"], seeds=[0])
    assert Study.from_json(study.model_dump_json()) == study
    moved = nets.rename(tmp_path / "elsewhere")
    again = load_recipe(str(moved / "recipe.toml"))
    asked = Study(recipes=[again], regimes=["conventional"], seeds=[0])
    assert study.extend(asked).recipes[0].where == str(moved)
    assert run_of(str(moved / "recipe.toml"), "lerac(k=1)").folder == run.folder
    (moved / "nets.py").write_text(NETS + "# another\n")
    with pytest.raises(StudyError, match=r"flowers with code\.model .*, now asked for"):
        study.extend(Study(recipes=[load_recipe(str(moved / "recipe.toml"))], regimes=["conventional"], seeds=[0]))
    with pytest.raises(StudyError, match=r"the file of model \(nets\.py:tiny\) has changed since the study began"):
        build(asked.runs()[0])


def test_published_weights_come_from_a_local_file(nets):
    torch.manual_seed(7)
    made = by_function()
    made[-1] = nn.Linear(5 * 64, 7)  # a head of other classes stays new
    for name, content in (("own.pt", made.state_dict()), ("nested.pt", {"state_dict": made.state_dict()})):
        torch.save(content, nets / name)
        file = recipe_of(nets, "nets.py:tiny", "width = 6")
        _, network = build(run_of(file, "conventional", f"weights={name}"))
        assert all(torch.equal(a, b) for a, b in zip(network[:-1].parameters(), made[:-1].parameters(), strict=True))
        assert network[-1].weight.shape == (10, 5 * 64)
    for options, says in (("width = 8", r"0\.weight is \(6, 1, 3, 3\), expected \(8,"), ("", r"expected \(4,")):
        run = run_of(recipe_of(nets, "nets.py:tiny", options), "conventional", "weights=own.pt")
        with pytest.raises(StudyError, match=says):
            build(run)
    with pytest.raises(StudyError, match=r"no\.pt cannot be read: No such file"):
        load_recipe(file, ["weights=no.pt"])
    with pytest.raises(StudyError, match="takes published weights from the folder of --weights"):
        load_recipe("digits", ["weights=no.pt"])


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("nets.py:tinny", "", "nets.py has no function 'tinny'; did you mean tiny?"),
        ("net.py:tiny", "", "/net.py; did you mean nets.py?"),
        ("nots:tiny", "", "there is no module 'nots' here: expected timm:NAME"),
        ("nets.py:", "", "names no network: expected timm:NAME, torchvision:NAME"),
        ("nets.py:tiny", "with = 3", "and takes (*, channels, classes, width=4): got an unexpected keyword"),
        ("nets.py:tiny", "classes = 3", "network option 'classes' is no option of nets.py:tiny: sizes follow from the"),
        ("nets.py:hidden", "", "nets.py has no function 'hidden'"),
        ("timm:resnet10", "", "timm has no model 'resnet10'; did you mean"),
        ("timm:resnet10t", "pretrained = true", "network option 'pretrained' is no option of timm:resnet10t"),
        ("torchvision:resnet19", "", "torchvision has no model 'resnet19'; did you mean resnet"),
        ("hf:VitConfig", "", "nor a config class of transformers, as BertConfig is; did you mean ViTConfig"),
        (
            "hf:ResNetConfig",
            "hidden = 3",
            "network option 'hidden' is unknown to hf:ResNetConfig; did you mean hidden_",
        ),
        ("small-cn", "", "or FILE.py:function, got 'small-cn'; did you mean small-cnn,"),
    ],
)
def test_errors_name_file_key_and_what_there_is(model, options, says, nets):
    file = recipe_of(nets, model, options)
    with pytest.raises(StudyError) as refused:
        build(run_of(file, "conventional"))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    if "keyword" not in says and "has no function" not in says:
        assert str(refused.value).startswith(f"recipe {file}: ")


@pytest.mark.parametrize(
    "model",
    [
        ":",
        "::",
        "a:",
        ":b",
        "timm:",
        "hf:",
        "torchvision::",
        "..:b",
        ".a:b",
        "a..b:c",
        "a b:c",
        "nets.py:a:b",
        "/:b",
        "nets.py:__builtins__",
        "nets.py:1",
        "beside.py:hidden",
        ".py:b",
        "nets:tiny:",
        "hf:.",
        "hf:beside.py",
        "x/y.py:z",
        "timm:hf-hub:a/b",
        "lerac.study.nothing:x",
        "hf:../..",
        "nets.py:ä",
        "TIMM:resnet18",
        "hf:PretrainedConfig",
    ],
)
def test_a_strange_name_is_refused_by_name(model, nets):
    with pytest.raises(StudyError) as refused:
        build(run_of(recipe_of(nets, model), "conventional"))
    assert str(refused.value).startswith(f"recipe {nets}/recipe.toml: ") or model in str(refused.value)


def test_a_recipe_of_source_user_may_name_one_of_ours(nets):
    file = recipe_of(nets, "lenet")
    recipe = load_recipe(file, source="user")
    assert (recipe.name, recipe.where, recipe.code, recipe.lerac.ratio) == ("flowers", None, None, 1e-6)
    text = Path(file).read_text()
    Path(file).write_text(text.replace('name = "flowers"\n', ""))
    assert load_recipe(file).name == "lenet/digits"
    Path(file).write_text(text.replace('"user"', '"ours"'))
    with pytest.raises(StudyError, match=r"warmup is missing"):
        load_recipe(file)
    for name, says in (("..", "name must be a word"), ("", "name must be a word"), ("x" * 101, "at most 100 signs")):
        Path(file).write_text(text.replace("flowers", name))
        with pytest.raises(StudyError, match=says):
            load_recipe(file)
    with pytest.raises(StudyError, match="unknown key 'where'"):
        load_recipe("digits", ["where=/tmp"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 3", "must return a torch.nn.Module, got int"),
        ("raise RuntimeError('out of ideas')", "could not be built of channels=1, classes=10: RuntimeError: out of"),
        ("return nn.Conv2d(channels, classes, 3)", r"here (2, 10), and in training gives a tensor (2, 10, 6, 6)"),
        ("return nn.Linear(3, classes)", "cannot be called with a tensor (2, 1, 8, 8): RuntimeError"),
    ],
)
def test_what_is_no_classifier_is_refused(body, says, nets):
    (nets / "bad.py").write_text(f"from torch import nn\n\ndef made(channels, classes):\n    {body}\n")
    with pytest.raises(StudyError) as refused:
        build(run_of(recipe_of(nets, "bad.py:made"), "conventional"))
    assert says in str(refused.value)


@pytest.mark.wide
def test_texts_are_read_by_transformers_and_not_by_pictures_networks():
    sizes = {"vocabulary": 50, "classes": 3}
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    bert = Theirs("hf:BertConfig")
    network = bert.build(sizes, small)
    ids = torch.zeros(2, 5, dtype=torch.int64)
    state, before = torch.get_rng_state(), copy.deepcopy(network.state_dict())
    bert.see(network, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": ids}, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert equal(network.state_dict(), before)
    assert network.training
    with pytest.raises(StudyError, match="timm:resnet10t takes pictures, and the data is text"):
        Theirs("timm:resnet10t").build(sizes, {})
    with pytest.raises(StudyError, match=r"hf:ViTConfig has no vocab_size, and the data has 50"):
        Theirs("hf:ViTConfig").build(sizes, {})
    with pytest.raises(StudyError, match="takes pictures of 3 channels, and the data has 2"):
        Theirs("torchvision:resnet18").build({"channels": 2, "classes": 3}, {})


def test_another_module_of_the_same_name_is_not_taken(nets, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "twice_named.py").write_text("def made(channels, classes): ...\n")
    (nets / "twice_named.py").write_text("def made(channels, classes): ...\n")
    monkeypatch.setitem(sys.modules, "twice_named", None)
    del sys.modules["twice_named"]
    assert find_function("twice_named:made", str(other)).__module__ == "twice_named"
    with pytest.raises(StudyError, match=r"is loaded from .*other/twice_named\.py already, and .* use FILE\.py"):
        load_recipe(recipe_of(nets, "twice_named:made"))


def test_a_study_is_trained_from_the_command_line_and_told_without_the_network(nets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = recipe_of(nets, "nets.py:tiny")
    assert command(["schedule", file, "--regime", "layer-decay(factor=0.5)", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [group["lrs"][0] for group in listed["groups"]] == [0.01 * 0.5**3, 0.01 * 0.5**2, 0.01 * 0.5, 0.01]
    assert command(["compare", file, "--regimes", "conventional", "--seeds", "1", "--plan", "--out", "study"]) == 0
    assert capsys.readouterr().out.endswith("1 runs, 1 to train\n")
    recipe = load_recipe(file)
    study = Study(recipes=[recipe], regimes=["unfreeze(k=1)"], seeds=[0])
    assert "The rates are not drawn" not in " ".join(details_of(recipe, study, []).surprises)
    nets.rename(tmp_path / "gone")
    told = details_of(recipe, study, [])
    assert told.rates == {}
    assert "The rates are not drawn, as the network could not be built here" in told.surprises[-1]
    (tmp_path / "gone" / "nets.py").write_text(NETS.replace("channels, classes, width", "classes, width"))
    gone = ["compare", str(tmp_path / "gone" / "recipe.toml"), "--regimes", "conventional", "--seeds", "1"]
    assert command([*gone, "--out", "study"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"lerac: recipe {tmp_path}/gone/recipe.toml: nets.py:tiny is called by keyword")
    assert "is called by keyword with channels, classes (sizes, and the options of [network]), and takes" in err
