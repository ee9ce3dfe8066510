import csv
import re
import struct
import sys
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from lerac.study.data.audio import cremad, esc50
from lerac.study.data.audio.files import fitted, read_wave, resampled
from lerac.study.data.audio.sample import sample_cremad, sample_esc50
from lerac.study.data.loading import in_order, load_batches
from lerac.study.data.places import mark_sample
from lerac.study.data.settings import DataSettings
from lerac.study.errors import StudyError

ACTORS = {"train": (1002, 1004), "validation": (1001,), "test": (1003,)}  # two of these lists are in cremad.py
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
SIZES = {"train": 12, "validation": 6, "test": 6}
FOLDS = {"train": 12, "validation": 4, "test": 4}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_wave(path, samples, rate=16_000):
    """Write 16-bit mono by hand: a header of 44 bytes, then little-endian numbers."""
    data = np.asarray(np.round(np.asarray(samples) * 32767), dtype="<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16,
                       b"data", len(data))  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + data)
    return path


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples)


def write_cremad(root):
    """Two sizes of the real thing's oddities: a name with `_X`, a silent recording; 24 in all."""
    folder = root / "CREMA-D" / "AudioWAV"
    for actor in sorted(a for actors in ACTORS.values() for a in actors):
        for label, emotion in enumerate(EMOTIONS):
            level = "X" if (actor, emotion) == (1002, "SAD") else "MD"
            silent = (actor, emotion) == (1003, "NEU")
            samples = np.zeros(9000) if silent else noise(9000 + label, actor + label)
            write_wave(folder / f"{actor}_ITH_{emotion}_{level}.wav", samples)
    mark_sample(folder.parent, "cremad", {"recordings": 24})
    return folder


def write_esc50(root, form="official"):
    """Two classes, two recordings of each in every fold: 20 in all."""
    rows = []
    for fold in range(1, 6):
        for target, category in ((0, "dog"), (49, "hand_saw")):
            for take in "AB":
                name = f"{fold}-{1000 + fold}-{take}-{target}.wav"
                rows.append([name, fold, target, category, target == 0, 1000 + fold, take])
                tone = 0.4 * np.sin(np.arange(220_500) * (0.05 if target else 0.2)) + 0.1 * noise(220_500, fold)
                write_wave(root / "ESC-50" / "audio" / name, tone, 44_100)
    names = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    folder = root / "ESC-50"
    if form == "official":
        (folder / "meta").mkdir()
        with (folder / "meta" / "esc50.csv").open("w", newline="") as file:
            csv.writer(file).writerows([names, *rows])
    else:
        columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
        columns["audio"] = [{"bytes": (folder / "audio" / r[0]).read_bytes(), "path": r[0]} for r in rows]
        folder = root / "esc50"
        kinds = {"filename": "string", "category": "string", "take": "string", "esc10": "bool"}
        values = {name: datasets.Value(kinds.get(name, "int64")) for name in names}
        features = datasets.Features(values | {"audio": datasets.Audio(sampling_rate=44_100)})
        (folder / "data").mkdir(parents=True)
        table = pa.table(columns).replace_schema_metadata(features.arrow_schema.metadata)  # as the Hub stores them
        pq.write_table(table.slice(0, 12), folder / "data" / "train-00000-of-00002.parquet")
        pq.write_table(table.slice(12), folder / "data" / "train-00001-of-00002.parquet")
        (root / "ESC-50").rename(root / "moved")
    mark_sample(folder, "esc50", {f"fold {fold}": 4 for fold in range(1, 6)})
    return folder


def load_cremad(root, seed=0, **settings):
    return cremad.load(DataSettings(**{**SIZES, "sample": True, **settings}), seed, root)


def load_esc50(root, seed=0, **settings):
    return esc50.load(DataSettings(**{**FOLDS, "sample": True, **settings}), seed, root)


def test_a_recording_as_numbers(tmp_path):
    path = write_wave(tmp_path / "a.wav", [0, 0.5, -1, 1])
    wave = read_wave(path, 16_000)
    np.testing.assert_allclose(wave, [0, 16384 / 32768, -32767 / 32768, 32767 / 32768])
    assert np.array_equal(read_wave(path.read_bytes(), 16_000, "a"), wave)


