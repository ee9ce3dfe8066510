"""Every network that a recipe can name: size, what it takes and gives, options, and the order of its layers."""

import re
import subprocess
import sys

import pytest
import torch
from networks import SMALL, make_small, needed, small_batch, small_channels
from studies import SMALL as SMALL_RECIPE
from studies import make_study
from torch.nn import functional

import lerac
from lerac.commands.named_models import named_model
from lerac.study.errors import StudyError
from lerac.study.models import MODELS
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe, recipe_text
from lerac.study.training.training import Training, build

CLASSIFIERS = [name for name, network in MODELS.items() if network.outputs == "logits"]


def size_of(name, classes, **options):
    return sum(p.numel() for p in MODELS[name].skeleton(classes, **options).parameters())


def linear(inputs, outputs):
    return inputs * outputs + outputs


@pytest.mark.parametrize(
    ("name", "classes", "options", "weights"),
    [
        # The LeRaC authors' code, counted there: Wide_ResNet(52, 2), torchvision's wide_resnet50_2 and, as they
        # really build it, resnet50, both with 200 classes.
        ("resnet18", 10, {}, 11_173_962),
        ("wrn52-2", 10, {}, 3_023_306),
        ("wide-resnet50", 200, {}, 67_244_040),
        ("wide-resnet50", 200, {"base_width": 64}, 23_917_832),
        # Wu et al., ICCV 2021, Table 2: 20 million with the 1000 classes of ImageNet.
        ("cvt13", 1000, {}, 19_997_480),
        ("cvt13-pretrained", 1000, {}, 19_997_480),
        # Ultralytics' log of yolov5su with the 80 classes of COCO: 9,153,152.
        ("yolov5", 80, {}, 9_153_152),
    ],
)
def test_sizes_are_the_published_ones(name, classes, options, weights):
    needed(name)
    assert size_of(name, classes, **options) == weights


