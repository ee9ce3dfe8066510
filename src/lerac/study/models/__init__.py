"""The networks that a recipe can name."""

from lerac.study.models.from_timm import densenet121, small_vit, wide_resnet50
from lerac.study.models.from_transformers import bert_large, cvt13
from lerac.study.models.lenet import lenet
from lerac.study.models.network import Network
from lerac.study.models.recurrent import gru, lstm
from lerac.study.models.residual import resnet18, small_cnn, wrn52_2
from lerac.study.models.septr import septr
from lerac.study.models.weights import load_bert_large, load_cvt13
from lerac.study.models.yolo import yolov5

__all__ = ["MODELS", "Network"]

_DIGITS, _TEXT = (1, 8, 8), (30522, 100)  # of text: vocabulary and length of BERT's inputs in the authors' code

MODELS: dict[str, Network] = {
    "bert-large": Network(bert_large, "text", _TEXT, load=load_bert_large),
    "cvt13": Network(cvt13, "images", (3, 64, 64)),
    "cvt13-pretrained": Network(cvt13, "images", (3, 64, 64), load=load_cvt13),
    "densenet121": Network(densenet121, "spectrograms", (1, 128, 128)),
    "gru": Network(gru, "images", _DIGITS, sizes={"columns": (2,)}),
    "lenet": Network(lenet, "images", (3, 32, 32)),
    "lstm": Network(lstm, "text", _TEXT, traced_by_values=True),
    "resnet18": Network(resnet18, "images", (3, 32, 32)),
    "septr": Network(septr, "spectrograms", (1, 128, 128), sizes={"bins": (1,), "frames": (2,)}),
    "small-cnn": Network(small_cnn, "images", _DIGITS),
    "small-vit": Network(small_vit, "images", _DIGITS, sizes={"size": (1, 2)}),
    "wide-resnet50": Network(wide_resnet50, "images", (3, 224, 224)),
    "wrn52-2": Network(wrn52_2, "images", (3, 32, 32)),
    "yolov5": Network(yolov5, "images", (3, 64, 64), outputs="detections"),
}
"""Name → network, called with the number of input channels (of text: words of the vocabulary) and of classes."""
