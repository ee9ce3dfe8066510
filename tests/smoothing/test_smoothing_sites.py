"""What `lerac.CBS` selects and refuses, and that tokens and sequences in time are smoothed as the formula says."""

import copy

import pytest
import torch
from tests.smoothing.smoothed import kernel, smooth_rows
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import lerac

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "attention_probs_dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0,
}


def selected(model, modules=None):
    cbs = lerac.CBS(model, every=1, modules=modules)
    names = cbs.state_dict()["modules"]
    cbs.remove()
    return names


def bert(**changes):
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=32, **TINY, **changes)
    return transformers.BertModel(config).double()


def outputs_of(model, names):
    """Keep what the named modules give before and after CBS, which must be built in between."""
    kept = {}
    for name in names:

        def keep(module, args, output, name=name):
            kept.setdefault(name, []).append(output[0] if isinstance(output, tuple) else output)

        model.get_submodule(name).register_forward_hook(keep)
    return kept


def smoothed_and_plain(build, names, *args, **kwargs):
    """Give output before and after smoothing of each named module, in one forward pass."""
    model = build()
    before = outputs_of(model, names)
    cbs = lerac.CBS(model, every=1)
    assert cbs.state_dict()["modules"] == names
    after = outputs_of(model, names)
    model(*args, **kwargs)
    return [(before[name][0], after[name][0]) for name in names]


def same(a, b, tolerance=1e-12):
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max()


# Selection


@pytest.mark.parametrize(
    ("name", "count", "without"),
    [
        ("convnext_atto", 12, ["stem.0", "stages.1.downsample.1"]),
        ("efficientnet_b0", 17, ["blocks.0.0.conv_pw", "blocks.0.0.se.conv_reduce"]),
        ("resnet18", 17, ["layer2.0.downsample.0"]),
        ("seresnet18", 17, ["layer1.0.se.fc1"]),
        ("vit_tiny_patch16_224", 12, ["patch_embed.proj"]),
        ("swin_tiny_patch4_window7_224", 12, ["patch_embed.proj"]),
    ],
)
def test_networks_of_timm(name, count, without):
    with torch.device("meta"):
        model = timm.create_model(name)
    names = selected(model)
    assert len(names) == count
    assert not set(names) & set(without)
    assert set(without) <= dict(model.named_modules()).keys()


def test_every_convolution_on_request():
    with torch.device("meta"):
        model = timm.create_model("convnext_atto")
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert selected(model, "convolutions") == convolutions
    assert {"stem.0", "stages.0.blocks.0.mlp.fc1"} <= set(convolutions)


def mixed():
    model = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.LSTM(4, 4), nn.Linear(4, 4), nn.Conv1d(4, 4, 1))
    return nn.ModuleDict({"a": model, "b": nn.Sequential(nn.GRU(4, 4), nn.Linear(4, 4))})


@pytest.mark.parametrize(
    ("modules", "names"),
    [
        (None, ["a.0"]),
        ("cbs", ["a.0"]),
        ("convolutions", ["a.0", "a.3"]),
        ("recurrent", ["a.1", "b.0"]),
        ("b.0", ["b.0"]),
        (["b.*", "a.3"], ["a.3", "b.0", "b.1"]),
        (nn.RNNBase, ["a.1", "b.0"]),
        ([nn.Linear, "a.0"], ["a.0", "a.2", "b.1"]),
        ((nn.Linear, nn.GRU), ["a.2", "b.0", "b.1"]),
        (lambda name, module: name.endswith("2") or isinstance(module, nn.GRU), ["a.2", "b.0"]),
    ],
)
def test_ways_to_select(modules, names):
    assert selected(mixed(), modules) == names


@pytest.mark.parametrize(
    ("modules", "error", "message"),
    [
        ("tokens", ValueError, "modules='tokens' finds nothing in this ModuleDict: leave it out"),
        ("c", ValueError, "this ModuleDict has no module 'c': see model.named_modules"),
        ([nn.Conv2d], ValueError, "has no module Conv2d"),
        ([], ValueError, "modules is empty"),
        ([3], TypeError, "must be names or types of modules, got 3 among them"),
        (3, TypeError, "modules must be 'cbs', 'convolutions', 'tokens', 'recurrent', names or types"),
        (nn.ReLU(), TypeError, r"names or types of modules.*got ReLU\(\)"),
        (lambda name, module: False, ValueError, "chose none of the 9 modules"),
    ],
)
def test_selections_that_are_refused(modules, error, message):
    with pytest.raises(error, match=message):
        lerac.CBS(mixed(), every=1, modules=modules)


