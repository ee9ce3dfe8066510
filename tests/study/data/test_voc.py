import shutil

import pytest
import torch
from handmade import picture, truncate, voc, voc_note
from voc_yolo import write_yolo

from lerac.study.data import DATASETS
from lerac.study.data.boxes.voc import CLASSES, read_objects
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError

SIZES = {"train": 2, "validation": 2, "test": 1, "sample": True}
TEST = "VOC2007/Annotations/000001.xml"


def load(root, **options):
    return DATASETS["voc"].load(DataSettings(**{**SIZES, **options}), 0, root)


def test_boxes_count_from_zero_and_difficult_objects_are_kept(tmp_path):
    voc(tmp_path)
    data = load(tmp_path)
    assert (data.task, data.classes, data.channels) == ("detection", 20, 3)
    [found] = data.test.labels
    # the whole image; a box of one pixel; a box with fractions. Parts (heads) are no objects.
    assert found.boxes.tolist() == [[0, 0, 50, 40], [10, 20, 11, 21], [1.5, 2, 4, 5]]
    assert [CLASSES[label] for label in found.labels] == ["chair", "person", "aeroplane"]
    assert found.difficult.tolist() == [False, True, False]
    assert found.size == (50, 40)


def test_classes_are_in_alphabetical_order():
    assert list(CLASSES) == sorted(CLASSES)
    assert (len(CLASSES), CLASSES[0], CLASSES[-1]) == (20, "aeroplane", "tvmonitor")


def test_trained_on_both_years_and_tested_on_2007(tmp_path):
    voc(tmp_path)
    data = load(tmp_path)
    names = {part: [getattr(data, part).path(i).name for i in range(SIZES[part])] for part in ("train", "validation")}
    assert {name[:4] for name in names["train"]} == {name[:4] for name in names["validation"]} == {"0000", "2008"}
    assert set(names["train"] + names["validation"]) == {
        "000005.jpg", "000007.jpg", "2008_000002.jpg", "2008_000003.jpg"}  # fmt: skip
    assert data.test.path(0).name == "000001.jpg"
    assert DATASETS["voc"].check(tmp_path).counts == {"2007 trainval": 2, "2012 trainval": 2, "2007 test": 1}


def test_label_files_for_ultralytics_leave_difficult_objects_out(tmp_path):
    voc(tmp_path / "data")
    data = load(tmp_path / "data")
    path = write_yolo(data, tmp_path / "cache")
    text = path.read_text()
    assert (
        f"path: {path.parent}\ntrain: images/train\nval: images/val\ntest: images/test\nnames:\n  0: aeroplane" in text
    )
    lines = (path.parent / "labels" / "test" / "000001.txt").read_text().split("\n")
    chair, plane = ([float(x) for x in line.split()] for line in lines[:2])
    assert lines[2:] == [""]
    assert chair == pytest.approx([8, 0.5, 0.5, 1, 1])
    assert plane == pytest.approx([0, 2.75 / 50, 3.5 / 40, 2.5 / 50, 3 / 40])
    for part, count in (("train", 2), ("val", 2), ("test", 1)):
        images = sorted((path.parent / "images" / part).iterdir())
        assert [image.stem for image in images] == sorted(f.stem for f in (path.parent / "labels" / part).iterdir())
        assert len(images) == count
        assert all(image.read_bytes()[:2] == b"\xff\xd8" for image in images)
    path.write_text("as it was")
    assert write_yolo(data, tmp_path / "cache").read_text() == "as it was"  # not made again
    other = write_yolo(load(tmp_path / "data", train=1), tmp_path / "cache")
    assert other.parent != path.parent
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted([path.parent.name, other.parent.name])


def test_ultralytics_reads_what_was_written(tmp_path, monkeypatch):
    utils = pytest.importorskip("ultralytics.data.utils")
    from ultralytics.data import YOLODataset

    voc(tmp_path / "data")
    path = write_yolo(load(tmp_path / "data"), tmp_path / "cache")
    described = utils.check_det_dataset(str(path), autodownload=False)
    assert list(described["names"].values()) == list(CLASSES)
    read = YOLODataset(img_path=described["test"], data=described, task="detect", imgsz=64, augment=False)
    [label] = read.get_labels()
    assert label["cls"].flatten().tolist() == [8, 0]
    assert label["bboxes"][1].tolist() == pytest.approx([2.75 / 50, 3.5 / 40, 2.5 / 50, 3 / 40])


