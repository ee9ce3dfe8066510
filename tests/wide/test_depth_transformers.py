"""Forty architectures of transformers, in tiny configurations, are measured; blocks come in order."""

import re
from collections import defaultdict

import pytest
import torch

from lerac.depth import find_layers

pytestmark = [pytest.mark.wide, pytest.mark.filterwarnings("ignore")]  # transformers warns of its own plans

TINY = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 37, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
DISTIL = {"vocab_size": 99, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 37, "pad_token_id": 0}
GPT = {"vocab_size": 99, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "rotary_dim": 4}
BART = {
    "vocab_size": 99, "d_model": 32, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 37, "decoder_ffn_dim": 37, "max_position_embeddings": 64,
    "pad_token_id": 0, "decoder_start_token_id": 1,
}  # fmt: skip
T5 = {
    "vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 3, "num_decoder_layers": 3,
    "num_heads": 4, "decoder_start_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 37,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
AUDIO = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 37,
    "vocab_size": 40, "conv_dim": [16, 16], "conv_stride": [4, 4], "conv_kernel": [8, 8],
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
TOWERS = {"text_config": TINY, "vision_config": VISION, "projection_dim": 16}
MIXTURE = {
    **TINY,
    "intermediate_size": 64,
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}


def text(batch=2, length=7):
    return {"input_ids": torch.arange(batch * length).reshape(batch, length) % 90 + 3}


def pair():
    return {**text(), "decoder_input_ids": text(length=5)["input_ids"]}


def pixels(size=32):
    return {"pixel_values": torch.zeros(2, 3, size, size)}


def both():
    return {**text(), **pixels()}


def wave():
    return {"input_values": torch.zeros(2, 2000)}


def spectrum():
    return {"input_features": torch.zeros(2, 80, 128), "decoder_input_ids": text(length=5)["input_ids"]}


# model type: (class, configuration, inputs)
ARCHITECTURES = {
    "bert": ("AutoModelForSequenceClassification", TINY, text),
    "roberta": ("AutoModelForSequenceClassification", TINY, text),
    "electra": ("AutoModelForSequenceClassification", {**TINY, "embedding_size": 32}, text),
    "deberta-v2": ("AutoModelForSequenceClassification",
                   {**TINY, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, text),
    "distilbert": ("AutoModelForSequenceClassification", DISTIL, text),
    "mpnet": ("AutoModelForSequenceClassification", TINY, text),
    "modernbert": ("AutoModelForSequenceClassification",
                   {**TINY, "cls_token_id": 1, "sep_token_id": 2}, text),
    "xlm-roberta": ("AutoModelForTokenClassification", TINY, text),
    "gpt2": ("AutoModelForCausalLM", GPT, text),
    "gpt_neox": ("AutoModelForCausalLM", TINY, text),
    "gptj": ("AutoModelForCausalLM", GPT, text),
    "opt": ("AutoModelForCausalLM", {**TINY, "ffn_dim": 37, "word_embed_proj_dim": 32}, text),
    "llama": ("AutoModelForCausalLM", TINY, text),
    "mistral": ("AutoModelForCausalLM", TINY, text),
    "qwen2": ("AutoModelForCausalLM", TINY, text),
    "qwen3": ("AutoModelForCausalLM", {**TINY, "head_dim": 8}, text),
    "gemma2": ("AutoModelForCausalLM", {**TINY, "head_dim": 8}, text),
    "phi3": ("AutoModelForCausalLM", TINY, text),
    "falcon": ("AutoModelForCausalLM", TINY, text),
    "bloom": ("AutoModelForCausalLM", {"vocab_size": 99, "hidden_size": 32, "n_layer": 3, "n_head": 4}, text),
    "mixtral": ("AutoModelForCausalLM", MIXTURE, text),
    "qwen2_moe": ("AutoModelForCausalLM", {**MIXTURE, "shared_expert_intermediate_size": 16}, text),
    "mamba": ("AutoModelForCausalLM", {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 3}, text),
    "rwkv": ("AutoModelForCausalLM", {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 3}, text),
    "bart": ("AutoModelForSeq2SeqLM", BART, pair),
    "marian": ("AutoModelForSeq2SeqLM", BART, pair),
    "pegasus": ("AutoModelForSeq2SeqLM", BART, pair),
    "t5": ("AutoModelForSeq2SeqLM", T5, pair),
    "whisper": ("AutoModelForSpeechSeq2Seq",
                {**BART, "max_source_positions": 64, "max_target_positions": 64}, spectrum),
    "wav2vec2": ("AutoModelForCTC", AUDIO, wave),
    "hubert": ("AutoModelForCTC", AUDIO, wave),
    "vit": ("AutoModelForImageClassification", VISION, pixels),
    "deit": ("AutoModel", VISION, pixels),
    "dinov2": ("AutoModelForImageClassification", VISION, pixels),
    "swin": ("AutoModelForImageClassification",
             {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 4],
              "window_size": 4}, pixels),
    "convnext": ("AutoModelForImageClassification",
                 {"hidden_sizes": [8, 16], "depths": [2, 2], "num_stages": 2}, pixels),
    "segformer": ("AutoModelForSemanticSegmentation",
                  {"hidden_sizes": [8, 16, 24, 32], "decoder_hidden_size": 16}, pixels),
    "clip": ("AutoModel", TOWERS, both),
    "siglip": ("AutoModel", TOWERS, both),
    "vilt": ("AutoModel", {**TINY, **VISION}, both),
    "detr": ("AutoModelForObjectDetection",
             {**BART, "num_queries": 5, "use_timm_backbone": False, "use_pretrained_backbone": False,
              "backbone_config": {"model_type": "resnet", "hidden_sizes": [8, 16], "depths": [1, 1],
                                  "embedding_size": 8, "out_features": ["stage2"]}},
             lambda: pixels(64)),
}  # fmt: skip


def test_there_are_forty():
    assert len(ARCHITECTURES) >= 40


def stacks(names):
    """Parameters of every list of blocks, by prefix and position."""
    found = defaultdict(lambda: defaultdict(list))
    for name in names:
        if match := re.match(r"(.*?\b(?:layers?|blocks?|h))\.(\d+)\.", name):
            found[match[1]][int(match[2])].append(name)
    return found


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_architecture(kind):
    import transformers

    auto, options, inputs = ARCHITECTURES[kind]
    config = transformers.AutoConfig.for_model(kind, **options)
    model = getattr(transformers, auto).from_config(config)
    layers = find_layers(model, **inputs())
    depth = {name: layer.depth for layer in layers for name in layer.parameters}
    assert sorted(depth) == sorted(name for name, _ in model.named_parameters())
    assert sum(len(layer.parameters) for layer in layers) == len(depth)
    assert len(layers) <= 32
    assert len({layer.name for layer in layers}) == len(layers)
    for blocks in stacks(depth).values():
        starts = [min(depth[name] for name in blocks[i]) for i in sorted(blocks)]
        assert starts == sorted(starts)
        assert len(starts) == 1 or starts[0] < starts[-1]


@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe"])
def test_mixtures_need_no_values(kind):
    import transformers

    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(kind, **MIXTURE)
        model = transformers.AutoModelForCausalLM.from_config(config)
    depth = {n: layer.depth for layer in find_layers(model, **text()) for n in layer.parameters}
    assert depth["model.layers.0.mlp.experts.down_proj"] < depth["model.layers.2.mlp.experts.down_proj"]


def test_adapters_of_peft():
    import peft
    import transformers

    config = transformers.AutoConfig.for_model("llama", **TINY)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2))
    layers = find_layers(model, **text())
    depth = {name: layer.depth for layer in layers for name in layer.parameters}
    adapters = [name for name in depth if "lora_" in name]
    assert len({depth[name] for name in adapters}) == len(layers) == 6
    assert all(depth[name.replace("lora_B", "lora_A")] <= depth[name] for name in adapters)
    assert depth["base_model.model.lm_head.weight"] == 5