def test_a_model_with_nothing_to_smooth_is_refused():
    with pytest.raises(
        ValueError, match=r"found nothing to smooth in this Sequential: no convolution.*Name the modules"
    ):
        lerac.CBS(nn.Sequential(nn.Linear(2, 2), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 4, stride=4)), every=1)


def test_attention_whose_layout_is_unknown_is_not_selected():
    config = transformers.XLNetConfig(d_model=8, n_layer=1, n_head=2, d_inner=8, vocab_size=9)
    with pytest.raises(ValueError, match="found nothing to smooth in this XLNetModel"):
        lerac.CBS(transformers.XLNetModel(config), every=1)


def test_names_are_those_of_the_plain_model():
    model = nn.Sequential(nn.Conv2d(1, 1, 3))
    assert selected(nn.DataParallel(model)) == selected(torch.compile(model)) == selected(model) == ["0"]
    assert selected(nn.Conv2d(1, 1, 3)) == ["Conv2d"]


def test_it_says_what_is_smoothed():
    shown = str(lerac.CBS(timm.create_model("vit_tiny_patch16_224", depth=2), every=5))
    assert shown.splitlines() == [
        "CBS(sigma 1, step 0: × 0.9 every 5 steps, 3 weights per dimension, modules 'tokens', 2 smoothed)",
        "  blocks.0.attn  a sequence of tokens after 1 class token",
        "  blocks.1.attn  a sequence of tokens after 1 class token",
    ]


@pytest.mark.parametrize("kind", [nn.Linear, nn.Flatten])
def test_an_output_that_is_no_sequence_is_refused_when_it_comes(kind):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Unflatten(1, (1, 1, 1, 1, 2)))
    lerac.CBS(model, every=1, modules=["2"])
    with pytest.raises(ValueError, match=r"output of '2' as a sequence of tokens, .* got shape \(3, 1, 1, 1, 1, 2\)"):
        model(torch.zeros(3, 4))


def test_torchscript_is_refused():
    with pytest.warns(match="deprecated"):
        scripted = torch.jit.script(nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match="inside TorchScript"):
        lerac.CBS(nn.Sequential(scripted), every=1)


def test_pooling_by_name():
    model = nn.Sequential(nn.MaxPool2d(2)).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    plain = model(x)
    lerac.CBS(model, every=1, modules="0")
    same(model(x), nn.functional.conv2d(plain, kernel(1.0, 2)[None, None], padding=1))


# Tokens


@pytest.mark.parametrize(("name", "classes"), [("vit_tiny_patch16_224", 1), ("deit_tiny_distilled_patch16_224", 2)])
def test_image_tokens_without_class_tokens(name, classes):
    def build():
        return timm.create_model(name, depth=2, embed_dim=24, num_heads=2, img_size=64).double()

    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for before, after in smoothed_and_plain(build, ["blocks.0.attn", "blocks.1.attn"], x):
        assert before.shape[1] == 16 + classes
        assert torch.equal(after[:, :classes], before[:, :classes])
        for i in range(2):
            same(after[i, classes:], smooth_rows(before[i, classes:], 1.0))


@pytest.mark.parametrize("kind", ["ViT", "DeiT", "Dinov2WithRegisters"])
def test_image_models_of_transformers(kind):
    classes = {"ViT": 1, "DeiT": 2, "Dinov2WithRegisters": 5}[kind]
    config = getattr(transformers, f"{kind}Config")(image_size=32, patch_size=8, **TINY)

    def build():
        return getattr(transformers, f"{kind}Model")(config).double()

    names = selected(build())
    assert len(names) == 2
    for before, after in smoothed_and_plain(build, names, torch.randn(1, 3, 32, 32, dtype=torch.float64)):
        assert torch.equal(after[:, :classes], before[:, :classes])
        same(after[0, classes:], smooth_rows(before[0, classes:], 1.0))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padded_text(attention, side):
    lengths, whole = (7, 3, 10), 10
    ids = torch.randint(1, 50, (3, whole))
    mask = torch.tensor(
        [[int(t < n) if side == "right" else int(t >= whole - n) for t in range(whole)] for n in lengths]
    )
    names = [f"encoder.layer.{i}.attention.self" for i in range(2)]

    def build():
        return bert(attn_implementation=attention)

    for before, after in smoothed_and_plain(build, names, input_ids=ids, attention_mask=mask):
        for b, n in enumerate(lengths):
            real = mask[b].bool()
            assert torch.equal(after[b, ~real], before[b, ~real])
            assert real.sum() == n
            assert torch.equal(after[b, real][0], before[b, real][0])  # [CLS]
            same(after[b, real][1:], smooth_rows(before[b, real][1:], 1.0))


