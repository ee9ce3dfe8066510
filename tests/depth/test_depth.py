"""Special cases of depth measurement: each has a known order, often not that of registration."""

from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention.flex_attention import flex_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from lerac.depth import find_layers, measure_depths
from lerac.layers import registration_layers


def depths_in(layers):
    return {name: layer.depth for layer in layers for name in layer.parameters}


def depths(model, *args, **kwargs):
    """Depth by parameter, every parameter being in exactly one layer, and no parameter guessed."""
    layers = measure_depths(model, *args, **kwargs)
    assert not any(layer.placed for layer in layers)
    assert sorted(n for layer in layers for n in layer.parameters) == sorted(dict(model.named_parameters()))
    return depths_in(layers)


def rising(depth, *names):
    """Is each of these strictly deeper than the one before?"""
    return all(depth[a] < depth[b] for a, b in pairwise(names))


def mlp(*sizes):
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_depth_of_an_mlp_is_the_number_of_linear_layers_before():
    assert depths(mlp(4, 5, 6, 7), torch.zeros(2, 4)) == {
        "0.weight": 0, "0.bias": 0, "2.weight": 1, "2.bias": 1, "4.weight": 2, "4.bias": 2,
    }  # fmt: skip


class DetrLike(nn.Module):
    """Registers its heads first, its backbone last, as detection transformers do."""

    def __init__(self):
        super().__init__()
        self.class_head = nn.Linear(8, 3)
        self.query = nn.Embedding(5, 8)
        self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.input_projection = nn.Conv2d(6, 8, 1)
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU())

    def forward(self, image):
        memory = self.input_projection(self.backbone(image)).flatten(2).transpose(1, 2)
        return self.class_head(self.decoder(self.query.weight.expand(len(image), -1, -1), self.encoder(memory)))


def test_heads_that_are_registered_first_are_last():
    model = DetrLike()
    path = (
        "backbone.0.weight",
        "input_projection.weight",
        "encoder.self_attn.in_proj_weight",
        "encoder.linear1.weight",
        "decoder.multihead_attn.in_proj_weight",
        "decoder.linear2.weight",
        "class_head.weight",
    )
    depth = depths(model, torch.zeros(2, 3, 16, 16))
    assert rising(depth, *path)
    assert depth["query.weight"] > depth["encoder.linear2.weight"], "queries meet the data in the decoder"
    assert not rising(depths_in(registration_layers(model)), *path)


class UNet(nn.Module):
    """Blocks are registered in pairs of equal resolution: down, up, down, up …"""

    def __init__(self, levels=3, width=4):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for _ in range(levels):
            self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            self.up.append(nn.Conv2d(2 * width, width, 3, padding=1))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        x, skips = self.stem(x), []
        for down in self.down:
            skips.append(x)
            x = down(x).relu()
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2), skip], 1)).relu()
        return self.head(x)


def test_the_decoder_of_a_unet_runs_backwards():
    model = UNet()
    path = [f"{name}.weight" for name in ("stem", "down.0", "down.1", "down.2", "up.2", "up.1", "up.0", "head")]
    assert rising(depths(model, torch.zeros(1, 3, 16, 16)), *path)
    assert not rising(depths_in(registration_layers(model)), *path)


class Towers(nn.Module):
    """Two towers, as in CLIP: called one after the other, side by side in the data flow."""

    def __init__(self):
        super().__init__()
        self.image, self.text = mlp(4, 8, 8, 8), mlp(3, 8, 8, 8)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image, text):
        return self.scale * F.normalize(self.image(image)) @ F.normalize(self.text(text)).T


def test_both_towers_start_next_to_the_input():
    model = Towers()
    depth = depths(model, torch.zeros(2, 4), text=torch.zeros(2, 3))
    for layer in (0, 2, 4):
        assert depth[f"image.{layer}.weight"] == depth[f"text.{layer}.weight"]
    assert depth["text.0.weight"] == 0
    assert rising(depth, "text.4.weight", "scale")
    registered = depths_in(registration_layers(model))
    assert registered["text.0.weight"] > registered["image.4.weight"]


class Functional(nn.Module):
    """Owns its weights itself, uses them from the last to the first, through no module at all."""

    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.eye(4)) for _ in range(3))

    def forward(self, x):
        for weight in reversed(self.weights):
            x = F.linear(x, weight).relu()
        return x


