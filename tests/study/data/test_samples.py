import gzip
import hashlib
import json
from dataclasses import replace

import pytest
import torch
from studies import make_run
from torch import nn

from lerac.cli import run
from lerac.study.data import DATASETS
from lerac.study.data.boxes.voc import CLASSES
from lerac.study.data.loading import in_order, load_batches, loader_workers
from lerac.study.data.pictures.images import to_bytes
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError
from lerac.study.training.training import Training

SIZES = {
    "cifar10": (150, 50, 50),
    "cifar100": (200, 100, 100),
    "fashion-mnist": (150, 50, 100),
    "tiny-imagenet": (400, 200, 200),
    "imagenet200": (400, 200, 200),
    "food101": (202, 101, 101),
    "utkface": (160, 40, 40),
    "voc": (60, 20, 40),
}
IMAGES = list(SIZES)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for name in IMAGES:
        DATASETS[name].sample(folder)
    return folder


def load(name, root, seed=0, **options):
    sizes = dict(zip(("train", "validation", "test"), SIZES[name], strict=True))
    return DATASETS[name].load(DataSettings(sample=True, **sizes, **options), seed, root)


@pytest.mark.parametrize("name", IMAGES)
def test_a_sample_is_complete_loads_and_gives_two_batches(root, name):
    checked = DATASETS[name].check(root)
    assert checked.sample
    data = load(name, root)
    loader = iter(load_batches(data.train, [[0, 1, 2, 3], [4, 5, 6, 7]]))
    for _ in range(2):
        inputs, labels = next(loader)
        assert len(inputs) == len(labels) == 4
        assert inputs.dtype == torch.float32
        assert inputs.isfinite().all()
        assert inputs.std() > 0.1


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist", "food101", "utkface", "voc"])
def test_always_the_same_and_never_over_anything(root, tmp_path, name):
    DATASETS[name].sample(tmp_path)
    [folder] = tmp_path.iterdir()
    assert digest(folder) == digest(root / folder.name)
    with pytest.raises(StudyError, match="a sample is never written over data"):
        DATASETS[name].sample(tmp_path)


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("cifar-10-batches-py", ["batches.meta", "readme.html", "test_batch", "data_batch_1", "data_batch_5"]),
        ("cifar-100-python", ["meta", "train", "test"]),
        ("tiny-imagenet-200", ["wnids.txt", "words.txt", "val/val_annotations.txt", "test/images/test_0.JPEG",
                               "train/n90000000/n90000000_boxes.txt"]),
        ("fashion-mnist", [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k")
                           for kind in ("images-idx3", "labels-idx1")]),
        ("food-101", [*(f"meta/{n}" for n in ("train.txt", "test.txt", "train.json", "test.json", "classes.txt",
                                              "labels.txt")), "README.txt", "license_agreement.txt"]),
        ("VOCdevkit", ["VOC2007/ImageSets/Main/test.txt", "VOC2012/ImageSets/Main/dog_trainval.txt"]),
    ],
)  # fmt: skip
def test_a_sample_has_the_official_files(root, folder, files):
    assert [file for file in files if not (root / folder / file).is_file()] == []


