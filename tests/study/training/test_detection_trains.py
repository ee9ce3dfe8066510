"""Detection through the loop of every other task, on the sample of VOC and a small YOLOv5."""

import copy
import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from networks import needed  # tells Ultralytics first where its settings go
from pages import page_of
from small_recipes import run_of, small_recipe, small_run, train_to_the_end, write_samples
from studies import train_here, untimed

from lerac.study.data.boxes.detection import DetectionSplit, Objects
from lerac.study.errors import StudyError
from lerac.study.models import MODELS
from lerac.study.plan.study import Study
from lerac.study.recipes.recipe import load_recipe
from lerac.study.runs.outcomes import collect
from lerac.study.training.average_precision import mean_average_precision
from lerac.study.training.judging import JUDGES
from lerac.study.training.training import Training, build

needed("yolov5")
DETECTION = JUDGES["detection"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("data"), "voc")


@pytest.fixture(autouse=True)
def places(monkeypatch, root):
    monkeypatch.setenv("LERAC_DATA", str(root))
    monkeypatch.setenv("LERAC_LOADERS", "0")


def test_a_detector_from_training_to_the_report(tmp_path):
    study = Study(recipes=[small_recipe("yolov5/voc")], regimes=["lerac"], seeds=[0])
    train_here(tmp_path, study)
    results = collect(tmp_path, study.runs())
    for result in results:
        names = {
            "epoch",
            "steps",
            "train_loss",
            "validation_loss",
            "validation_map50",
            "validation_map50-95",
            "seconds",
        }
        assert all(entry.keys() == names for entry in result.history)
        assert result.history[1]["train_loss"] != result.history[0]["train_loss"]
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [(row["split"], row["metric"]) for row in rows] == [
        (split, metric) for split in ("test", "validation") for metric in ("map50", "map50-95", "loss")
    ]
    page = page_of(tmp_path, study, results)
    assert "test mAP@0.5, %" in page.words
    [folder] = sorted((tmp_path / "runs").glob("*/0"))
    status = json.loads((folder / "status.json").read_text())
    assert status["test"].keys() == {"map50", "map50-95", "loss"}
    with np.load(folder / "predictions.npz") as file:
        kept = dict(file)
    assert len(kept["index"]) == len(kept["counts"]) == len(kept["true_counts"]) == 6
    assert kept["counts"].sum() == len(kept["boxes"]) == len(kept["scores"]) == len(kept["classes"])
    assert kept["true_counts"].tolist() == [2] * 6


def test_smoothing_trains_a_detector():
    assert train_to_the_end(small_run("yolov5/voc", "cbs")).history[-1]["sigma"] == 0.9


def test_a_continued_detector_is_undisturbed():
    run = small_run("yolov5/voc", "lerac")
    assert run.settings["data"]["augment"] == {"flip": 0.5, "scale": 0.5}
    whole, states = Training(run), []
    while not whole.over:
        states.append(copy.deepcopy(whole.state_dict()))
        whole.run_epoch()
    last, tested = copy.deepcopy(whole.state_dict()["network"]), whole.test()
    for state in states[1:]:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        torch.manual_seed(99)
        continued = Training(run)
        continued.load_state_dict(torch.load(file, weights_only=True))
        # Whoever measures first makes the loss: what it holds must serve training as well.
        continued.measure(continued.test_split)
        while not continued.over:
            continued.run_epoch()
        assert untimed(continued.history) == untimed(whole.history)
        assert all(torch.equal(last[name], v) for name, v in continued.state_dict()["network"].items())
        assert continued.test().loss == tested.loss


# Loss and detections.


def test_the_loss_is_ultralytics_over_the_number_of_images():
    run = small_run("yolov5/voc", "conventional", "data.size=96")
    data, network = build(run)
    images, labels = data.test.__getitems__([0, 1, 2])
    network.eval()
    with torch.no_grad():
        outputs = network(images)
        flat = [(i, *row.tolist()) for i, rows in enumerate(labels) for row in rows if row[0] >= 0]
        rows = torch.tensor(flat)
        batch = {"img": images, "batch_idx": rows[:, 0], "cls": rows[:, 1:2], "bboxes": rows[:, 2:]}
        theirs = network.module(batch)[0].sum() / 3
        assert DETECTION.loss(network, outputs, labels).item() == pytest.approx(theirs.item(), rel=1e-6)
        nothing = DETECTION.loss(network, outputs, labels[:, :0])
    assert 0 < nothing.item() < float("inf")