@pytest.mark.parametrize("module", ["soundfile", "soxr", "librosa"])
def test_a_missing_library_says_what_to_install_before_anything_is_written_or_read(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    says = re.escape(f"sound needs {module}: pip install 'lerac[audio]'")
    with pytest.raises(StudyError, match=says):
        load_cremad(tmp_path)
    if module == "soundfile":
        for sample in (sample_cremad, sample_esc50):
            with pytest.raises(StudyError, match=says):
                sample(tmp_path)
        with pytest.raises(StudyError, match=says):
            cremad.check(write_cremad(tmp_path / "other").parents[1])
        assert [folder.name for folder in tmp_path.iterdir()] == ["other"]


def broken(path, how):
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a recording, but some text that is long enough for a header of a WAV file")
    elif how == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    elif how == "short":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "rate":
        write_wave(path, noise(100), 8000)
    elif how == "stereo":
        soundfile.write(path, noise(100).reshape(-1, 2), 16_000)
    elif how == "nan":
        soundfile.write(path, np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    elif how == "none":
        write_wave(path, [])
    elif how == "missing":
        path.unlink()


BROKEN = {
    "empty": "cannot be read as a recording",
    "text": "cannot be read as a recording",
    "pointer": "is a pointer of git-lfs, not a recording; fetch the recordings with `git lfs pull`",
    "short": "has 17944 of 18044 bytes, it is cut short",
    "rate": "8000 samples per second, but all recordings of this data set have 16000",
    "stereo": "2 channels, but the recordings of this data set have one",
    "nan": "has values that are not finite",
    "none": "has no samples",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_recording_is_named_by_check_and_by_its_batch(tmp_path, how):
    path = write_cremad(tmp_path) / "1004_ITH_ANG_MD.wav"
    broken(path, how)
    with pytest.raises(StudyError) as error:
        cremad.check(tmp_path)
    assert BROKEN[how] in str(error.value)
    assert str(path) in str(error.value)
    train = load_cremad(tmp_path).train
    with pytest.raises(StudyError, match=r"1004_ITH_ANG_MD\.wav"):
        train.__getitems__(list(range(12)))


def test_length_and_rate():
    wave = np.arange(5, dtype=np.float32)
    assert fitted(wave, 3).tolist() == [0, 1, 2]
    assert fitted(wave, 7).tolist() == [0, 1, 2, 3, 4, 0, 0]
    assert resampled(wave, 16_000, 16_000) is wave
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    half = resampled(tone, 16_000, 8000)
    assert half.shape == (8000,)
    np.testing.assert_allclose(half[500:-500], tone[::2][500:-500], atol=1e-3)


def test_names_of_cremad():
    assert cremad.parse_name("1001_DFA_ANG_MD.wav") == cremad.Utterance(1001, "DFA", 0, "MD")
    assert cremad.parse_name("1091_WSI_SAD_X.wav") == cremad.Utterance(1091, "WSI", 5, "X")
    for name in ("1092_DFA_ANG_MD.wav", "1000_DFA_ANG_MD.wav", "1001_DFA_JOY_MD.wav", "1001_ABC_ANG_MD.wav",
                 "1001_DFA_ANG_MD.WAV", "1001_DFA_ANG.wav", "1001_DFA_ANG_YY.wav"):  # fmt: skip
        with pytest.raises(StudyError, match="a name like 1001_DFA_ANG_MD"):
            cremad.parse_name(name)


def test_the_actors_of_the_parts_are_those_of_the_rule():
    import hashlib

    order = sorted(range(1001, 1092), key=lambda a: hashlib.sha256(f"lerac: CREMA-D actors 1{a}".encode()).hexdigest())
    assert tuple(sorted(order[:14])) == cremad.TEST_ACTORS
    assert tuple(sorted(order[14:28])) == cremad.VALIDATION_ACTORS


def test_cremad(tmp_path):
    folder = write_cremad(tmp_path)
    checked = cremad.check(tmp_path)
    assert checked.counts == {"train": 12, "validation": 6, "test": 6, "silent": 1, "level X": 1}
    data = load_cremad(tmp_path)
    names = sorted(path.name for path in folder.iterdir())
    for part, actors in ACTORS.items():
        split = getattr(data, part)
        mine = [names[i] for i in split.index.tolist()]
        assert mine == [name for name in names if int(name[:4]) in actors]
        assert [EMOTIONS[label] for label in split.labels.tolist()] == [name[9:12] for name in mine]
        inputs, labels = split.__getitems__([5, 0])
        assert inputs.shape == (2, 1, 128, 1001)
        assert inputs.dtype == torch.float32
        assert labels.tolist() == [5, 0]
    assert (data.classes, data.channels, data.task) == (6, 1, "classification")
    silent, _ = data.test.__getitems__([4])
    assert not silent.any()
    loud, _ = data.test.__getitems__([0])
    assert (loud.min(), loud.max()) == (0, 1)
    assert (loud[..., 160:] == 0).all()  # filled up with silence to four seconds


def test_wrong_files_of_cremad_are_named(tmp_path):
    folder = write_cremad(tmp_path)
    (folder / "1001_ITH_ANG_MD.wav").rename(tmp_path / "away.wav")
    with pytest.raises(StudyError, match="23 examples of recordings, but the sample's marker says 24"):
        cremad.check(tmp_path)
    (tmp_path / "away.wav").rename(folder / "1001_ITH_ANG.wav")
    with pytest.raises(StudyError, match=r"AudioWAV: 1001_ITH_ANG\.wav: a name like"):
        load_cremad(tmp_path)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(StudyError, match="AudioWAV: this folder is missing"):
        cremad.check(tmp_path)
    with pytest.raises(StudyError, match="cremad: no folder CREMA-D or CREMA-D-master"):
        cremad.check(tmp_path / "CREMA-D")


def test_real_audio_must_have_the_official_counts(tmp_path):
    for folder in (write_cremad(tmp_path).parent, write_esc50(tmp_path)):
        (folder / "lerac-sample.json").unlink()
    with pytest.raises(StudyError, match="24 examples of recordings, but cremad has 7442"):
        cremad.check(tmp_path)
    with pytest.raises(StudyError, match="4 examples of fold 1, but esc50 has 400"):
        esc50.check(tmp_path)


def test_esc50_folds(tmp_path):
    folder = write_esc50(tmp_path)
    checked = esc50.check(tmp_path)
    assert (checked.folder, checked.form, checked.classes) == (folder, "official", 50)
    assert checked.counts == {f"fold {fold}": 4 for fold in range(1, 6)}
    for seed in range(7):
        data, fixed = load_esc50(tmp_path, seed), load_esc50(tmp_path, seed, fold=2)
        tested = seed % 5
        assert data.test.index.tolist() == list(range(4 * tested, 4 * tested + 4))
        rest = torch.cat([data.train.index, data.validation.index]).sort().values.tolist()
        assert rest == [i for i in range(20) if i // 4 != tested]
        assert data.validation.labels.bincount(minlength=50)[[0, 49]].tolist() == [2, 2]
        assert fixed.test.index.tolist() == [4, 5, 6, 7]
    assert torch.equal(load_esc50(tmp_path, 0).validation.index, load_esc50(tmp_path, 5).validation.index)
    assert data.test.labels.tolist() == [0, 0, 49, 49]
    assert data.test.example().shape == (2, 1, 128, 1723)
    small = load_esc50(tmp_path, rate=16_000, hop=256).test
    assert small.example().shape == (2, 1, 128, 1 + 80_000 // 256)


def test_esc50_of_the_hub(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    write_esc50(tmp_path / "one")
    folder = write_esc50(tmp_path / "other", "hub")
    assert esc50.check(tmp_path / "other") == replace(esc50.check(tmp_path / "one"), folder=folder, form="hub")
    one, other = load_esc50(tmp_path / "one", 3), load_esc50(tmp_path / "other", 3)
    for part in ("train", "validation", "test"):
        first, second = getattr(one, part), getattr(other, part)
        assert torch.equal(first.index, second.index)
        assert torch.equal(first.__getitems__([0, 3])[0], second.__getitems__([0, 3])[0])


def edit(folder, old, new):
    path = folder / "meta" / "esc50.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1-1001-A-0.wav,1,0", "1-1001-A-0.wav,6,0", "line 2: fold must be 1 to 5, got '6'"),
        ("1-1001-A-0.wav,1,0", "1-1001-A-0.wav,1,50", "line 2: target must be 0 to 49, got '50'"),
        ("1-1001-A-0.wav,1,0", "1-1001-A-0.wav,1,x", "line 2: target must be 0 to 49, got 'x'"),
        ("1-1001-B-0.wav,1,0", "1-1001-B-0.wav,1,3", "line 3: fold 1 and target 3, but the file is called 1-1001-B-0"),
        ("1-1001-A-0.wav,", "../a.wav,", "line 2: filename must be like 1-100032-A-0.wav, got '../a.wav'"),
        (",dog,True,1001,A\n", "\n", "line 2: no category"),
        (",dog,", ",,", "line 2: no category"),
        ("1-1001-B-0.wav", "1-1001-A-0.wav", "1-1001-A-0.wav is there twice"),
        ("1-1001-A-0.wav", "1-1009-A-0.wav", "1-1009-A-0.wav is missing, but"),
        ("dog", "cat", "has category dog, others of target 0 cat"),
        ("filename", "file", "line 2: no filename"),
        ('1-1001-A-0.wav,1,0,dog', '"1-1001-A-0.wav"x,1,0,dog', "cannot be read"),
    ],
)  # fmt: skip
def test_a_broken_table_of_esc50_is_named(tmp_path, old, new, message):
    folder = write_esc50(tmp_path)
    path = folder / "meta" / "esc50.csv"
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    edit(folder, old, new)
    with pytest.raises(StudyError) as error:
        esc50.check(tmp_path)
    assert message in str(error.value)
    assert str(folder) in str(error.value)


def test_wrong_files_of_esc50_are_named(tmp_path):
    folder = write_esc50(tmp_path)
    write_wave(folder / "audio" / "1-1001-A-0.wav", noise(100), 44_100)
    with pytest.raises(StudyError, match=r"1-1001-A-0\.wav: 0\.00226757 s, but all recordings have 5 s"):
        esc50.check(tmp_path)
    write_wave(folder / "audio" / "more.wav", noise(100), 44_100)
    with pytest.raises(StudyError, match=r"audio/more\.wav: meta/esc50\.csv does not name this file"):
        esc50.check(tmp_path)
    (folder / "meta" / "esc50.csv").unlink()
    with pytest.raises(StudyError, match=r"esc50\.csv is missing"):
        esc50.check(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 3999}, "data.rate must be 4000 to 48000"),
        ({"hop": 4097}, "data.hop must be 1 to 4096 samples, got 4097"),
        ({"augment": {"noise": 2}}, "augment.noise must be in"),
        ({"test": 7}, "test 7 examples asked for"),
        ({"sample": None}, "holds a generated sample"),
    ],
)
def test_bad_settings(tmp_path, settings, message):
    write_cremad(tmp_path)
    write_esc50(tmp_path)
    for load in (load_cremad, load_esc50):
        with pytest.raises(StudyError, match=message):
            load(tmp_path, **settings)
    with pytest.raises(StudyError, match=r"data\.fold must be 1 to 5, got 6"):
        load_esc50(tmp_path, fold=6)


