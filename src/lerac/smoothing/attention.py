"""What is attention, which of it is causal, which of its tokens are padding and which are class tokens."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Masks", "around", "class_tokens", "is_cross_attention", "is_self_attention", "why_causal"]

# How the children and parameters that make queries, keys and values are called, in torch, timm and transformers.
_PROJECTION = re.compile(
    r"(\w+_)?(q|k|v|qk|qv|kv|qkv|query|key|value|in_proj|c_attn|query_key_value)s?(_\w+)?|w_?qkv", re.IGNORECASE
)
_CROSS = re.compile(r"cross|enc_?dec|encoder_attn|multihead_attn", re.IGNORECASE)
_CLASS_TOKEN = re.compile(r"(cls|class|dist|distillation|reg|register)_?(token|embedding)s?(_?\d+)?")
_HIDDEN = -1e4  # additive masks hide with −inf, the lowest number of the type, or −10000

# Argument → whether its True means "not attended to".
_MASKS = {
    "key_padding_mask": True,
    "src_key_padding_mask": True,
    "src_mask": True,
    "attention_mask": False,
    "attn_mask": False,
    "mask": False,
}
_OF_PAIRS = ("attn_mask", "src_mask")  # an entry for each pair of query and key
_TORCH = nn.MultiheadAttention | nn.TransformerEncoderLayer | nn.TransformerEncoder


def is_self_attention(module: nn.Module) -> bool:
    """Whether it is attention over tokens: named so, with projections to queries, keys or values of its own."""
    if isinstance(module, nn.MultiheadAttention):
        return True
    kind = type(module).__name__.lower()
    if ("attention" not in kind and "attn" not in kind) or "pool" in kind or "cross" in kind or "xlnet" in kind:
        return False
    own = [name for name, _ in [*module.named_children(), *module.named_parameters(recurse=False)]]
    return any(_PROJECTION.fullmatch(name) for name in own)


def is_cross_attention(path: str, module: nn.Module) -> bool:
    """Whether its name says that keys come from elsewhere."""
    return bool(_CROSS.search(path.rpartition(".")[2]) or getattr(module, "is_cross_attention", False))


def why_causal(module: nn.Module, ancestors: list[nn.Module]) -> str | None:
    """Say by what a module shows that a token must not see the next one; None if by nothing."""
    for flag in ("is_causal", "is_decoder", "causal"):
        if getattr(module, flag, False) is True:
            return f"its {flag} is True"
    if "causal" in type(module).__name__.lower():
        return f"it is a {type(module).__name__}"
    if any(isinstance(a, nn.TransformerDecoderLayer) for a in ancestors):
        return "it is in a TransformerDecoderLayer"
    for name, buffer in module.named_buffers(recurse=False):
        if _is_triangular(buffer):
            return f"its buffer {name!r} is a triangular mask"
    return None


def class_tokens(ancestors: list[nn.Module]) -> int:
    """Count the tokens at the start of the sequence that stand for no part of the input.

    Args:
        ancestors: the modules around an attention module, the smallest first.
    """
    for module in ancestors:
        known = getattr(module, "num_prefix_tokens", None)  # timm
        if isinstance(known, int):
            return known
        named = [(name.rpartition(".")[2], p) for name, p in module.named_parameters()]
        if tokens := [p for name, p in named if _CLASS_TOKEN.fullmatch(name)]:
            return sum(p.shape[-2] if p.ndim > 1 else 1 for p in tokens)
        if any(isinstance(inner, nn.Embedding) for inner in module.modules()):  # the tokens are made here
            config = getattr(module, "config", None)  # of transformers: [CLS] or <s> comes first, except in T5 and kin
            is_text = isinstance(getattr(config, "vocab_size", None), int)
            return int(is_text and not hasattr(config, "feed_forward_proj"))
        if any(isinstance(inner, nn.modules.conv._ConvNd) for inner in module.modules()):
            return 0
    return 0


class Masks:
    """Reads the masks that an attention module is called with.

    Args:
        module: an attention module.

    Raises:
        TypeError: when read, if a mask is no tensor.
        ValueError: when read, if the attention turns out to be causal.
    """

    def __init__(self, module: nn.Module) -> None:
        self._inverted = isinstance(module, _TORCH)  # True hides, in all of their masks
        names = list(inspect.signature(type(module).forward).parameters)[1:]
        self._at = {name: names.index(name) for name in (*_MASKS, "is_causal") if name in names}
        self._checked = False

    def padding(self, args: tuple[Any, ...], kwargs: dict[str, Any], batch: int, length: int) -> Tensor | None:
        """Give (batch or 1, length), True for tokens that no token attends to; None if there is no mask."""
        if self._given("is_causal", args, kwargs) is True:
            raise ValueError(_REFUSED + "it is called with is_causal=True")
        padded: Tensor | None = None
        for name in _MASKS:
            mask = self._given(name, args, kwargs)
            if mask is None:
                continue
            if not isinstance(mask, Tensor):
                raise TypeError(
                    f"CBS cannot read padding from a {type(mask).__name__} ({name}): call the model so that its "
                    'attention gets a tensor, in transformers by attn_implementation="sdpa"'
                )
            hidden = self._hidden(name, mask, batch, length)
            if hidden is not None:
                padded = hidden if padded is None else padded | hidden
        return padded

    def _given(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        at = self._at.get(name, len(args))
        return args[at] if at < len(args) else kwargs.get(name)

    def _hidden(self, name: str, mask: Tensor, batch: int, length: int) -> Tensor | None:
        pairs_only = name in _OF_PAIRS or (mask.shape == (length, length) and batch != length)
        per_token = mask.ndim < 3 and not pairs_only
        inverted = self._inverted or _MASKS[name]
        if mask.dtype == torch.bool:
            hides = mask if inverted else ~mask
        elif not mask.is_floating_point():
            hides = mask == 0
        elif per_token and not inverted:  # 1 and 0, or 0 and a very negative number
            hides = torch.where((mask > 0).any(), mask <= 0, mask <= _HIDDEN)
        else:
            hides = mask <= _HIDDEN
        if per_token:
            tokens = hides if hides.ndim == 2 else hides.unsqueeze(0)
            return tokens if tokens.shape[-1] == length else None
        if hides.ndim == 3 and hides.shape[0] != 1 and hides.shape[0] % max(batch, 1):
            return None  # of windows, not of the batch
        if hides.shape[-1] != length:
            return None
        pairs = hides.reshape(batch if hides.ndim > 2 and hides.shape[0] >= batch else 1, -1, *hides.shape[-2:])
        self._refuse_causal(pairs)
        return pairs.all(1).all(1)

    def _refuse_causal(self, hides: Tensor) -> None:
        """Look once at the values; not in a compiled model, where that would break the graph."""
        if torch.compiler.is_compiling() or self._checked or hides.shape[-1] != hides.shape[-2]:
            return
        real = ~hides.all(-2, keepdim=True)
        later = torch.ones_like(hides[:1, :1]).triu(1) & real & real.transpose(-1, -2)
        if later.any():
            self._checked = True
            if not (later & ~hides).any():
                self._checked = False
                raise ValueError(_REFUSED + "its mask hides every later token")


_REFUSED = "CBS does not smooth causal attention, since that would show a token the one after it: "


def _is_triangular(buffer: Tensor) -> bool:
    square = buffer.ndim >= 2 and buffer.shape[-1] == buffer.shape[-2] > 1
    if not square or buffer.is_meta:
        return False
    matrix = buffer.reshape(-1, *buffer.shape[-2:])[0]
    shown = matrix != 0 if torch.isfinite(matrix).all() else torch.isfinite(matrix)
    return bool(torch.equal(shown, torch.ones_like(shown).tril()) or torch.equal(~shown, torch.ones_like(shown).tril()))


def around(path: str, modules: dict[str, nn.Module]) -> Iterator[nn.Module]:
    """The modules that contain a module, the smallest first."""
    while path:
        path = path.rpartition(".")[0]
        yield modules[path]
