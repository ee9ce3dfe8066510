import os
import shutil
import struct
from contextlib import suppress

import pytest
import torch
from handmade import FACES, faces, food, imagenet, picture, tiny_imagenet, truncate
from PIL import EpsImagePlugin, Image

from lerac.study.data import DATASETS
from lerac.study.data.pictures.images import decode
from lerac.study.data.pictures.utkface import parse_face
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError

MAKERS = {"tiny-imagenet": tiny_imagenet, "imagenet200": imagenet, "food101": food, "utkface": faces}
SIZES = {
    "tiny-imagenet": (200, 200, 200),
    "imagenet200": (150, 50, 200),
    "food101": (101, 101, 101),
    "utkface": (3, 1, 2),
}


@pytest.fixture(scope="module")
def masters(tmp_path_factory):
    """The layouts, written once and copied for every test that breaks one."""
    root = tmp_path_factory.mktemp("masters")
    for maker in MAKERS.values():
        maker(root)
    return root


def load(name, root, seed=0, **options):
    sizes = dict(zip(("train", "validation", "test"), SIZES[name], strict=True))
    return DATASETS[name].load(DataSettings(**{**sizes, "sample": True, **options}), seed, root)


def colours(split):
    """Mean intensity of each channel of each image, 0 to 255, of half-normalised inputs."""
    inputs, labels = split.__getitems__(list(range(len(split))))
    return (inputs.mean(dim=(2, 3)) + 1) * 127.5, labels


@pytest.mark.parametrize("name", MAKERS)
def test_parts_do_not_overlap_and_check_agrees(name, masters):
    data, checked = load(name, masters), DATASETS[name].check(masters)
    assert not set(data.train.index.tolist()) & set(data.validation.index.tolist())
    assert (len(data.train), len(data.validation), len(data.test)) == SIZES[name]
    assert (checked.sample, checked.form) == (True, "official")
    assert checked.classes == data.classes


def test_tiny_imagenet_labels_are_sorted_wnids_and_validation_comes_from_its_file(masters):
    data = load("tiny-imagenet", masters)
    for split, blue in ((data.train, 0), (data.test, 255)):
        found, labels = colours(split)
        coloured = labels != 3 if blue == 0 else labels >= 0
        assert (found[coloured, 0] - labels[coloured]).abs().max() < 3  # JPEG
        assert (found[coloured, 2] - blue).abs().max() < 3
    assert data.train.labels.bincount().tolist() == [1] * 200
    grey, _ = colours(data.train)
    three = grey[data.train.labels == 3]
    assert (three - three[:, :1]).abs().max() == 0


def test_food_is_resized_to_a_square_and_labels_are_sorted_names(masters):
    data = load("food101", masters, size=32)
    assert data.train.example().shape == (2, 3, 32, 32)
    names = sorted(f"{'abc'[i % 3]}_dish_{i}" for i in range(101))
    found, labels = colours(data.test)
    truth = torch.tensor([2 * int(names[label].rsplit("_", 1)[1]) for label in labels])
    assert (found[:, 0] - truth).abs().max() < 4
    assert data.test.streamed


def test_imagenet_has_the_first_200_classes_and_measures_at_the_centre(tmp_path, masters):
    shutil.copytree(masters / "ILSVRC", tmp_path / "ILSVRC")
    data = load("imagenet200", tmp_path, size=28)
    assert sorted(data.test.labels.tolist()) == list(range(200))
    inputs, labels = data.test.__getitems__(list(range(200)))
    red = inputs[:, 0].mean(dim=(1, 2)) * 0.229 * 255 + 0.485 * 255
    coloured = data.test.index != 1  # the grey one is the second of the two hundred in file order
    assert (red - labels)[coloured].abs().max() < 4
    # Thirds of red, green and blue, 96 wide: the centre is green whatever the seed or epoch.
    name = data.test.pictures.name(int(data.test.index[0]))
    thirds = Image.new("RGB", (96, 32), (0, 255, 0))
    thirds.paste((255, 0, 0), (0, 0, 32, 32))
    thirds.paste((0, 0, 255), (64, 0, 96, 32))
    thirds.save(name, "JPEG", quality=95)
    data.test.begin_epoch(3)
    picture_again = data.test.__getitems__([0])[0] * torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    mean = (picture_again + torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)).mean(dim=(0, 2, 3))
    assert mean[1] > 0.9
    assert mean[[0, 2]].max() < 0.1


def test_imagenet_refuses_a_choice_of_classes_and_other_first_classes(tmp_path, masters):
    shutil.copytree(masters / "ILSVRC", tmp_path / "ILSVRC")
    train = tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "train"
    (tmp_path / "ILSVRC" / "lerac-sample.json").unlink()
    with pytest.raises(StudyError, match="the first 200 classes must be n01440764 to n02097298, not n00000000 to"):
        load("imagenet200", tmp_path, sample=None)
    shutil.rmtree(train / "n00000055")
    with pytest.raises(StudyError, match="1000 classes, or the first 200, expected; found 999"):
        load("imagenet200", tmp_path, sample=None)


