"""The networks that a recipe can name; what builds them is loaded when they are built."""

from lerac.study.models.network import Network
from lerac.study.models.options import (
    BertOptions,
    CNN1DOptions,
    CvTOptions,
    DenseNetOptions,
    GRUOptions,
    LinearOptions,
    LSTMOptions,
    MLPOptions,
    Options,
    PretrainedCvTOptions,
    ResNetOptions,
    SepTrOptions,
    SmallCNNOptions,
    SmallViTOptions,
    WideResNet50Options,
    WideResNetOptions,
    YOLOOptions,
)

__all__ = ["MODELS"]

_DIGITS, _SMALL, _LARGER, _LARGE = (1, 8, 8), (3, 32, 32), (3, 64, 64), (3, 224, 224)
_SOUND, _SIGNAL = (1, 128, 128), (1, 40)
_TEXT = (30522, 100)  # vocabulary and length of BERT's inputs in the authors' code

MODELS: dict[str, Network] = {
    "bert-large": Network(
        "from_transformers:bert_large", BertOptions, "text", _TEXT, published="weights:load_bert_large"
    ),
    "cnn1d": Network("plain:CNN1D", CNN1DOptions, "signals", _SIGNAL, sizes={"length": (1,)}),
    "cvt13": Network("from_transformers:cvt13", CvTOptions, "images", _LARGER),
    "cvt13-pretrained": Network(
        "from_transformers:cvt13", PretrainedCvTOptions, "images", _LARGER, published="weights:load_cvt13"
    ),
    "densenet121": Network("from_timm:densenet121", DenseNetOptions, "spectrograms", _SOUND),
    "gru": Network(
        "recurrent:GRU", GRUOptions, "images", _DIGITS, also=("signals",), sizes={"columns": (2,), "steps": (1,)}
    ),
    "lenet": Network("plain:LeNet", Options, "images", _SMALL),
    "linear": Network("plain:Linear", LinearOptions, "signals", _SIGNAL, sizes={"length": (1,)}),
    "lstm": Network("recurrent:LSTM", LSTMOptions, "text", _TEXT, traced_by_values=True),
    "mlp": Network("plain:MLP", MLPOptions, "signals", _SIGNAL, sizes={"length": (1,)}),
    "resnet18": Network("residual:ResNet", ResNetOptions, "images", _SMALL),
    "septr": Network("septr:SepTr", SepTrOptions, "spectrograms", _SOUND, sizes={"bins": (1,), "frames": (2,)}),
    "small-cnn": Network("residual:small_cnn", SmallCNNOptions, "images", _DIGITS),
    "small-vit": Network("from_timm:small_vit", SmallViTOptions, "images", _DIGITS, sizes={"size": (1, 2)}),
    "wide-resnet50": Network("from_timm:wide_resnet50", WideResNet50Options, "images", _LARGE),
    "wrn52-2": Network("residual:WideResNet", WideResNetOptions, "images", _SMALL),
    "yolov5": Network("yolo:yolov5", YOLOOptions, "images", _LARGER, outputs="detections"),
}
"""Name → network, called with the number of input channels (of text: words of the vocabulary) and of classes."""