def test_suppression_keeps_the_better_of_two_boxes_of_a_class(monkeypatch):
    network = MODELS["yolov5"](3, 2, scale="n")
    outputs = torch.zeros(2, 6, 21)
    outputs[:, :4, 0] = torch.tensor([20.0, 20, 20, 20])  # centre and size
    outputs[:, :4, 1] = torch.tensor([21.0, 20, 20, 20])
    outputs[:, :4, 2] = torch.tensor([40.0, 40, 10, 10])
    outputs[:, 4:, 0] = torch.tensor([0.5, 0.02])
    outputs[:, 4:, 1] = torch.tensor([0.6, 0.0])
    outputs[:, 4:, 2] = torch.tensor([0.0005, 0.002])
    monkeypatch.setattr("ultralytics.utils.nms.time", SimpleNamespace(time=iter(range(0, 10**9, 10**6)).__next__))
    for found in network.detections((outputs, None)):  # of both images, however long it takes
        torch.testing.assert_close(
            found,
            torch.tensor([[11, 10, 31, 30, 0.6, 0], [10, 10, 30, 30, 0.02, 1], [35, 35, 45, 45, 0.002, 1]]),
        )


class Told(torch.nn.Module):
    """Detects what it is told, at a loss that it is told."""

    def __init__(self, losses):
        super().__init__()
        self.losses = iter(losses)

    def loss(self, outputs, targets):
        return torch.tensor(next(self.losses))

    def detections(self, outputs):
        return outputs


def test_a_split_is_measured_in_pixels_of_its_images():
    boxes = torch.tensor([[10.0, 20, 50, 44], [60, 10, 70, 20]])
    one = Objects(boxes, torch.tensor([4, 0]), torch.tensor([False, True]), (100, 50))
    two = Objects(boxes[:1], torch.tensor([3]), torch.tensor([False]), (50, 100))
    none = Objects(boxes[:0], torch.zeros(0).long(), torch.zeros(0).bool(), (64, 64))
    split = DetectionSplit(None, [one, two, none], torch.tensor([7, 5, 9]), 64, 5)
    # 100×50 stands in 64×64 as 64×32 with 16 rows above; 50×100 likewise with 16 columns to the left.
    right = torch.cat([boxes[0] * 0.64 + torch.tensor([0, 16, 0, 16]), torch.tensor([0.9, 4.0])])[None]
    beside = torch.cat([boxes[0] * 0.64 + torch.tensor([18, 0, 18, 0]), torch.tensor([0.8, 3.0])])[None]
    batches = [([right, beside], torch.zeros(2, 1, 5)), ([torch.zeros(0, 6)], torch.zeros(1, 0, 5))]
    measured = DETECTION.measure(Told([3.0, 9.0]), batches, split)
    assert measured.loss == pytest.approx((3 + 9) / 3)
    # The second is shifted by 2 of 64, 3.125 of 100 pixels, and cut off at the border: 36.875 of 40 are shared, 0.92.
    assert measured.score == 1
    assert measured.others == {"map50-95": pytest.approx((1 + 9 / 10) / 2)}
    kept = measured.kept
    assert kept["counts"].tolist() == [1, 1, 0]
    assert kept["classes"].tolist() == [4, 3]
    torch.testing.assert_close(kept["boxes"], torch.tensor([[10, 20, 50, 44], [13.125, 20, 50, 44]]))
    assert kept["true_counts"].tolist() == [2, 1, 0]
    assert kept["true_classes"].tolist() == [4, 0, 3]
    assert kept["true_difficult"].tolist() == [False, True, False]
    parts = [kept[name].split(kept["counts"].tolist()) for name in ("boxes", "scores", "classes")]
    again = [torch.cat([b, s[:, None], c[:, None]], dim=1) for b, s, c in zip(*parts, strict=True)]
    assert mean_average_precision(again, split.labels).mean() == measured.others["map50-95"]


# What does not fit.


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("dataset=cifar10", "yolov5 detects objects, but cifar10 has no boxes"),
        ("data.augment.mosaic=1.0", "augment.mosaic is unknown; there are flip, scale"),
        ("data.augment.scale=2", "augment.scale must be in [0, 1), got 2"),
        ("network.scale=q", "network option scale: input should be 'n', 's', 'm', 'l' or 'x', got 'q'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(override, says):
    with pytest.raises(StudyError) as refused:
        load_recipe("yolov5/voc", [override])
    assert says in str(refused.value)


def test_a_size_that_yolo_cannot_take_is_refused():
    with pytest.raises(StudyError, match=r"data.size must be a multiple of 32, like 96, got 100"):
        build(run_of(small_recipe("yolov5/voc", "data.size=100"), "conventional"))
