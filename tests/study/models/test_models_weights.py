"""Published weights: loaded from files in the layouts that their authors use, or refused in one line."""

import json
import re

import pytest
import torch
from networks import BERT, CVT, small_batch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from lerac.study.errors import StudyError
from lerac.study.models import MODELS
from lerac.study.models.weights import renamed_cvt

CVT_FILE = "CvT-13-224x224-IN-1k.pth"
WORDS = 50


def original_cvt(classes: int) -> dict[str, Tensor]:
    """Random weights as the original repository of CvT saves them, for the small network of these tests."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def add(name: str, *shape: int, bias: bool = True) -> None:
        fan = max(1, torch.Size(shape[1:]).numel())
        tensors[f"{name}.weight"] = torch.randn(*shape, generator=generator) / fan**0.5
        if bias:
            tensors[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)

    before = 3
    for stage, (width, depth, kernel) in enumerate(zip(CVT["widths"], CVT["depths"], (7, 3, 3), strict=True)):
        add(f"stage{stage}.patch_embed.proj", width, before, kernel, kernel)
        add(f"stage{stage}.patch_embed.norm", width)
        if stage == 2:
            tensors["stage2.cls_token"] = torch.randn(1, 1, width, generator=generator)
        for number in range(depth):
            at = f"stage{stage}.blocks.{number}"
            for norm in ("norm1", "norm2"):
                add(f"{at}.{norm}", width)
            for kind in "qkv":
                add(f"{at}.attn.conv_proj_{kind}.conv", width, 1, 3, 3, bias=False)
                add(f"{at}.attn.conv_proj_{kind}.bn", width)
                tensors[f"{at}.attn.conv_proj_{kind}.bn.running_mean"] = torch.randn(width, generator=generator)
                tensors[f"{at}.attn.conv_proj_{kind}.bn.running_var"] = torch.rand(width, generator=generator) + 0.5
                tensors[f"{at}.attn.conv_proj_{kind}.bn.num_batches_tracked"] = torch.tensor(7)
                add(f"{at}.attn.proj_{kind}", width, width)
            add(f"{at}.attn.proj", width, width)
            add(f"{at}.mlp.fc1", 4 * width, width)
            add(f"{at}.mlp.fc2", width, 4 * width)
        before = width
    add("norm", before)
    add("head", classes, before)
    return tensors


def original_cvt_logits(w: dict[str, Tensor], images: Tensor) -> Tensor:
    """What the paper on CvT computes from them, written for this test with torch's functions."""

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def project(at: str, kind: str, tokens: Tensor, size: torch.Size, has_class: bool) -> Tensor:
        head, image = tokens[:, :has_class], tokens[:, has_class:].transpose(1, 2).unflatten(2, size)
        conv, bn = (f"{at}.conv_proj_{kind}.{part}" for part in ("conv", "bn"))
        stride = 1 if kind == "q" else 2
        image = functional.conv2d(image, w[f"{conv}.weight"], stride=stride, padding=1, groups=image.shape[1])
        statistics = (w[f"{bn}.running_mean"], w[f"{bn}.running_var"])
        image = functional.batch_norm(image, *statistics, w[f"{bn}.weight"], w[f"{bn}.bias"])
        return linear(f"{at}.proj_{kind}", torch.cat((head, image.flatten(2).transpose(1, 2)), dim=1))

    def attend(at: str, tokens: Tensor, size: torch.Size, has_class: bool, heads: int) -> Tensor:
        q, k, v = (
            project(at, kind, tokens, size, has_class).unflatten(2, (heads, -1)).transpose(1, 2) for kind in "qkv"
        )
        scores = q @ k.transpose(2, 3) / tokens.shape[2] ** 0.5
        return linear(f"{at}.proj", (scores.softmax(dim=3) @ v).transpose(1, 2).flatten(2))

    x = images
    for stage, (heads, stride, padding) in enumerate(zip(CVT["heads"], (4, 2, 2), (2, 1, 1), strict=True)):
        at, has_class = f"stage{stage}", stage == 2
        proj = f"{at}.patch_embed.proj"
        x = functional.conv2d(x, w[f"{proj}.weight"], w[f"{proj}.bias"], stride, padding)
        size = x.shape[2:]
        tokens = norm(f"{at}.patch_embed.norm", x.flatten(2).transpose(1, 2))
        if has_class:
            tokens = torch.cat((w["stage2.cls_token"].expand(len(tokens), -1, -1), tokens), dim=1)
        for number in range(CVT["depths"][stage]):
            block = f"{at}.blocks.{number}"
            tokens = tokens + attend(f"{block}.attn", norm(f"{block}.norm1", tokens), size, has_class, heads)
            inner = linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", tokens))
            tokens = tokens + linear(f"{block}.mlp.fc2", inner * torch.sigmoid(1.702 * inner))
        if not has_class:
            x = tokens.transpose(1, 2).unflatten(2, size)
    return linear("head", norm("norm", tokens[:, 0]))