@pytest.mark.parametrize(("channels", "classes", "published"), [(3, 1000, 7_978_856), (1, 50, None)])
def test_size_of_densenet121_follows_from_its_description(channels, classes, published):
    """Huang et al., CVPR 2017, Table 1, growth 32: 8.0 million with 3 channels and the 1000 classes of ImageNet."""
    weights, width = 7 * 7 * channels * 64 + 2 * 64, 64
    for stage, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            weights += 2 * width + width * 128 + 2 * 128 + 128 * 32 * 9
            width += 32
        if stage < 3:
            weights += 2 * width + width * (width // 2)
            width //= 2
    weights += 2 * width + linear(width, classes)
    assert published in (None, weights)
    with torch.device("meta"):
        network = MODELS["densenet121"](channels, classes)
    assert sum(p.numel() for p in network.parameters()) == weights


def test_size_of_bert_large_follows_from_its_description():
    """Devlin et al., NAACL 2019: L=24, H=1024, A=16, "340M"; the exact number for a vocabulary of 30522."""
    norm = 2 * 1024
    embeddings = (30522 + 512 + 2) * 1024 + norm
    layer = 4 * linear(1024, 1024) + norm + linear(1024, 4096) + linear(4096, 1024) + norm
    weights = embeddings + 24 * layer + linear(1024, 1024) + linear(1024, 2)
    assert size_of("bert-large", 2) == weights == 335_143_938


def test_size_of_lstm_follows_from_its_description():
    """The paper's: embedding of 128, two layers of 256, two fully connected; torch has two biases per gate."""
    words = MODELS["lstm"].example[0]
    gates = 4 * 256
    weights = words * 128 + gates * (128 + 256 + 2) + gates * (256 + 256 + 2) + linear(256, 256) + linear(256, 2)
    assert size_of("lstm", 2) == weights


def test_sizes_of_the_networks_for_digits_follow_from_their_descriptions():
    gates = 3 * 64
    assert size_of("gru", 10) == gates * (8 + 64 + 2) + gates * (64 + 64 + 2) + linear(64, 10)
    block = 2 * 64 + linear(64, 192) + linear(64, 64) + 2 * 64 + linear(64, 256) + linear(256, 64)
    embeddings = linear(4, 64) + 64 + 17 * 64
    assert size_of("small-vit", 10) == embeddings + 4 * block + 2 * 64 + linear(64, 10) == 202_186


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("classes", [1, 3])
def test_gives_logits_of_which_every_weight_learns(name, classes):
    network = make_small(name, classes).train()
    logits = network(small_batch(name))
    assert type(logits) is torch.Tensor
    assert logits.shape == (4, classes)
    assert logits.dtype == torch.float32
    functional.mse_loss(logits, torch.randn(4, classes)).backward()
    gradients = {parameter: p.grad for parameter, p in network.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    # A bias of all keys changes no attention, so its gradient is rounding errors, or zero.
    still = {p for p, gradient in gradients.items() if not gradient.any() and not p.endswith("key.bias")}
    # Known of CvT (also of the LeRaC authors' code): only the class token of the last block is read.
    unread = {p for p in gradients if re.search(r"stages\.2\.layers\.2\..*projection_query\.conv", p)}
    assert still == (unread if name.startswith("cvt13") else set())


@pytest.mark.parametrize("size", [32, 64, 128, 224])
def test_cvt13_takes_images_of_the_sizes_of_all_data_sets(size):
    network = make_small("cvt13").eval()
    assert network(torch.rand(1, 3, size, size)).shape == (1, 3)


def test_cvt13_drops_paths_as_its_authors_do():
    stages = MODELS["cvt13"].skeleton(10).module.cvt.encoder.stages
    rates = [[getattr(layer.drop_path, "drop_prob", 0.0) for layer in stage.layers] for stage in stages]
    assert rates[:2] == [[0.0], [0.0, 0.0]]
    assert rates[2] == pytest.approx([0.1 * j / 9 for j in range(10)])  # linearly to 0.1
    off = MODELS["cvt13"].skeleton(10, drop_path=0.0).module.cvt.encoder.stages[2].layers
    assert not any(getattr(layer.drop_path, "drop_prob", 0.0) for layer in off)


def test_cvt13_has_the_activation_that_is_asked_for():
    x = torch.linspace(-3, 3, 7)
    for options, expected in (({}, x * torch.sigmoid(1.702 * x)), ({"activation": "gelu"}, functional.gelu(x))):
        network = MODELS["cvt13"](3, 3, **SMALL["cvt13"], **options).module
        activations = [layer.intermediate.activation for stage in network.cvt.encoder.stages for layer in stage.layers]
        assert all(torch.allclose(activation(x), expected) for activation in activations)


# Parameters next to the input and to the output, and the pattern of what numbers blocks from input to output.
ORDER = {
    "bert-large": ("bert.embeddings.word_embeddings.weight", "classifier.weight", r"encoder\.layer\.(\d+)"),
    "cnn1d": ("conv1.weight", "fc.weight", r"conv(\d)"),
    "cvt13": (
        "cvt.encoder.stages.0.embedding.convolution_embeddings.projection.weight",
        "classifier.weight",
        r"stages\.(\d+)\.layers\.(\d+)",
    ),
    "densenet121": ("features.conv0.weight", "classifier.weight", r"denseblock(\d+)\.denselayer(\d+)"),
    "gru": ("gru.weight_ih_l0", "fc.weight", r"_l(\d)"),
    "lenet": ("conv1.weight", "fc3.weight", r"fc(\d)"),
    "lstm": ("embedding.weight", "fc2.weight", r"_l(\d)"),
    "mlp": ("fc1.weight", "fc3.weight", r"fc(\d)"),
    "resnet18": ("conv1.weight", "fc.weight", r"layer(\d+)\.(\d+)"),
    "septr": ("patches.weight", "head.weight", r"blocks\.(\d+)"),
    "small-cnn": ("conv1.weight", "fc.weight", r"layer(\d+)\.(\d+)"),
    "small-vit": ("patch_embed.proj.weight", "head.weight", r"blocks\.(\d+)"),
    "wide-resnet50": ("conv1.weight", "fc.weight", r"layer(\d+)\.(\d+)"),
    "wrn52-2": ("conv1.weight", "fc.weight", r"layer(\d+)\.(\d+)"),
    "yolov5": ("model.0.conv.weight", "model.24.cv3.0.2.weight", r"model\.(\d)\."),  # model.9 is the backbone's last
}
ORDER["cvt13-pretrained"] = ORDER["cvt13"]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "linear"])  # which has one layer
def test_layers_by_name_are_in_the_order_of_the_blocks(name):
    needed(name)
    stem, head, pattern = ORDER[name]
    named = named_model(name)
    assert all(p.is_meta for p in named.model.parameters()) != MODELS[name].traced_by_values
    measured = lerac.measure_depths(named.model, *named.args)
    assert sum(bool(layer.placed) for layer in measured) == (name == "yolov5")  # its dfl weights are constants
    depths = {parameter: layer.depth for layer in measured for parameter in layer.parameters}
    assert depths[stem] == 0
    assert depths[head] == max(depths.values())
    blocks = {}
    for parameter, depth in depths.items():
        if found := re.search(pattern, parameter):
            blocks.setdefault(tuple(map(int, found.groups())), []).append(depth)
    starts = [min(blocks[block]) for block in sorted(blocks)]
    assert len(starts) > 1
    assert starts == sorted(set(starts))
    grouped = lerac.group_layers(measured)
    assert stem in grouped[0].parameters
    assert head in grouped[-1].parameters