def test_the_first_and_last_class_of_imagenet200_are_those_that_timm_lists():
    resources = pytest.importorskip("timm").__path__[0]
    from pathlib import Path

    from lerac.study.data.pictures import imagenet200

    wnids = (Path(resources) / "data" / "_info" / "imagenet_synsets.txt").read_text().split()
    assert wnids == sorted(wnids)
    assert (wnids[0], wnids[199]) == (imagenet200.FIRST, imagenet200.LAST)


def test_names_of_faces():
    for name, (age, gender, race) in FACES.items():
        face = parse_face(name)
        assert (face.age, face.gender, face.race) == (age, gender, race)


@pytest.mark.parametrize(
    "name",
    ["_1_2_20170109150557335.jpg", "117_1_2_20170109150557335.jpg", "x_1_2_20170109150557335.jpg", "12.jpg",
     "30_2_1_20170109150557335.jpg", "30_1_5_20170109150557335.jpg", "30_1_1_1_20170109150557335.jpg"],
)  # fmt: skip
def test_a_name_without_an_age_is_an_error(tmp_path, name):
    picture(faces(tmp_path) / name)
    with pytest.raises(StudyError, match=rf"UTKFace: {name}: .* expected|UTKFace: {name}: gender must be"):
        load("utkface", tmp_path)


def test_faces_are_a_regression_of_years(masters):
    data = load("utkface", masters)
    assert (data.task, data.classes, data.train.labels.dtype) == ("regression", 1, torch.float32)
    ages = torch.cat([data.train.labels, data.validation.labels, data.test.labels])
    assert sorted(ages.tolist()) == sorted(float(age) for age, _, _ in FACES.values())
    found, labels = colours(data.train)
    assert (found[:, 0] - labels).abs().max() < 3
    assert DATASETS["utkface"].check(masters).counts == {"all": 6, "without gender or race": 3}
    with pytest.raises(StudyError, match=r"label_noise 0.1 asked for, but ages are no classes"):
        load("utkface", masters, label_noise=0.1)
    with pytest.raises(StudyError, match="asked for, but it has 6"):
        load("utkface", masters, train=4)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


VAL, TINY = "val/val_annotations.txt", "tiny-imagenet"