def test_padding_changes_nothing_for_real_tokens():
    model = bert()
    lerac.CBS(model, every=1)
    ids = torch.randint(1, 50, (1, 6))
    padded = torch.cat([ids, torch.randint(1, 50, (1, 4))], 1)
    mask = torch.tensor([[1] * 6 + [0] * 4])
    same(model(padded, attention_mask=mask)[0][:, :6], model(ids)[0])
    same(model(padded, attention_mask=mask.bool())[0][:, :6], model(ids)[0])


def prefixes(model, modules="tokens"):
    """How many class tokens each selected module has, in the order of their names."""
    lines = str(lerac.CBS(model, every=1, modules=modules)).splitlines()[1:]
    return [int(line.partition(" after ")[2].partition(" ")[0] or 0) for line in lines]


def test_class_tokens_are_counted_where_they_are():
    """Branches have one each; local convolutions make no tokens, other towers none for this one."""
    with torch.device("meta"):
        assert set(prefixes(timm.create_model("crossvit_tiny_240"))) == {1}
        assert set(prefixes(timm.create_model("coat_tiny"))) == {1}
    text = {"vocab_size": 20, **TINY}
    assert prefixes(transformers.NystromformerModel(transformers.NystromformerConfig(**text))) == [1, 1]
    siglip = transformers.SiglipVisionConfig(image_size=32, patch_size=8, **TINY)
    assert set(prefixes(transformers.SiglipVisionModel(siglip))) == {0}
    whisper = transformers.WhisperConfig(
        **{"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 20},
        **{"decoder_attention_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        decoder_start_token_id=1,
    )
    assert prefixes(transformers.WhisperModel(whisper), "encoder.layers.0.self_attn") == [0]


def test_the_class_token_of_another_tower_does_not_count():
    class Tower(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.encoder = encoder(True, layers=1)
            if classes:
                self.cls_token = nn.Parameter(torch.zeros(1, classes, 8))

    assert prefixes(nn.ModuleDict({"image": Tower(0), "text": Tower(1)})) == [0, 1]


def test_windows_of_attention_are_a_grid_of_tokens():
    """timm's OutlookAttention has a kernel size, and (batch, height, width, features)."""
    attention = timm.models.volo.OutlookAttention(8, 2, kernel_size=3, padding=1, stride=2).double()
    x = torch.randn(1, 6, 6, 8, dtype=torch.float64)
    moved = attention(x).permute(0, 3, 1, 2)
    lerac.CBS(attention, every=1, modules="tokens")
    expected = nn.functional.conv2d(moved, kernel(1.0, 2).expand(8, 1, 3, 3), padding=1, groups=8)
    same(attention(x), expected.permute(0, 2, 3, 1))


def test_fake_and_transformed_masks_have_no_values():
    class MaskedAttention(SelfAttention):
        def forward(self, x, mask=None):
            return x

    def padded(x, mask):
        return model(x, mask=mask)

    model = MaskedAttention()
    del model.tril
    lerac.CBS(model, every=1)
    x, mask = torch.randn(3, 2, 4, 8), torch.zeros(3, 2, 1, 4, 4)
    assert padded(x[0].to("meta"), mask[0].to("meta")).shape == (2, 4, 8)
    torch.testing.assert_close(torch.func.vmap(padded)(x, mask)[1], padded(x[1], mask[1]))


def encoder(batch_first, norm_first=False, layers=2):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first, norm_first=norm_first)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=not norm_first and batch_first).double()


def lengths_mask(lengths):
    longest = max(lengths)
    return torch.tensor([[t >= n for t in range(longest)] for n in lengths])


@pytest.mark.parametrize("mode", ["train", "eval", "no_grad"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
def test_the_transformer_encoder_of_torch(batch_first, mode):
    """Each sequence of a padded batch comes out as it does alone, the fast path of evaluation included."""
    model = encoder(batch_first).train(mode == "train")
    lerac.CBS(model, every=1)
    x, lengths = torch.randn(3, 6, 8, dtype=torch.float64), (6, 2, 4)
    with torch.set_grad_enabled(mode != "no_grad"):
        y = model(x if batch_first else x.transpose(0, 1), src_key_padding_mask=lengths_mask(lengths))
        y = y if batch_first else y.transpose(0, 1)
        for b, n in enumerate(lengths):
            alone = x[b : b + 1, :n] if batch_first else x[b : b + 1, :n].transpose(0, 1)
            expected = model(alone)
            same(y[b, :n], expected[0] if batch_first else expected[:, 0])


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_attention_of_torch_against_the_formula(batch_first):
    names = ["layers.0.self_attn", "layers.1.self_attn"]
    x, lengths = torch.randn(3, 6, 8, dtype=torch.float64), (6, 2, 4)
    pairs = smoothed_and_plain(
        lambda: encoder(batch_first),
        names,
        x if batch_first else x.transpose(0, 1),
        src_key_padding_mask=lengths_mask(lengths),
    )
    for before, after in pairs:
        ours, plain = (after, before) if batch_first else (after.transpose(0, 1), before.transpose(0, 1))
        for b, n in enumerate(lengths):
            same(ours[b, :n], smooth_rows(plain[b, :n], 1.0))
            assert torch.equal(ours[b, n:], plain[b, n:])


def test_a_sequence_without_a_batch():
    model = encoder(True, layers=1)
    x = torch.randn(5, 8, dtype=torch.float64)
    lerac.CBS(model, every=1)
    same(model(x), model(x[None])[0])


@pytest.mark.parametrize("batch_first", [True, False])
def test_whole_blocks_by_type(batch_first):
    model = encoder(batch_first, norm_first=True)
    x, mask = torch.randn(2, 5, 8, dtype=torch.float64), lengths_mask((5, 3))
    plain = model.layers[0](x if batch_first else x.transpose(0, 1), src_key_padding_mask=mask)
    lerac.CBS(model, every=1, modules=nn.TransformerEncoderLayer)
    smoothed = model.layers[0](x if batch_first else x.transpose(0, 1), src_key_padding_mask=mask)
    for b, n in enumerate((5, 3)):
        ours, theirs = (smoothed[b], plain[b]) if batch_first else (smoothed[:, b], plain[:, b])
        same(ours[:n], smooth_rows(theirs[:n], 1.0))
        assert torch.equal(ours[n:], theirs[n:])


def test_class_tokens_that_a_model_adds_itself():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
            self.encoder = encoder(True, layers=1)

        def forward(self, x):
            return self.encoder(torch.cat([self.cls_token.to(x).expand(len(x), -1, -1), x], 1))

    [(before, after)] = smoothed_and_plain(
        lambda: Own().double(), ["encoder.layers.0.self_attn"], torch.randn(2, 4, 8, dtype=torch.float64)
    )
    assert torch.equal(after[:, 0], before[:, 0])
    same(after[1, 1:], smooth_rows(before[1, 1:], 1.0))


def test_a_grid_of_tokens_is_smoothed_in_both_directions():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)

    def build():
        return torchvision.models.SwinTransformer([2, 2], 8, [2], [2], [2, 2], stochastic_depth_prob=0.0).double()

    names = ["features.1.0.attn", "features.1.1.attn"]
    for before, after in smoothed_and_plain(build, names, torch.randn(1, 3, 12, 12).double()):
        assert before.shape == (1, 6, 6, 8)
        moved = before.permute(0, 3, 1, 2)
        expected = nn.functional.conv2d(moved, kernel(1.0, 2).expand(8, 1, 3, 3), padding=1, groups=8)
        same(after, expected.permute(0, 2, 3, 1))


# Causal attention


class OwnCausal(nn.Module):
    def __init__(self):
        super().__init__()
        self.own_attention = SelfAttention()

    def forward(self, x):
        return self.own_attention(x)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.register_buffer("tril", torch.tril(torch.ones(1, 1, 16, 16)))

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: transformers.GPT2Model(transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9)),
            "'h.0.attn' is causal",
        ),
        (
            lambda: transformers.LlamaModel(
                transformers.LlamaConfig(
                    hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8, vocab_size=9
                )
            ),
            "'layers.0.self_attn' is causal",
        ),
        (lambda: bert(is_decoder=True), "'encoder.layer.0.attention.self' is causal"),
        (lambda: nn.TransformerDecoderLayer(8, 2), r"'self_attn' is causal \(it is in a TransformerDecoderLayer\)"),
        (
            lambda: nn.Transformer(8, 2, 1, 1, batch_first=True),
            r"'decoder.layers.0.self_attn' is causal .*named: modules=\['encoder.layers.0.self_attn'\]",
        ),
        (OwnCausal, r"'own_attention' is causal \(its buffer 'tril' is a triangular mask\)"),
        (
            lambda: transformers.T5Model(
                transformers.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=9)
            ),
            r"'decoder.block.0.layer.0.SelfAttention' is causal .*'encoder.block.0.layer.0.SelfAttention'",
        ),
        (
            lambda: transformers.RwkvModel(
                transformers.RwkvConfig(hidden_size=8, num_hidden_layers=2, vocab_size=9, attention_hidden_size=8)
            ),
            r"'blocks.0.attention' is causal \(it is a RwkvSelfAttention\)",
        ),
    ],
    ids=["GPT-2", "Llama", "BERT decoder", "decoder layer", "Transformer", "own", "T5", "RWKV"],
)
def test_causal_attention_is_refused(build, message):
    model = build()
    with pytest.raises(ValueError, match=f"CBS does not smooth causal attention.*{message}"):
        lerac.CBS(model, every=1)
    assert not any(module._forward_hooks for module in model.modules())


