"""Networks of transformers: CvT-13 and BERT-large.

Sources: Wu et al., "CvT: Introducing Convolutions to Vision Transformers", ICCV 2021; Devlin et al., "BERT:
Pre-training of Deep Bidirectional Transformers", NAACL 2019.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lerac.study.errors import StudyError
from lerac.study.models.network import library
from lerac.study.models.options import BertOptions, CvTOptions

__all__ = ["Logits", "bert_large", "cvt13"]

_INSTALL = "lerac[experiments]"


class Logits(nn.Module):
    """Calls a model of transformers and gives the logits alone.

    Layers and parameters keep transformers' names in lerac, which leaves out `module.` as it does that of
    DistributedDataParallel; in `state_dict()` it is there.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Map images, or texts as a dict of arguments, to logits (batch, classes)."""
        output: Any = self.module(**batch) if isinstance(batch, Mapping) else self.module(batch)
        logits: Tensor = output.logits
        return logits


def cvt13(channels: int, classes: int, options: CvTOptions) -> nn.Module:
    """Build CvT-13: 19,616,330 weights for 3 channels and 10 classes (19,997,480 for 1000).

    Two things are as in the original repository and in the LeRaC authors' code, not as in transformers: the
    activation is the sigmoid approximation of GELU (the LeRaC authors' first version had GELU), and the probability
    that a residual branch is dropped grows linearly from 0 in the first to `drop_path` in the last block of the last
    stage, where transformers gives every block that of the third. Weights are initialised by transformers: normal of
    standard deviation 0.02 also for convolutions, which the original leaves as torch draws them. Images have any size
    from 16 on; 224 in the original.

    Raises:
        StudyError: if sizes do not fit together, or transformers is not installed.
    """
    transformers = library("transformers", "cvt13", _INSTALL)
    widths, depths, heads = (list(values) for values in (options.widths, options.depths, options.heads))
    for name, values in (("widths", widths), ("depths", depths), ("heads", heads)):
        if len(values) != 3:
            raise StudyError(f"cvt13: {name} must be three numbers, one per stage, got {values}")
    if any(depth < least for depth, least in zip(depths, (1, 2, 3), strict=True)):
        raise StudyError(f"cvt13: depths must be at least 1, 2 and 3, which transformers needs, got {depths}")
    if any(width % number for width, number in zip(widths, heads, strict=True)):
        raise StudyError(f"cvt13: widths must be multiples of heads, got {widths} and {heads}")
    config = transformers.CvtConfig(
        num_channels=channels,
        num_labels=classes,
        embed_dim=widths,
        depth=depths,
        num_heads=heads,
        drop_path_rate=[0.0, 0.0, options.drop_path],
    )
    network = transformers.CvtForImageClassification(config)
    activations = library("transformers.activations", "cvt13", _INSTALL).ACT2FN
    for stage in network.cvt.encoder.stages:
        for layer in stage.layers:
            layer.intermediate.activation = activations[options.activation]
    if options.drop_path:
        last = network.cvt.encoder.stages[-1].layers
        for number, layer in enumerate(last):
            layer.drop_path.drop_prob = options.drop_path * number / (len(last) - 1)
    return Logits(network)


def bert_large(vocabulary: int, classes: int, options: BertOptions) -> nn.Module:
    """Build BERT-large-uncased with a classifier on its pooled first token: 335,143,938 weights for 2 classes.

    Its own vocabulary has 30522 token ids.

    Raises:
        StudyError: if sizes do not divide, or transformers is not installed.
    """
    transformers = library("transformers", "bert-large", _INSTALL)
    if options.width % options.heads:
        raise StudyError(
            f"bert-large: width must be a multiple of heads, got width {options.width} and heads {options.heads}"
        )
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        num_labels=classes,
        num_hidden_layers=options.layers,
        hidden_size=options.width,
        num_attention_heads=options.heads,
        intermediate_size=options.mlp_width,
        max_position_embeddings=options.positions,
    )
    return Logits(transformers.BertForSequenceClassification(config))