@pytest.mark.parametrize(
    ("name", "breaks", "says"),
    [
        (TINY, lambda f: (f / VAL).unlink(), "val_annotations.txt: this file is missing"),
        (TINY, lambda f: (f / "wnids.txt").unlink(), "wnids.txt: this file is missing"),
        (TINY, lambda f: (f / "wnids.txt").write_text("n00000000\n"), "wnids.txt: 200 different classes expected"),
        (TINY, lambda f: replace(f / VAL, "\tn00000011", "\tn99999999"), "class 'n99999999' is not in wnids.txt"),
        (TINY, lambda f: replace(f / VAL, "\t0\t32", " 0 32"), "line 1: file, class and 4 numbers between tabs"),
        (TINY, lambda f: replace(f / VAL, "val_198.", "val_199."), "line 2: val_199.JPEG is listed twice"),
        (TINY, lambda f: (f / "val/images/val_7.JPEG").unlink(), "val_7.JPEG: missing, but"),
        (TINY, lambda f: picture(f / "val/images/val_200.JPEG"), "val_200.JPEG: not listed in"),
        (TINY, lambda f: (f / "train/n00000022/images/n00000022_1.JPEG").unlink(), "n00000022/images: a wrong count"),
        (TINY, lambda f: shutil.rmtree(f / "train/n00000022"), "n00000022: missing, but"),
        (TINY, lambda f: truncate(f / "val/images/val_7.JPEG"), "val_7.JPEG: cannot be read as an image"),
        (TINY, lambda f: picture(f / "val/images/val_7.JPEG", size=(63, 64)), "64×64 pixels expected, found 63×64"),
        ("food101", lambda f: (f / "meta/train.txt").unlink(), "train.txt: this file is missing"),
        ("food101", lambda f: (f / "images/a_dish_3/3001.jpg").unlink(), "a_dish_3/3001.jpg: missing, but"),
        ("food101", lambda f: picture(f / "images/a_dish_3/1.jpg"), "a_dish_3/1.jpg: neither in meta/train.txt nor"),
        ("food101", lambda f: replace(f / "meta/test.txt", "3001", "3002"), "3002.jpg is in train.txt, too"),
        ("food101", lambda f: replace(f / "meta/train.txt", "a_dish_3/", "dish/"), "class 'dish' is not in"),
        ("food101", lambda f: replace(f / "meta/train.txt", "a_dish_3/3000\n", ""), "a wrong count: 201 examples"),
        ("imagenet200", lambda f: (f / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000009.xml").unlink(),
         "val_00000009.xml: this file is missing"),
        ("imagenet200", lambda f: truncate(f / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000009.xml"),
         "val_00000009.xml: cannot be read as XML"),
        ("imagenet200", lambda f: replace(f / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000009.xml", "n0", "n1"),
         "val_00000009.xml: objects of one class expected, found n00000055, n10000055"),
        ("imagenet200", lambda f: (f / "Data/CLS-LOC/val/ILSVRC2012_val_00000009.JPEG").unlink(),
         "a wrong count: 0 images of n00000055, but 1 expected"),
        ("utkface", lambda f: next(f.glob("39*")).unlink(), "a wrong count: 5 examples of all"),
        ("utkface", lambda f: (f / "note.txt").write_text("x"), "note.txt: only .jpg and .jpeg files are expected"),
    ],
)  # fmt: skip
def test_broken_files_are_named_on_loading(tmp_path, masters, name, breaks, says):
    copy = copied(tmp_path, masters, name)
    breaks(copy)
    with pytest.raises(StudyError) as refused:
        load(name, tmp_path)
    assert says in str(refused.value)


def announcing(side):
    """A BMP file whose header says that it is a huge square."""
    return b"BM" + struct.pack("<IHHIIIIHHIIIIII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


def copied(tmp_path, masters, name):
    folder = DATASETS[name].check(masters).folder
    shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / folder.name


@pytest.mark.parametrize(
    ("name", "breaks", "says"),
    [
        (TINY, lambda f: truncate(f / "val/images/val_7.JPEG"), "val_7.JPEG: cannot be read as an image"),
        (TINY, lambda f: picture(f / "val/images/val_7.JPEG", size=(63, 64)), "64×64 pixels expected, found 63×64"),
        (TINY, lambda f: (f / "val/images/val_7.JPEG").write_bytes(announcing(60_000)),
         "val_7.JPEG: cannot be read as an image (no image, or a damaged one)"),
        ("food101", lambda f: (f / "meta/test.json").unlink(), "test.json: this file is missing"),
        ("food101", lambda f: truncate(f / "images/a_dish_3/3001.jpg"), "3001.jpg: cannot be read as an image"),
        ("food101", lambda f: replace(f / "meta/test.json", "3001", "3009"), "test.json: says something else"),
        ("food101", lambda f: (f / "meta/test.json").write_text("[1]"), "test.json: class → list of images expected"),
        ("imagenet200", lambda f: (f / "Data/CLS-LOC/train/n00000011/n00000011_1.JPEG").write_bytes(b"x"),
         "n00000011_1.JPEG: cannot be read as an image (no image, or a damaged one)"),
        ("utkface", lambda f: truncate(next(f.glob("39*"))), "cannot be read as an image"),
    ],
)  # fmt: skip
def test_check_reads_every_image(tmp_path, masters, name, breaks, says):
    breaks(copied(tmp_path, masters, name))
    with pytest.raises(StudyError) as refused:
        DATASETS[name].check(tmp_path)
    assert says in str(refused.value)


def test_a_damaged_image_has_the_same_message_where_the_reader_asks_for_more_formats(tmp_path, monkeypatch):
    def opened(*_, **__):  # as Ultralytics replaces it
        raise ModuleNotFoundError("No module named 'pi_heif'")

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(StudyError, match=r"cat\.jpg: cannot be read as an image \(no image, or a damaged one\)"):
        decode(tmp_path / "cat.jpg", "cat.jpg")


def test_only_formats_of_data_sets_are_opened_whatever_a_file_is_called(tmp_path):
    Image.init()
    ours, refused = set(), {}
    for kind in Image.SAVE:
        path = tmp_path / f"{kind}.JPEG"
        with suppress(Exception):  # what this Pillow cannot write here
            Image.new("RGB", (32, 32), (200, 100, 50)).save(path, kind)
        if not path.exists() or not path.stat().st_size:
            continue
        try:
            assert decode(path, "a.JPEG").size == (32, 32)
            ours.add(kind)
        except StudyError as error:
            refused[kind] = str(error)
    assert ours == {"JPEG", "PNG", "MPO"}  # MPO is JPEG with more images behind the first
    assert {"EPS", "GIF", "BMP", "TIFF", "PPM", "ICO"} <= refused.keys()
    assert all("(no image, or a damaged one)" in says for says in refused.values())


def test_no_file_of_a_data_set_starts_ghostscript(tmp_path, monkeypatch):
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # looked for again
    Image.new("RGB", (32, 32)).save(path := tmp_path / "n01443537_1.JPEG", "EPS")
    for source in (path, path.read_bytes()):
        with pytest.raises(StudyError, match=r"n01443537_1\.JPEG: cannot be read as an image"):
            decode(source, path.name)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(("name", "count"), [("tiny-imagenet", "100000"), ("food101", "75750"), ("utkface", "23708")])
def test_real_data_must_have_the_official_counts(tmp_path, masters, name, count):
    (copied(tmp_path, masters, name) / "lerac-sample.json").unlink()
    with pytest.raises(StudyError, match=rf"a wrong count: \d+ examples of \w+, but {name} has {count}"):
        DATASETS[name].check(tmp_path)