def test_causal_attention_is_refused_by_name_too():
    with pytest.raises(ValueError, match="causal attention"):
        lerac.CBS(nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2), 1), every=1, modules="layers.0")


@pytest.mark.parametrize("how", ["flag", "mask", "bool mask", "attention"])
def test_attention_that_is_called_causally_is_refused_when_it_is(how):
    model, x = encoder(True), torch.randn(2, 5, 8, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    lerac.CBS(model, every=1)
    calls = {
        "flag": lambda: model(x, mask=mask, is_causal=True),
        "mask": lambda: model(x, mask=mask),
        "bool mask": lambda: model(x, mask=mask < 0),
        "attention": lambda: model.layers[0].self_attn(x, x, x, attn_mask=(mask < 0).expand(4, 5, 5)),
    }
    with pytest.raises(ValueError, match="CBS does not smooth causal attention"):
        calls[how]()
    assert model(x).isfinite().all()  # the same model without a causal mask is fine


@pytest.mark.parametrize("batch", [2, 5])
def test_a_whole_encoder_that_is_called_causally_is_refused(batch):
    """Also where a batch as large as the sequence makes its mask look like one of padding."""
    model, x = encoder(True), torch.randn(batch, 5, 8, dtype=torch.float64)
    lerac.CBS(model, every=1, modules=nn.TransformerEncoder)
    with pytest.raises(ValueError, match="CBS does not smooth causal attention"):
        model(x, mask=torch.ones(5, 5, dtype=torch.bool).triu(1))


def test_a_causal_mask_that_says_true_for_what_is_hidden_is_refused():
    shared = {"d_model": 8, "n_heads": 2, "n_layers": 1, "vocab_size": 9, "max_seq_len": 16}
    model = transformers.MptModel(transformers.MptConfig(**shared))
    lerac.CBS(model, every=1)
    with pytest.raises(ValueError, match="CBS does not smooth causal attention"):
        model(torch.tensor([[1, 2, 3, 4]]))


def test_clip_smooths_images_and_refuses_text():
    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**tiny, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 2},
        vision_config={**tiny, "image_size": 8, "patch_size": 4},
        projection_dim=8,
    )
    model = transformers.CLIPModel(config)
    lerac.CBS(model, every=1)
    assert model.get_image_features(torch.randn(1, 3, 8, 8)) is not None
    with pytest.raises(ValueError, match="CBS does not smooth causal attention"):
        model.get_text_features(torch.tensor([[1, 5, 6, 2]]))