def test_an_image_without_objects(tmp_path):
    path = voc(tmp_path) / TEST
    path.write_text(voc_note((50, 40)))
    found = read_objects(path)
    assert (found.boxes.shape, found.labels.shape, found.difficult.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize("box", [(0, 1, 5, 5), (1, 0, 5, 5), (1, 1, 51, 5), (1, 1, 5, 41), (6, 1, 5, 5), (1, 6, 5, 5)])
def test_a_box_outside_the_image_is_an_error(tmp_path, box):
    path = voc(tmp_path) / TEST
    path.write_text(voc_note((50, 40), ("dog", 0, box)))
    with pytest.raises(StudyError, match=rf"000001.xml: box \({box[0]}, .* of dog is not inside the image of 50×40"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda f: (f / TEST).unlink(), "000001.xml: this file is missing"),
        (lambda f: truncate(f / TEST), "000001.xml: cannot be read as XML"),
        (lambda f: (f / TEST).write_text(voc_note((50, 40), ("head", 0, (1, 1, 2, 2)))), "class 'head' with"),
        (lambda f: (f / TEST).write_text(voc_note((50, 40), ("dog", 2, (1, 1, 2, 2)))), "with difficult '2'"),
        (lambda f: (f / TEST).write_text(voc_note((50, 40), ("dog", 0, (1, 1, "nan", 2)))), "not inside the image"),
        (lambda f: (f / TEST).write_text(voc_note((50, 40), ("dog", 0, (1, 1, "x", 2)))), "could not convert"),
        (lambda f: (f / TEST).write_text("<annotation/>"), "000001.xml: size/width is missing"),
        (lambda f: (f / "VOC2012/ImageSets/Main/trainval.txt").unlink(), "trainval.txt: this file is missing"),
        (lambda f: (f / "VOC2007/ImageSets/Main/test.txt").write_text("000001\n000009"), "a wrong count: 2 examples"),
        (lambda f: (f / "VOC2007/ImageSets/Main/test.txt").write_text("000009"), "000009.jpg: this image is missing"),
        (lambda f: (f / "VOC2007/ImageSets/Main/test.txt").write_text("000005"), "both in trainval and in test"),
        (lambda f: (f / "VOC2007/ImageSets/Main/trainval.txt").write_text("000005\n000005"), "000005 is listed twice"),
        (lambda f: shutil.rmtree(f / "VOC2012"), "trainval.txt: this file is missing"),
        (lambda f: (f / "lerac-sample.json").unlink(), "holds no sample"),
    ],
)  # fmt: skip
def test_broken_files_are_named(tmp_path, breaks, says):
    breaks(voc(tmp_path))
    with pytest.raises(StudyError) as refused:
        load(tmp_path)
    assert says in str(refused.value)
    with pytest.raises(StudyError):
        DATASETS["voc"].check(tmp_path)


def test_check_compares_sizes_and_reads_images(tmp_path):
    folder = voc(tmp_path)
    image = picture(folder / "VOC2007/JPEGImages/000001.jpg", size=(49, 40))
    with pytest.raises(StudyError, match=r"000001.xml: an image of 50×40 pixels, but .*000001.jpg has 49×40"):
        DATASETS["voc"].check(tmp_path)
    truncate(image)
    with pytest.raises(StudyError, match=r"000001.jpg: cannot be read as an image"):
        DATASETS["voc"].check(tmp_path)
    with pytest.raises(StudyError, match=r"000001.jpg: cannot be read as an image"):
        load(tmp_path).test.__getitems__([0])


def test_inputs_are_fitted_and_only_training_is_augmented(tmp_path):
    voc(tmp_path)
    data = load(tmp_path, size=64, augment={"flip": 1.0})
    assert (data.train.augment.flip, data.train.augment.scale) == (1, 0.5)
    assert data.validation.augment is data.test.augment is load(tmp_path).train.augment is None
    images, labels = data.test.__getitems__([0])
    assert images.shape == (1, 3, 64, 64)
    assert labels[0, :, 0].tolist() == [8, 0]  # the difficult person is not learned
    assert load(tmp_path).test.size == 640


def test_a_part_with_nothing_to_find_is_refused(tmp_path):
    path = voc(tmp_path) / TEST
    path.write_text(voc_note((50, 40), ("dog", 1, (1, 1, 5, 5))))
    with pytest.raises(
        StudyError, match=r"voc: none of the 1 test images has an object that is not difficult.*data.te"
    ):
        load(tmp_path)


def test_label_noise_is_refused(tmp_path):
    voc(tmp_path)
    with pytest.raises(StudyError, match="label_noise"):
        load(tmp_path, label_noise=0.1)
    assert torch.equal(load(tmp_path).train.index, load(tmp_path).train.index)