def test_functional_parameters_have_the_order_of_their_use():
    model = Functional()
    assert depths(model, torch.zeros(2, 4)) == {"weights.2": 0, "weights.1": 1, "weights.0": 2}
    assert len(registration_layers(model)) == 1, "they have no order of registration"


class TiedLanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.head = nn.Linear(8, 11, bias=False)
        self.tokens = nn.Embedding(11, 8)
        self.tokens.weight = self.head.weight
        self.positions = nn.Embedding(6, 8)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_an_embedding_tied_to_the_head_is_next_to_the_input():
    model = TiedLanguageModel()
    depth = depths(model, torch.zeros(2, 6, dtype=torch.long))
    assert depth["head.weight"] == 0
    assert rising(depth, "head.weight", "positions.weight", "blocks.0.linear1.weight", "blocks.1.linear1.weight")
    assert not rising(depths_in(registration_layers(model)), "head.weight", "blocks.0.linear1.weight")


def test_a_barrier_keeps_late_cross_attention_late():
    """The key projection of the encoder's output is one operation away from it, in every decoder layer."""
    model = nn.Transformer(8, 2, 1, 3, 16, batch_first=True)
    depth = depths(model, torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))
    layers = [f"decoder.layers.{i}.multihead_attn.in_proj_weight" for i in range(3)]
    assert rising(depth, "encoder.norm.weight", *layers)


class LateralHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 1), nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(3)))
        self.head = self.Head()

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.lateral, self.top = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

        def forward(self, features):
            return self.lateral(features["early"]) + self.top(features["late"])

    def forward(self, x):
        early = self.stem(x)
        return self.head(OrderedDict(early=early, late=self.body(early)))


def test_a_barrier_keeps_the_lateral_connection_in_the_head():
    depth = depths(LateralHead(), torch.zeros(1, 3, 4, 4))
    assert depth["head.lateral.weight"] == depth["head.top.weight"]
    assert rising(depth, "stem.weight", "body.2.weight", "head.lateral.weight")


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.second, self.first, self.reentrant = nn.Linear(4, 4), nn.Linear(4, 4), reentrant

    def forward(self, x):
        for block in (self.first, self.second):
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant):
    assert rising(depths(Checkpointed(reentrant), torch.zeros(2, 4)), "first.weight", "second.weight")


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


class CustomFunction(nn.Module):
    def __init__(self):
        super().__init__()
        self.last, self.scale, self.first = nn.Linear(4, 4), nn.Parameter(torch.ones(4)), nn.Linear(4, 4)

    def forward(self, x):
        return self.last(Scale.apply(self.first(x), self.scale))


def test_custom_autograd_functions_are_seen_through():
    assert rising(depths(CustomFunction(), torch.zeros(2, 4)), "first.weight", "scale", "last.weight")


class Flexible(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.qkv = nn.Linear(8, 8), nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x)[:, None].chunk(3, -1)
        return self.out(flex_attention(q, k, v, score_mod=lambda score, b, h, i, j: score + (i - j)))


@pytest.mark.skipif(
    not hasattr(TorchDispatchMode, "supports_higher_order_operators"),
    reason="this torch runs higher-order operations past dispatch modes",
)
@pytest.mark.filterwarnings("ignore:.*flex_attention")
def test_higher_order_operations():
    assert rising(depths(Flexible(), torch.zeros(1, 16, 8)), "qkv.weight", "out.weight")


class ForceField(nn.Module):
    """Differentiates in its forward pass, which gradients have to be on for."""

    def __init__(self):
        super().__init__()
        self.energy, self.embedding = nn.Linear(8, 1), nn.Linear(3, 8)

    def forward(self, positions):
        positions = positions.detach().requires_grad_()
        energy = self.energy(self.embedding(positions).tanh()).sum()
        return energy, -torch.autograd.grad(energy, positions, create_graph=self.training)[0]


def test_gradients_within_the_forward_pass():
    depth = depths(ForceField().to("meta"), torch.zeros(5, 3, device="meta"))
    assert rising(depth, "embedding.weight", "energy.weight")


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_of_a_recurrent_net(kind, bidirectional):
    model = kind(3, 4, num_layers=2, bidirectional=bidirectional)
    depth = depths(model, torch.zeros(5, 2, 3))
    first = [depth[name] for name in depth if "_l0" in name]
    second = [depth[name] for name in depth if "_l1" in name]
    assert max(first) < min(second)


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.rnn = nn.Linear(4, 2), nn.LSTM(3, 4, num_layers=2)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        return self.head(self.rnn(packed)[1][0][-1])