def test_causal_convolutions_are_refused():
    mamba = transformers.MambaModel(transformers.MambaConfig(hidden_size=8, num_hidden_layers=1, vocab_size=9))
    with pytest.raises(ValueError, match="seems to be a causal convolution"):
        lerac.CBS(mamba, every=1)
    shifted = nn.Sequential(nn.Conv1d(1, 1, 3, padding=4, dilation=2))
    with pytest.raises(ValueError, match=r"modules=\['0', …\]"):
        lerac.CBS(shifted, every=1)
    assert selected(shifted, ["0"]) == ["0"]


# Time


class Lstm(nn.Module):
    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(4, 6, **options).double()

    def forward(self, x):
        return self.rnn(x)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bidirectional": True, "num_layers": 2}])
def test_recurrent_layers_along_time(kind, options):
    model = Lstm(kind, **options)
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    plain, states = model(x)
    cbs = lerac.CBS(model, every=1)
    assert cbs.state_dict()["modules"] == ["rnn"]
    smoothed, new_states = model(x)
    time = (lambda y, b: y[b]) if "batch_first" in options else (lambda y, b: y[:, b])
    for b in range(3):
        same(time(smoothed, b), smooth_rows(time(plain, b), 1.0))
    hidden, new_hidden = (s[0] if isinstance(s, tuple) else s for s in (states, new_states))
    top = 2 if "bidirectional" in options else 1
    assert torch.equal(new_hidden[:-top], hidden[:-top])
    for b in range(3):  # the last hidden state is the end of the smoothed output, as it is of the plain one
        assert torch.equal(new_hidden[-top, b], time(smoothed, b)[-1, :6])
        assert torch.equal(hidden[-top, b], time(plain, b)[-1, :6])
        if top == 2:
            assert torch.equal(new_hidden[-1, b], time(smoothed, b)[0, 6:])
    if kind is nn.LSTM:
        assert torch.equal(new_states[1], states[1])


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_packed_sequences_one_by_one(bidirectional, sort):
    model = Lstm(batch_first=True, bidirectional=bidirectional)
    lengths = torch.tensor([6, 3, 1] if sort else [3, 6, 1])
    x = torch.randn(3, 6, 4, dtype=torch.float64, requires_grad=True)
    lerac.CBS(model, every=1)
    packed, (hidden, cell) = model(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=sort))
    y, out_lengths = pad_packed_sequence(packed, batch_first=True)
    assert torch.equal(out_lengths, lengths)
    for b, n in enumerate(lengths):
        alone, (its_hidden, its_cell) = model(x[b : b + 1, :n])
        same(y[b, :n], alone[0])
        same(hidden[:, b], its_hidden[:, 0])
        same(cell[:, b], its_cell[:, 0])
    y.sum().backward()
    assert (x.grad[0, lengths[0] :] == 0).all()


