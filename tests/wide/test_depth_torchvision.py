"""Every family of torchvision's models for images, segmentation, detection and video can be measured."""

import re

import pytest
import torch

from lerac.depth import find_layers

pytestmark = [pytest.mark.wide, pytest.mark.filterwarnings("ignore:.*init_weights:FutureWarning")]

# One of the smallest models of each file; the rest of a file differs in width, depth and resolution only.
CLASSIFICATION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf",
    "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "swin_t",
    "swin_v2_t", "vgg11", "vit_b_32", "wide_resnet50_2",
)  # fmt: skip
SEGMENTATION = ("deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large")
DETECTION = (
    "fasterrcnn_mobilenet_v3_large_320_fpn", "fcos_resnet50_fpn", "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large",
)  # fmt: skip
VIDEO = ("mc3_18", "mvit_v1_b", "r2plus1d_18", "r3d_18", "s3d", "swin3d_t")


@pytest.fixture(scope="module")
def models():
    from torchvision import models

    return models


def family(builder):
    return builder.__module__


def check(model, *inputs):
    layers = find_layers(model, *inputs)
    found = [name for layer in layers for name in layer.parameters]
    assert sorted(found) == sorted(name for name, _ in model.named_parameters())
    assert len(layers) <= 32
    assert len({layer.name for layer in layers}) == len(layers)
    return {name: layer.depth for layer in layers for name in layer.parameters}


def test_no_family_is_missing(models):
    tested = {models.get_model_builder(n) for n in (*CLASSIFICATION, *SEGMENTATION, *DETECTION, *VIDEO)}
    modules = (models, models.segmentation, models.detection, models.video)
    builders = {models.get_model_builder(name) for module in modules for name in models.list_models(module)}
    assert {family(builder) for builder in builders} == {family(builder) for builder in tested}


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification(models, name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **options)
    size = {"inception_v3": 299}.get(name, 224)
    depth = check(model, torch.zeros(1, 3, size, size))
    trained = [n for n in depth if not re.search("aux", n, re.IGNORECASE)]
    assert depth[trained[-1]] == max(depth.values()), "the head is deepest"


@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation(models, name):
    model = models.get_model(name, weights=None, weights_backbone=None, aux_loss="lraspp" not in name or None)
    depth = check(model, torch.zeros(2, 3, 64, 64))
    backbone = [d for n, d in depth.items() if n.startswith("backbone")]
    assert min(d for n, d in depth.items() if n.startswith("classifier")) > sorted(backbone)[len(backbone) // 2]


@pytest.mark.parametrize("name", DETECTION)
def test_detection(models, name):
    model = models.get_model(name, weights=None, weights_backbone=None)
    target = {"boxes": torch.tensor([[2.0, 2.0, 30.0, 30.0]]), "labels": torch.tensor([1])}
    if "mask" in name:
        target["masks"] = torch.ones(1, 64, 64, dtype=torch.uint8)
    if "keypoint" in name:
        target["keypoints"] = torch.tensor([[[4.0, 4.0, 1.0]] * 17])
    image = torch.rand(3, 64, 64)
    depth = check(model, [image, image], [target, target])
    backbone = [d for n, d in depth.items() if n.startswith("backbone.")]
    heads = [d for n, d in depth.items() if not n.startswith("backbone.")]
    assert min(backbone) == 0
    assert min(heads) > sorted(backbone)[len(backbone) // 2]


@pytest.mark.parametrize("name", VIDEO)
def test_video(models, name):
    with torch.device("meta"):
        model = models.get_model(name, weights=None)
    depth = check(model, torch.zeros(1, 3, 16, 224, 224, device="meta"))
    head = [d for n, d in depth.items() if n.startswith(("fc", "classifier", "head"))]
    assert max(head) == max(depth.values())