def test_packed_sequences():
    depth = depths(Packed(), torch.zeros(5, 2, 3), torch.tensor([3, 5]))
    assert rising(depth, "rnn.weight_ih_l0", "rnn.weight_ih_l1", "head.weight")


REPARAMETRISATIONS = {
    "weight_norm, old": nn.utils.weight_norm,
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "spectral_norm, old": nn.utils.spectral_norm,
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("wrap", REPARAMETRISATIONS.values(), ids=REPARAMETRISATIONS)
def test_reparametrised_weights(wrap):
    model = nn.Sequential(OrderedDict(a=wrap(nn.Linear(4, 4)), b=wrap(nn.Linear(4, 4)), c=wrap(nn.Linear(4, 4))))
    depth = depths(model, torch.zeros(2, 4))
    by_module = [{d for name, d in depth.items() if name.startswith(module)} for module in "abc"]
    assert by_module == [{0}, {1}, {2}]


class LoRA(nn.Module):
    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.down = nn.Parameter(torch.zeros(rank, base.in_features))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T


def test_depth_is_ranked_over_what_is_trained():
    """Two adapters on eight frozen layers have four depths; frozen parameters join the nearest."""
    blocks = [nn.Linear(4, 4).requires_grad_(False) for _ in range(8)]
    blocks[2], blocks[5] = LoRA(blocks[2]), LoRA(blocks[5])
    depth = depths(nn.Sequential(*blocks), torch.zeros(1, 4))
    assert [depth[name] for name in ("2.down", "2.up", "5.down", "5.up")] == [0, 1, 2, 3]
    assert depth["0.weight"] == depth["1.weight"] == depth["2.base.weight"] == 0
    assert depth["7.weight"] == depth["6.weight"] == 3


def test_without_trainable_parameters_all_count():
    assert len(measure_depths(mlp(4, 4, 4).requires_grad_(False), torch.zeros(1, 4))) == 2


class Mixture(nn.Module):
    """Routes tokens to experts by `nonzero`; none reaches the last expert."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        self.router = nn.Linear(4, 4)
        nn.init.zeros_(self.router.weight)
        self.router.bias.data = torch.tensor([3.0, 2.0, 1.0, 0.0])

    def forward(self, x):
        scores, out = self.router(x), torch.zeros_like(x)
        chosen = scores.topk(3).indices
        for i, expert in enumerate(self.experts):
            rows = (chosen == i).any(1).nonzero().squeeze(1)
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]) * scores[rows, i : i + 1])
        return self.head(out)


def test_an_expert_without_tokens_goes_where_the_others_are():
    layers = find_layers(Mixture(), torch.ones(6, 4))
    depth, placed = depths_in(layers), {n: rule for layer in layers for n, rule in layer.placed.items()}
    assert placed == {"experts.3.weight": "like experts.*.weight", "experts.3.bias": "like experts.*.bias"}
    assert len({depth[f"experts.{i}.weight"] for i in range(4)}) == 1
    assert rising(depth, "experts.3.weight", "head.weight")


class Auxiliary(nn.Module):
    """Skips layers at random and has a second head, both in training mode only."""

    def __init__(self):
        super().__init__()
        self.auxiliary, self.unused = nn.Linear(4, 2), nn.Linear(4, 4)
        self.blocks, self.head = nn.ModuleList(nn.Linear(4, 4) for _ in range(6)), nn.Linear(4, 2)

    def forward(self, x):
        outputs = []
        for i, block in enumerate(self.blocks):
            if self.training and torch.rand(()).item() < 0.9:
                continue
            x = block(x)
            if self.training and i == 2:
                outputs.append(self.auxiliary(x))
        if self.training and not outputs:
            outputs.append(self.auxiliary(x))
        return [self.head(x), *outputs]


def test_evaluation_mode_first_then_training_mode_then_placing():
    layers = measure_depths(Auxiliary(), torch.zeros(1, 4))
    depth = depths_in(layers)
    assert rising(depth, *(f"blocks.{i}.weight" for i in range(6)), "head.weight")
    assert {name for layer in layers for name in layer.placed} == {"unused.weight", "unused.bias"}
    assert depth["unused.weight"] == depth["head.weight"] == max(depth.values())


class InPlace(nn.Module):
    """Writes into views of a buffer, and computes a parameter's use from a view of it."""

    def __init__(self):
        super().__init__()
        self.c, self.b, self.a = (nn.Parameter(torch.ones(4)) for _ in range(3))
        self.register_buffer("cache", torch.zeros(2, 4))

    def forward(self, x):
        self.cache[:, :2] = x[:, :2] * self.a[:2]
        self.cache.mul_(self.b)
        self.cache.T.mul_(self.c[:, None])
        return self.cache


def test_views_and_writes_in_place():
    assert depths(InPlace(), torch.ones(2, 4)) == {"a": 0, "b": 1, "c": 2}


class Steered(nn.Module):
    """Branches on values: of a flag, of integer inputs, and of what is computed from the data."""

    def __init__(self):
        super().__init__()
        self.third, self.second, self.first = (nn.Linear(4, 4) for _ in range(3))
        self.register_buffer("ready", torch.tensor(True))

    def forward(self, x, repeats):
        if not self.ready or x.isnan().any():
            raise RuntimeError("never")
        if not torch.isfinite(x).all():
            raise RuntimeError("never")
        for _ in range(int(repeats.max())):
            x = self.first(x)
        return self.third(self.second(x))


def test_values_that_steer_the_forward_pass():
    depth = depths(Steered(), torch.full((1, 4), torch.nan), torch.tensor([0, 2]))  # nan: nothing is computed
    assert rising(depth, "first.weight", "second.weight", "third.weight")


def test_wrapped_models_are_measured_as_what_they_wrap():
    model, x = DetrLike(), torch.zeros(1, 3, 16, 16)
    expected = measure_depths(model, x)
    assert measure_depths(nn.DataParallel(model), x) == expected
    assert measure_depths(torch.compile(model), x) == expected
    model.compile()
    assert measure_depths(model, x) == expected


@pytest.fixture
def process_group(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")  # gloo resolves host names, DTensor warns of its own internals
def test_distributed_models(process_group):
    model, x = UNet(), torch.zeros(1, 3, 16, 16)
    expected = measure_depths(model, x)
    wrapped = nn.parallel.DistributedDataParallel(model)
    assert measure_depths(wrapped, x) == expected
    assert measure_depths(torch.compile(wrapped), x) == expected
    inside = nn.Sequential(OrderedDict(a=wrapped, b=torch.compile(nn.Conv2d(1, 1, 1))))
    inside.process_group = torch.distributed.group.WORLD
    depth = depths_in(measure_depths(inside, x))
    assert rising(depth, "a.stem.weight", "a.head.weight", "b.weight")


def test_a_compiled_part_of_a_model():
    model = nn.Sequential(torch.compile(nn.Linear(4, 4)), mlp(4, 4, 4))
    assert depths_in(measure_depths(model, torch.zeros(1, 4))) == {
        "0.weight": 0, "0.bias": 0, "1.0.weight": 1, "1.0.bias": 1, "1.2.weight": 2, "1.2.bias": 2,
    }  # fmt: skip


def test_a_loss_with_parameters_comes_last():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.centres = nn.Parameter(torch.zeros(3, 4))

    layers = measure_depths(nn.ModuleList([nn.DataParallel(mlp(4, 4, 4)), Loss()]), torch.zeros(1, 4))
    assert [layer.parameters for layer in layers] == [
        ("0.0.weight", "0.0.bias"),
        ("0.2.weight", "0.2.bias", "1.centres"),
    ]


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("around", CONTEXTS.values(), ids=CONTEXTS)
@pytest.mark.parametrize("training", [True, False])
def test_the_context_of_the_call_does_not_matter(around, training):
    model, x = DetrLike().train(training), torch.zeros(1, 3, 16, 16)
    expected = measure_depths(model, x)
    with around():
        assert measure_depths(model, x) == expected


def test_autocast_lets_half_precision_data_meet_full_precision_weights():
    x = torch.zeros(2, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert len(measure_depths(mlp(4, 4, 4), x)) == 2


def test_inputs_in_containers_and_objects():
    class Batch:
        def __init__(self, x):
            self.fields = [{"x": x}]

    class Opened(nn.Module):
        def __init__(self):
            super().__init__()
            self.b, self.a = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, batch):
            return self.b(self.a(batch.fields[0]["x"]))

    assert rising(depths(Opened(), Batch(torch.zeros(1, 4))), "a.weight", "b.weight")


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning", "ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("convert", [torch.jit.script, torch.fx.symbolic_trace], ids=["script", "fx"])
def test_converted_modules(convert):
    model = nn.Sequential(convert(mlp(4, 4, 4)), nn.Linear(4, 2))
    assert rising(depths(model, torch.zeros(1, 4)), "0.0.weight", "0.2.weight", "1.weight")