def batches(split, epoch, workers, size=5):
    split.begin_epoch(epoch)
    return list(load_batches(split, in_order(split, size), workers))


def test_augmentations_depend_on_seed_epoch_and_index_alone(tmp_path):
    write_cremad(tmp_path)
    train = load_cremad(tmp_path, 4, augment={"mixup": 0.9}).train
    here, there = batches(train, 1, 0), batches(train, 1, 2)
    for (one, labels), (other, same) in zip(here, there, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(labels, same)
    whole = torch.cat([inputs for inputs, _ in here])
    assert whole.shape == (12, 1, 128, 1001)
    assert whole.min() >= 0
    assert whole.max() <= 1
    other_sizes = torch.cat([inputs for inputs, _ in batches(train, 1, 0, size=7)])
    assert torch.equal(whole, other_sizes)
    again = load_cremad(tmp_path, 4, augment={"mixup": 0.9}).train
    assert torch.equal(batches(again, 1, 0)[0][0], here[0][0])
    next_epoch = torch.cat([inputs for inputs, _ in batches(train, 2, 0)])
    next_seed = torch.cat([x for x, _ in batches(load_cremad(tmp_path, 5, augment={"mixup": 0.9}).train, 1, 0)])
    for changed in (next_epoch, next_seed):
        assert (changed != whole).flatten(1).any(dim=1).sum() >= 10


def test_only_training_examples_are_augmented(tmp_path):
    write_cremad(tmp_path)
    plain, augmented = load_cremad(tmp_path), load_cremad(tmp_path, augment={})
    for part in ("validation", "test"):
        one, other = batches(getattr(plain, part), 0, 0), batches(getattr(augmented, part), 3, 0)
        for (a, labels), (b, same) in zip(one, other, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(labels, same)
    assert not torch.equal(batches(plain.train, 0, 0)[0][0], batches(augmented.train, 0, 0)[0][0])


def test_mix_up_mixes_spectrograms_and_labels_by_the_same_share(tmp_path):
    write_cremad(tmp_path)
    none = dict.fromkeys(["noise", "shift", "speed", "mask"], 0)
    plain = load_cremad(tmp_path).train
    pictures, labels = plain.__getitems__(list(range(12)))
    mixed, targets = load_cremad(tmp_path, augment={**none, "mixup": 1}).train.__getitems__(list(range(12)))
    assert targets.shape == (12, 6)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(12))
    found = 0
    for i in range(12):
        share = float(targets[i, labels[i]])
        if share < 0.999 and len(others := targets[i].nonzero().flatten().tolist()) == 2:
            other = next(label for label in others if label != labels[i])
            candidates = [share * pictures[i] + (1 - share) * pictures[j] for j in range(12) if labels[j] == other]
            assert min((mixed[i] - candidate).abs().max() for candidate in candidates) < 1e-5
            found += 1
    assert found >= 4
    hard, indices = load_cremad(tmp_path, augment={**none, "mixup": 0}).train.__getitems__([3, 4])
    assert torch.equal(hard, pictures[3:5])
    assert torch.equal(indices, labels[3:5])


def test_a_silent_recording_stays_silent_whatever_is_done_to_it(tmp_path):
    folder = write_cremad(tmp_path)
    write_wave(folder / "1002_ITH_ANG_MD.wav", np.zeros(5))
    settings = {**dict.fromkeys(["noise", "shift", "speed", "mask"], 1), "mixup": 0}
    inputs, _ = load_cremad(tmp_path, augment=settings).train.__getitems__(list(range(12)))
    assert not inputs[0].any()
    assert inputs.isfinite().all()
    assert inputs[1:].flatten(1).any(dim=1).all()


def test_label_noise_is_for_training_labels(tmp_path):
    write_cremad(tmp_path)
    clean, noisy = (load_cremad(tmp_path, 3, label_noise=share) for share in (0.0, 0.5))
    assert (clean.train.labels != noisy.train.labels).sum() == 6
    assert torch.equal(clean.test.labels, noisy.test.labels)
    assert torch.equal(noisy.train.__getitems__([0, 1])[1], noisy.train.labels[:2])


@pytest.mark.parametrize("name", ["cremad", "esc50"])
def test_sample_check_load_and_learn(tmp_path, name):
    if name == "cremad":
        sample_cremad(tmp_path)
        assert cremad.check(tmp_path).counts == {
            "train": 48, "validation": 18, "test": 18, "silent": 1, "level X": 1
        }  # fmt: skip
        data = load_cremad(tmp_path, train=48, validation=18, test=18, hop=512)
        with pytest.raises(StudyError, match="never written over data"):
            sample_cremad(tmp_path)
    else:
        sample_esc50(tmp_path)
        assert esc50.check(tmp_path).counts == {f"fold {fold}": 9 for fold in range(1, 6)}
        data = load_esc50(tmp_path, train=30, validation=6, test=9, rate=8000, hop=512)
        with pytest.raises(StudyError, match="never written over data"):
            sample_esc50(tmp_path)
    two = batches(data.train, 0, 0, size=2)[:2]
    assert [inputs.shape[:3] for inputs, _ in two] == [(2, 1, 128)] * 2
    train, labels = data.train.__getitems__(list(range(len(data.train))))
    test, truth = data.test.__getitems__(list(range(len(data.test))))
    bands, wanted = (x[..., :20].mean(dim=3).flatten(1) for x in (train, test))  # where all have sound
    classes = labels.unique()
    centres = torch.stack([bands[labels == label].mean(dim=0) for label in classes])
    right = classes[torch.cdist(wanted, centres).argmin(dim=1)] == truth
    assert right.float().mean() > 0.8


def test_settings_are_checked_before_files_are_looked_for(tmp_path):
    with pytest.raises(StudyError, match=r"data\.rate"):
        load_cremad(tmp_path, rate=1)


def test_all_that_are_left_and_validation_on_the_test_examples(tmp_path):
    write_cremad(tmp_path)
    write_esc50(tmp_path)
    for load, left in ((load_cremad, 12), (load_esc50, 16)):
        data = load(tmp_path, train=None, validation="test", test=4, augment={})
        assert len(data.train) == left
        assert data.validation.index.tolist() == data.test.index.tolist()
        assert data.validation.augment is None
        assert data.train.augment is not None