def test_torchvision_reads_the_samples(root, tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)  # of the real files
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    ours = DATASETS["cifar10"].load(DataSettings(train=199, validation=1, test=50, sample=True), 0, root)
    theirs = torchvision.datasets.CIFAR10(str(root))
    assert torch.equal(ours.train.inputs.permute(0, 2, 3, 1), torch.from_numpy(theirs.data)[ours.train.index])
    assert ours.train.labels.tolist() == [theirs.targets[i] for i in ours.train.index]
    unpacked = tmp_path / "FashionMNIST" / "raw"  # where torchvision looks
    unpacked.mkdir(parents=True)
    for packed in (root / "fashion-mnist").glob("*.gz"):
        (unpacked / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    clothes, split = torchvision.datasets.FashionMNIST(str(tmp_path)), load("fashion-mnist", root).train
    assert torch.equal(split.inputs.squeeze(1), clothes.data[split.index])
    assert torch.equal(split.labels, clothes.targets[split.index])
    food = torchvision.datasets.Food101(str(root), split="test")
    assert food._labels == load("food101", root).test.labels.tolist()
    voc = torchvision.datasets.VOCDetection(str(root), year="2007", image_set="test")
    split = load("voc", root).test
    for i in range(len(voc)):
        image, note = voc[i]
        assert torch.equal(to_bytes(split.pictures.open(int(split.index[i]))), to_bytes(image))
        names = [thing["name"] for thing in note["annotation"]["object"]]
        assert names == [CLASSES[label] for label in split.labels[i].labels]


@pytest.mark.parametrize("name", ["imagenet200", "food101"])
def test_batches_do_not_depend_on_the_number_of_workers(root, name):
    order = [[3, 1, 4], [15, 9, 2], [6, 5]]

    def batches(workers, epoch):
        split = load(name, root, size=32).train
        split.begin_epoch(epoch)
        torch.manual_seed(workers)
        return [inputs for inputs, _ in load_batches(split, order, workers)]

    one, two, later = batches(0, 1), batches(2, 1), batches(2, 2)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert (name == "imagenet200") == any(not torch.equal(a, b) for a, b in zip(two, later, strict=True))


def test_augmentation_depends_on_seed_epoch_and_example_alone(root):
    split = load("imagenet200", root, size=32).train
    alone = split.__getitems__([7])[0]
    before = torch.get_rng_state()
    assert torch.equal(split.__getitems__([3, 7])[0][1:], alone)
    assert torch.equal(torch.get_rng_state(), before)
    split.begin_epoch(1)
    assert not torch.equal(split.__getitems__([7])[0], alone)
    split.begin_epoch(0)
    assert torch.equal(split.__getitems__([7])[0], alone)
    assert not torch.equal(load("imagenet200", root, seed=1, size=32).train.__getitems__([7])[0], alone)
    fewer = load("imagenet200", root, size=32).test
    same = fewer.__getitems__([0])[0]
    fewer.begin_epoch(5)
    assert torch.equal(fewer.__getitems__([0])[0], same)


def test_a_damaged_image_is_named_by_a_worker(root, tmp_path):
    DATASETS["utkface"].sample(tmp_path)
    split = load("utkface", tmp_path).train
    damaged = split.pictures.name(int(split.index[5]))
    with open(damaged, "r+b") as file:  # noqa: PTH123
        file.truncate(300)
    with pytest.raises(StudyError) as refused:
        list(load_batches(split, in_order(split, 4), 2))
    assert damaged in str(refused.value)


def test_number_of_workers(root, monkeypatch):
    held, streamed = load("cifar10", root).train, load("utkface", root).train
    monkeypatch.setenv("LERAC_LOADERS", "3")
    assert (loader_workers(held), loader_workers(streamed)) == (0, 3)
    monkeypatch.setenv("LERAC_LOADERS", "many")
    with pytest.raises(StudyError, match="LERAC_LOADERS must be a number of processes"):
        loader_workers(held)
    monkeypatch.delenv("LERAC_LOADERS")
    assert 1 <= loader_workers(streamed) <= 4


@pytest.mark.parametrize(("name", "chance"), [("cifar10", 0.1), ("fashion-mnist", 0.1), ("food101", 0.01)])
def test_a_network_learns_a_sample(root, name, chance):
    data = load(name, root) if name == "cifar10" else load(name, root, size=16)
    (x, y), (u, v) = (s.__getitems__(list(range(len(s)))) for s in (data.train, data.test))
    torch.manual_seed(0)
    size = x.shape[-1]
    network = nn.Sequential(nn.Conv2d(data.channels, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
                            nn.AvgPool2d(size // 8), nn.Flatten(), nn.Linear(256, data.classes))  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    assert (network(u).argmax(1) == v).double().mean() > 5 * chance


@pytest.mark.parametrize(("name", "model"), [("cifar10", "small-cnn"), ("imagenet200", "small-cnn")])
def test_trained_from_a_sample_by_any_number_of_workers(root, monkeypatch, name, model):
    monkeypatch.setenv("LERAC_DATA", str(root))
    run = make_run("lerac", epochs=2)
    sizes = dict(zip(("train", "validation", "test"), SIZES[name], strict=True))
    data = {**sizes, "label_noise": 0.1, "sample": True, "size": 16}
    run = replace(run, settings={**run.settings, "dataset": name, "model": model, "data": data})
    histories = []
    for workers in ("0", "2"):
        monkeypatch.setenv("LERAC_LOADERS", workers)
        training = Training(run)
        while not training.over:
            training.run_epoch()
        without_times = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in training.history]
        histories.append((without_times, training.test().loss))
    assert histories[0] == histories[1]
    assert histories[0][0][0]["train_loss"] != histories[0][0][1]["train_loss"]


def test_command_line(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "new" / "root"
    assert run(["data", "sample", "cifar10", "--root", str(folder)]) == 0
    assert "This is a generated sample" in capsys.readouterr().out
    assert run(["data", "check", "cifar10", "--root", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "dataset": "cifar10",
        "folder": str(folder / "cifar-10-batches-py"),
        "form": "official",
        "sample": True,
        "counts": {"train": 200, "test": 50},
        "classes": 10,
    }
    monkeypatch.setenv("LERAC_DATA", str(folder))
    sizes = ["--train", "150", "--validation", "50", "--test", "50"]
    assert run(["data", "split", "cifar10", *sizes, "--sample", "--json"]) == 0
    split = json.loads(capsys.readouterr().out)
    assert sorted(split["train"] + split["validation"]) == list(range(200))
    assert split["test"] == list(range(50))
    assert run(["data", "split", "cifar10", *sizes]) == 2
    assert "to use it say so: --set data.sample=true (of `lerac data split`: --sample)" in capsys.readouterr().err
    (folder / "cifar-10-batches-py" / "lerac-sample.json").rename(folder / "marker")
    assert run(["data", "split", "cifar10", *sizes, "--sample"]) == 2
    assert "lerac-sample.json is missing), but a sample is asked for" in capsys.readouterr().err
    (folder / "marker").rename(folder / "cifar-10-batches-py" / "lerac-sample.json")
    assert run(["data", "split", "cifar10", *sizes, "--sample"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "validation " + " ".join(map(str, split["validation"]))
    least = ["--train", "1", "--validation", "1", "--test", "1"]
    assert run(["data", "split", "cifar10", *least, "--sample"]) == 0
    assert [len(line.split()) for line in capsys.readouterr().out.splitlines()] == [2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data", "check", "digits", "--root", "."], "'digits' has no files, it comes with its package; give one of"),
        (["data", "check", "nope", "--root", "."], "'nope' is unknown"),
        (["data", "check", "cifar10", "--root", "nowhere"], "data root nowhere is no folder"),
        (["data", "check", "cifar10", "--root", "."], "cifar10: no folder cifar-10-batches-py or cifar10 in ."),
        (["data", "check", "cifar10"], "no data root"),
        (["data", "sample", "voc"], "Missing option '--root'"),
        (["data", "sample", "voc", "--root", "file"], "file"),
        (["data", "split", "voc", "--root", ".", "--train", "0", "--validation", "1", "--test", "1"], "--train"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_code_2(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LERAC_DATA", raising=False)
    (tmp_path / "file").write_text("x")
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lerac: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize("name", IMAGES)
def test_all_that_are_left_and_the_epoch_chosen_on_the_test_part(root, name):
    _, validation, test = SIZES[name]

    def cut(validation):
        return DATASETS[name].load(DataSettings(validation=validation, test=test, sample=True), 0, root)

    whole, some = cut("test"), cut(validation)
    assert whole.validation is whole.test
    assert torch.equal(some.test.index, whole.test.index)
    together = torch.cat([some.train.index, some.validation.index]).sort().values
    assert torch.equal(together, whole.train.index)
    with pytest.raises(StudyError, match=r"train \(all others\) \+ validation"):
        cut(len(whole.train))