class Watched:
    """Options that remember which of them were read."""

    def __init__(self, options):
        self.options, self.read = options, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self.options, name)


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_is_there_and_every_option_is_read(name):
    needed(name)
    network, watched = MODELS[name], Watched(MODELS[name].check(SMALL.get(name, {"scale": "n"})))
    assert isinstance(network._build(small_channels(name), 3, watched), torch.nn.Module)
    assert watched.read == {option for option in network.options if option != "pretrained"}
    assert ("pretrained" in network.options) == (network.published is not None)
    assert network.published is None or callable(network._of(network.published))


@pytest.mark.parametrize("name", [name for name, network in MODELS.items() if network.sizes])
def test_an_example_has_the_sizes_that_the_options_say_whatever_these_are_called(name):
    network = MODELS[name]
    for option, positions in network.sizes.items():
        expected = [56 if position in positions else side for position, side in enumerate(network.example)]
        assert network.example_batch(3, **{option: 56}).shape == (3, *expected)
        assert network.example_batch(**{option: None}).shape == (2, *network.example)
    batch = network.example_batch(**dict.fromkeys(network.sizes, 56))
    assert len(batch) == 2
    lerac.measure_depths(network.skeleton(**dict.fromkeys(network.sizes, 56)), batch)


@pytest.mark.wide
@pytest.mark.parametrize("name", MODELS)
def test_a_skeleton_that_comes_first_leaves_nothing_on_the_meta_device(name):
    """In a process of its own, where the skeleton imports the library."""
    needed(name)
    options = {"scale": "n"} if name == "yolov5" else SMALL[name]
    code = f"""
import torch
from lerac.study.models import MODELS
network = MODELS[{name!r}]
network.skeleton()
built = network({small_channels(name)}, 3, **{options!r})
built.to("cpu", torch.float64)
assert not any(t.is_meta for t in built.state_dict().values())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_two_networks_of_one_seed_are_the_same(name):
    ours, theirs = make_small(name).state_dict(), make_small(name).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("gru", {"depth": 2}, "unknown network option 'depth'; allowed: columns, width, layers"),
        ("cvt13", {"pretrained": True}, "unknown network option 'pretrained'; allowed: widths, depths, heads"),
        ("cnn1d", {"length": 2}, "cnn1d: length must be 3 or more, got 2"),
        ("mlp", {"dropout": 1.0}, "network option dropout: input should be less than 1, got 1.0"),
        ("septr", {"first": "space"}, "network option first: input should be 'time' or 'frequency', got 'space'"),
        ("lstm", {"width": True}, "network option width: input should be a valid integer, got True"),
        ("lstm", {"width": 2.0}, "network option width: input should be a valid integer, got 2.0"),
        ("wrn52-2", {"dropout": 1.0}, "network option dropout: input should be less than 1, got 1.0"),
        ("wrn52-2", {"depth": 50}, "depth must be 6 · blocks + 4 (10, 16, 22, …), got 50"),
        ("wide-resnet50", {"blocks": [1, 1]}, "blocks must be four numbers, one per stage, got [1, 1]"),
        ("small-vit", {"size": 9}, "size must be a multiple of patch, got size 9 and patch 2"),
        ("small-vit", {"heads": 5}, "width must be a multiple of heads, got width 64 and heads 5"),
        ("cvt13", {"depths": [1, 1, 1]}, "depths must be at least 1, 2 and 3, which transformers needs, got [1, 1, 1]"),
        ("cvt13", {"widths": [8, 8]}, "widths must be three numbers, one per stage, got [8, 8]"),
        ("cvt13", {"heads": [1, 5, 6]}, "widths must be multiples of heads, got [64, 192, 384] and [1, 5, 6]"),
        ("bert-large", {"heads": 3}, "width must be a multiple of heads, got width 1024 and heads 3"),
        ("septr", {"frames": 100}, "multiples of patch 8, got 128 and 100: set network.bins and network.frames"),
    ],
)
def test_bad_options_are_refused(name, options, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        MODELS[name].skeleton(3, **options)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("gru", (2, 1, 8, 9), "gru reads rows of 8 columns, got images (2, 1, 8, 9)"),
        *(
            (name, (2, 1, 39), f"{name} reads signals of 40 samples, got signals (2, 1, 39): set network.length")
            for name in ("cnn1d", "linear", "mlp")
        ),
        ("septr", (2, 1, 16, 32), "built for 16 mel bins and 24 frames, got spectrograms (2, 1, 16, 32)"),
    ],
)
def test_inputs_of_another_size_are_refused(name, shape, says):
    with pytest.raises(StudyError, match=re.escape(says)):
        make_small(name)(torch.rand(shape))


@pytest.mark.parametrize(
    ("name", "module", "says"),
    [
        ("densenet121", "timm", "densenet121 needs timm: pip install 'lerac[experiments]'"),
        ("cvt13", "transformers", "cvt13 needs transformers: pip install 'lerac[experiments]'"),
        ("bert-large", "transformers", "bert-large needs transformers: pip install 'lerac[experiments]'"),
        ("yolov5", "ultralytics.nn.tasks", "yolov5 needs ultralytics.nn.tasks: pip install 'lerac[yolo]'"),
    ],
)
def test_a_missing_library_says_what_to_install(monkeypatch, name, module, says):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StudyError, match=re.escape(says)):
        named_model(name)


@pytest.mark.parametrize(("name", "option"), [("small-vit", "network.depth=2"), ("gru", "network.layers=1")])
def test_a_recipe_can_ask_for_a_smaller_network_which_learns(tmp_path, name, option):
    path = tmp_path / "mine.toml"
    path.write_text(recipe_text("digits").replace("momentum = 0.9\n", "").replace('"optimizer.momentum" =', "# "))
    asked = [f"model={name}", "network.width=32", option, "optimizer.name=adamw", "optimizer.lr=0.003"]
    asked += ["data.train=400", "data.label_noise=0.0", "training.batch_size=16", "training.epochs=4"]
    recipe = load_recipe(str(path), [*SMALL_RECIPE, *asked])
    [run] = Study(recipes=[recipe], regimes=["lerac"], seeds=[0]).runs()
    key, value = option.removeprefix("network.").split("=")
    assert run.settings["network"] == {"width": 32, key: int(value)}
    network = build(run)[1]
    assert sum(p.numel() for p in network.parameters()) == size_of(name, 10, **run.settings["network"])
    training = Training(run)
    while not training.over:
        training.run_epoch()
    assert training.test().score > 0.4  # of ten classes


def test_a_study_of_another_network_is_refused():
    small, usual = make_study(overrides=["network.widths=[4, 4]"]), make_study()
    with pytest.raises(StudyError, match=re.escape("network.widths [4, 4], now asked for None")):
        small.extend(usual)
    with pytest.raises(StudyError, match=re.escape("network.widths None, now asked for [4, 4]")):
        usual.extend(small)
    assert small.extend(small) == small


def test_yolov5_learns_from_its_loss_and_gives_detections():
    needed("yolov5")
    torch.manual_seed(0)
    network = MODELS["yolov5"](3, 2, scale="n").train()
    images = torch.rand(2, 3, 64, 64)
    targets = {
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.tensor([[0.0], [1.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.6, 0.5, 0.3]]),
    }
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = network.loss(network(images), targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    # It rises first, when the boxes become good enough to be given an object.
    assert losses[-1] < 0.7 * max(losses)
    network.eval()
    with torch.no_grad():
        theirs = network.module({"img": images, **targets})[0].sum()
        assert torch.equal(network.loss(network(images), targets), theirs)
    detections = network.eval()(images)[0]
    assert detections.shape == (2, 4 + 2, 8 * 8 + 4 * 4 + 2 * 2)  # strides 8, 16 and 32
    assert ((detections[:, 4:] >= 0) & (detections[:, 4:] <= 1)).all()


def test_small_batches_and_channels_are_those_of_the_registry():
    assert SMALL.keys() == set(CLASSIFIERS)
    for name in CLASSIFIERS:
        example, batch = MODELS[name].example_batch(3), small_batch(name)
        assert type(example) is type(batch)
        if MODELS[name].inputs == "text":
            assert example.keys() == batch.keys()
            assert all(values.shape == (3, MODELS[name].example[1]) for values in example.values())
        else:
            assert example.shape == (3, *MODELS[name].example)
            assert batch.shape[1] == small_channels(name)