def load_cvt(weights, classes=3, channels=3, **options):
    return MODELS["cvt13-pretrained"](channels, classes, weights=weights, **CVT, **options)


@pytest.fixture
def original(tmp_path):
    tensors = original_cvt(classes=3)
    torch.save(tensors, tmp_path / CVT_FILE)
    return tmp_path


def test_cvt_computes_what_the_original_does(original):
    images = small_batch("cvt13")
    expected = original_cvt_logits(original_cvt(classes=3), images)
    assert expected.std(dim=0).min() > 1e-3  # of different images, different logits
    torch.testing.assert_close(load_cvt(original).eval()(images), expected, rtol=1e-4, atol=1e-5)


def test_every_name_of_the_original_cvt_has_a_place():
    with torch.device("meta"):
        network = MODELS["cvt13"](3, 3, **CVT)
    assert renamed_cvt(original_cvt(3)).keys() == network.module.state_dict().keys()


def test_the_folder_of_weights_can_come_from_the_environment(original, monkeypatch):
    monkeypatch.setenv("LERAC_WEIGHTS", str(original))
    ours, theirs = load_cvt(None).state_dict(), load_cvt(original).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_head_of_another_number_of_classes_stays_new(original):
    torch.manual_seed(3)
    network = load_cvt(original, classes=5)
    torch.manual_seed(3)
    fresh = MODELS["cvt13"](3, 5, **CVT)
    loaded, new, file = network.module.state_dict(), fresh.module.state_dict(), renamed_cvt(original_cvt(3))
    for name, tensor in loaded.items():
        assert torch.equal(tensor, new[name] if name.startswith("classifier.") else file[name])
    assert loaded["classifier.weight"].shape == (5, 24)


def test_pretrained_can_be_left_out():
    fresh = MODELS["cvt13-pretrained"](3, 3, **CVT, pretrained=False)
    assert fresh(small_batch("cvt13")).shape == (4, 3)


def test_cvt_as_transformers_saves_it(tmp_path):
    torch.manual_seed(1)
    published = MODELS["cvt13"](3, 3, **CVT).module
    published.save_pretrained(tmp_path / "cvt-13")
    loaded = load_cvt(tmp_path).module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in published.state_dict().items())


def test_the_original_file_goes_first(original):
    MODELS["cvt13"](3, 3, **CVT).module.save_pretrained(original / "cvt-13")
    loaded = load_cvt(original).module.state_dict()
    assert torch.equal(loaded["classifier.weight"], original_cvt(3)["head.weight"])


def bert_for_pretraining(folder, **changes):
    import transformers

    config = transformers.BertConfig(
        vocab_size=WORDS,
        num_hidden_layers=BERT["layers"],
        hidden_size=BERT["width"],
        num_attention_heads=BERT["heads"],
        intermediate_size=BERT["mlp_width"],
        max_position_embeddings=BERT["positions"],
        **changes,
    )
    torch.manual_seed(1)
    model = transformers.BertForPreTraining(config)
    model.save_pretrained(folder / "bert-large-uncased")
    return model.eval()


def load_bert(weights, classes=3, words=WORDS, **options):
    return MODELS["bert-large"](words, classes, weights=weights, **{**BERT, **options})


def rewrite(file, change):
    save_file(change(load_file(file)), file, {"format": "pt"})


@pytest.mark.parametrize("old_names", [False, True])
def test_bert_has_the_encoder_of_the_published_file(tmp_path, old_names):
    published = bert_for_pretraining(tmp_path)
    if old_names:  # gamma and beta, and a table of positions, as the file on the Hub has
        names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        table = {"bert.embeddings.position_ids": torch.arange(24).view(1, -1)}
        rewrite(
            tmp_path / "bert-large-uncased" / "model.safetensors",
            lambda tensors: (
                table | {re.sub(r"LayerNorm\.\w+$", lambda m: names[m[0]], k): v for k, v in tensors.items()}
            ),
        )
    batch = small_batch("bert-large")
    network = load_bert(tmp_path).eval()
    torch.testing.assert_close(
        network.module.bert(**batch).pooler_output, published.bert(**batch).pooler_output, rtol=0, atol=0
    )
    assert network(batch).shape == (4, 3)