def test_a_recurrent_layer_without_a_batch():
    model = Lstm()
    x = torch.randn(5, 4, dtype=torch.float64)
    lerac.CBS(model, every=1)
    smoothed, (hidden, _) = model(x)
    batched, (its_hidden, _) = model(x[:, None])
    same(smoothed, batched[:, 0])
    same(hidden, its_hidden[:, 0])


def test_gradients_of_the_tokens():
    model = encoder(True, layers=1)
    lerac.CBS(model, every=1)
    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    mask = lengths_mask((3, 2))
    assert torch.autograd.gradcheck(lambda x: copy.deepcopy(model)(x, src_key_padding_mask=mask), (x,))


class SmoothTokens(nn.Module):
    """The formula after an attention that works on one class token and then a sequence."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, *args, **kwargs):
        y = self.attention(*args, **kwargs)
        return torch.stack([torch.cat([one[:1], smooth_rows(one[1:], 1.0)]) for one in y])


def gradients(model, loss):
    loss.backward()
    return [p.grad for p in model.parameters()]


def test_gradients_of_a_vision_transformer_are_those_of_the_formula():
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=12, depth=2, num_heads=2, num_classes=3
    ).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    by_hand = copy.deepcopy(model)
    for block in by_hand.blocks:
        block.attn = SmoothTokens(block.attn)
    lerac.CBS(model, every=1)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    ours, theirs = (gradients(net, net(images).pow(2).sum()) for net in (model, by_hand))
    for one, other in zip(ours, theirs, strict=True):
        same(one, other)


def test_gradients_along_time_are_those_of_the_formula():
    model = Lstm()
    by_hand = copy.deepcopy(model)
    lerac.CBS(model, every=1)
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    plain = by_hand(x)[0]
    theirs = gradients(by_hand, torch.stack([smooth_rows(plain[:, b], 1.0) for b in range(3)], 1).pow(3).sum())
    for one, other in zip(gradients(model, model(x)[0].pow(3).sum()), theirs, strict=True):
        same(one, other)