def test_bert_keeps_a_classifier_that_fits(tmp_path):
    torch.manual_seed(1)
    tuned = MODELS["bert-large"](WORDS, 3, pretrained=False, **BERT)
    tuned.module.save_pretrained(tmp_path / "bert-large-uncased")
    loaded = load_bert(tmp_path).module
    assert torch.equal(loaded.classifier.weight, tuned.module.classifier.weight)
    assert load_bert(tmp_path, classes=1).module.classifier.weight.shape == (1, 16)


def refused(says, load, *args, **options):
    with pytest.raises(StudyError) as error:
        load(*args, **options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("load", [load_cvt, load_bert])
def test_says_which_files_are_expected_where(tmp_path, monkeypatch, load):
    expected = f"{CVT_FILE} (microsoft/CvT) or cvt-13/model.safetensors (microsoft/cvt-13)"
    if load is load_bert:
        expected = "bert-large-uncased/config.json, model.safetensors and vocab.txt (google-bert/bert-large-uncased)"
    monkeypatch.delenv("LERAC_WEIGHTS", raising=False)
    how = f"put {expected} into a folder and name it by --weights or LERAC_WEIGHTS"
    refused(f"starts from published weights, and no folder with them is named: {how}", load, None)
    refused(f"there is no folder of weights '{tmp_path / 'no'}': {how}", load, tmp_path / "no")
    refused(f"expected {expected}", load, tmp_path)
    refused(str(tmp_path), load, tmp_path)


def test_files_that_cannot_be_read(original):
    (original / CVT_FILE).write_bytes(b"no weights")
    refused("cannot be read as weights saved by torch", load_cvt, original)
    torch.save({"epoch": 3}, original / CVT_FILE)
    refused("must hold tensors by name", load_cvt, original)
    (original / CVT_FILE).unlink()
    (original / "cvt-13").mkdir()
    (original / "cvt-13" / "model.safetensors").write_bytes(b"no weights")
    refused("cannot be read as safetensors", load_cvt, original)


def test_a_file_that_would_run_code_is_refused(original):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("code of a file of weights has run",))

    torch.save({"norm.weight": Bomb()}, original / CVT_FILE)
    refused("cannot be read as weights saved by torch", load_cvt, original)


def test_weights_that_do_not_fit(original):
    tensors = original_cvt(3)
    del tensors["stage0.blocks.0.attn.proj_q.bias"]
    torch.save(tensors, original / CVT_FILE)
    lacks = "it lacks cvt.encoder.stages.0.layers.0.attention.attention.projection_query.bias"
    refused(lacks, load_cvt, original)
    torch.save(original_cvt(3) | {"stage3.extra": torch.zeros(1)}, original / CVT_FILE)
    refused("it has unknown cvt.encoder.stages.3.extra", load_cvt, original)
    torch.save(original_cvt(3), original / CVT_FILE)
    refused("projection.weight is (8, 3, 7, 7), expected (8, 1, 7, 7)", load_cvt, original, channels=1)


def test_bert_files_that_do_not_fit(tmp_path):
    bert_for_pretraining(tmp_path)
    config = tmp_path / "bert-large-uncased" / "config.json"
    refused("config.json' has num_hidden_layers 2, the network 3", load_bert, tmp_path, layers=3)
    refused("has num_attention_heads 2, the network 4", load_bert, tmp_path, heads=4)  # no shape shows it
    refused("has vocab_size 50, the network 60: take the files of bert-large-uncased", load_bert, tmp_path, words=60)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_act": "relu"}))
    refused("has hidden_act relu, the network gelu", load_bert, tmp_path)
    config.write_text("{}")
    refused("is no configuration of a BERT: it has no vocab_size, hidden_size", load_bert, tmp_path)
    config.write_text("not JSON")
    refused("cannot be read as JSON", load_bert, tmp_path)
    config.write_text("[]")
    refused("config.json", load_bert, tmp_path)
    config.unlink()
    refused("there is no", load_bert, tmp_path)


def test_a_file_of_half_precision_gives_a_network_of_full_precision(tmp_path):
    bert_for_pretraining(tmp_path)
    file = tmp_path / "bert-large-uncased" / "model.safetensors"
    rewrite(file, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()})
    network = load_bert(tmp_path)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    stored = load_file(file)["bert.pooler.dense.weight"].float()
    assert torch.equal(network.module.bert.pooler.dense.weight, stored)
