import json
from dataclasses import replace

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lerac.study.data.loading import in_order, load_batches
from lerac.study.data.places import mark_sample
from lerac.study.data.settings import DataSettings
from lerac.study.data.text.pairs import BOOLQ, QNLI, RTE
from lerac.study.errors import StudyError

ALL = {"boolq": BOOLQ, "qnli": QNLI, "rte": RTE}
SIZES = {"train": 100, "validation": 20, "test": 40}
COUNTS = {"train": 30, "validation": 6}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def texts(part, count):
    return [(f"{part} question {i}", f'"sentence {i * i}', i % 3 == 0) for i in range(count)]


def write_glue(folder, first="question", second="sentence", counts=COUNTS):
    folder.mkdir(parents=True)
    for part, name in (("train", "train.tsv"), ("validation", "dev.tsv")):
        lines = [f"index\t{first}\t{second}\tlabel"]
        for i, (a, b, positive) in enumerate(texts(part, counts[part])):
            lines.append(f"{i}\t{a}\t{b}\t{'entailment' if positive else 'not_entailment'}")
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_boolq(folder, counts=COUNTS):
    folder.mkdir(parents=True)
    for part, name in (("train", "train.jsonl"), ("validation", "val.jsonl")):
        rows = [{"question": a, "passage": b, "idx": 0, "label": yes} for a, b, yes in texts(part, counts[part])]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_hub(folder, first, second, label, of, shards=1, counts=COUNTS):
    folder.mkdir(parents=True)
    for part in counts:
        rows = texts(part, counts[part])
        columns = {first: [r[0] for r in rows], second: [r[1] for r in rows], label: [of(r[2]) for r in rows]}
        table = pa.table(columns)
        size = -(-len(rows) // shards)
        for shard in range(shards):
            path = folder / f"{part}-{shard:05d}-of-{shards:05d}.parquet"
            pq.write_table(table.slice(shard * size, size), path)


def write(root, name, form):
    """Write both parts as the publishers do, and a marker, as they are few."""
    if form == "official":
        folder = {"boolq": root / "BoolQ", "qnli": root / "QNLI", "rte": root / "RTE"}[name]
        if name == "boolq":
            write_boolq(folder)
        else:
            write_glue(folder, *(("sentence1", "sentence2") if name == "rte" else ()))
    elif name == "boolq":
        folder = root / "boolq"
        write_hub(folder / "data", "question", "passage", "answer", bool)
    elif name == "rte":
        folder = root / "glue" / "rte"
        write_hub(folder, "sentence1", "sentence2", "label", lambda entailed: 0 if entailed else 1, shards=2)
    else:
        folder = root / "glue" / "qnli"
        write_hub(folder, "question", "sentence", "label", lambda entailed: 0 if entailed else 1)
    mark_sample(folder, name, COUNTS)
    return folder


def load(data, root, seed=0, **settings):
    return data.load(DataSettings(**{**SIZES, "sample": True, **settings}), seed, root)


def load_few(data, root, **settings):
    return load(data, root, **{"train": 27, "validation": 3, "test": 6, **settings})


@pytest.mark.parametrize("name", ALL)
def test_both_forms_give_the_same(tmp_path, name):
    loaded = {}
    for form in ("official", "hub"):
        root = tmp_path / form
        folder = write(root, name, form)
        checked = ALL[name].check(root)
        assert (checked.name, checked.folder, checked.form, checked.counts) == (name, folder, form, COUNTS)
        loaded[form] = load_few(ALL[name], root)
    official, hub = loaded["official"], loaded["hub"]
    positive = 1 if name == "boolq" else 0
    for part in ("train", "validation", "test"):
        one, other = getattr(official, part), getattr(hub, part)
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.labels, other.labels)
        assert one.labels.tolist() == [positive if i % 3 == 0 else 1 - positive for i in one.index.tolist()]
        both = (load_batches(split, in_order(split, 4)) for split in (one, other))
        for (a, _), (b, _) in zip(*both, strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_super_glue_on_the_hub(tmp_path):
    write_hub(tmp_path / "super_glue" / "boolq", "question", "passage", "label", int)
    mark_sample(tmp_path / "super_glue" / "boolq", "boolq", COUNTS)
    assert load_few(BOOLQ, tmp_path).test.labels.tolist() == [1, 0, 0, 1, 0, 0]


def test_hidden_or_missing_labels_of_the_hub(tmp_path):
    write_hub(tmp_path / "glue" / "rte", "sentence1", "sentence2", "label", lambda entailed: -1)
    mark_sample(tmp_path / "glue" / "rte", "rte", COUNTS)
    with pytest.raises(StudyError, match=r"train row 0: label -1 is none of 0 or 1"):
        RTE.check(tmp_path)
    write_hub(tmp_path / "glue" / "qnli", "question", "sentence", "labels", int)
    with pytest.raises(StudyError, match=r"column 'label' expected, found question, sentence, labels"):
        QNLI.check(tmp_path)
    for path in (tmp_path / "glue" / "qnli").glob("*.parquet"):
        path.write_bytes(b"PAR1 nothing")
    with pytest.raises(StudyError, match=r"train-00000-of-00001\.parquet: cannot be read as parquet"):
        QNLI.check(tmp_path)


def test_a_missing_shard_is_a_wrong_count(tmp_path):
    folder = write(tmp_path, "rte", "hub")
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(StudyError, match="15 examples of train, but the sample's marker says 30"):
        RTE.check(tmp_path)


def test_real_data_must_have_the_official_counts(tmp_path):
    write_glue(tmp_path / "QNLI")
    with pytest.raises(StudyError, match=r"train\.tsv: a wrong count: 30 examples of train, but qnli has 104743"):
        QNLI.check(tmp_path)
    with pytest.raises(StudyError, match="30 examples of train"):
        load_few(QNLI, tmp_path, sample=None)
    few = replace(QNLI, counts=COUNTS)
    assert few.check(tmp_path).counts == COUNTS
    assert not few.check(tmp_path).sample


@pytest.mark.parametrize("folder", ["BoolQ/BoolQ", "BoolQ"])
def test_nested_as_the_authors_unpack_it(tmp_path, folder):
    write_boolq(tmp_path / folder)
    assert replace(BOOLQ, counts=COUNTS).check(tmp_path).folder == tmp_path / folder


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(StudyError, match="rte: no folder RTE or glue/rte in"):
        RTE.check(tmp_path)
    (write(tmp_path, "rte", "official") / "dev.tsv").unlink()
    with pytest.raises(StudyError, match=r"RTE/dev\.tsv is missing"):
        RTE.check(tmp_path)


def test_parts_do_not_overlap_and_do_not_depend_on_the_seed(tmp_path):
    QNLI.sample(tmp_path)
    one, other = (load(QNLI, tmp_path, seed, max_length=50) for seed in (0, 7))
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(one, part).index, getattr(other, part).index)
        assert len(getattr(one, part)) == SIZES[part]
    assert sorted(torch.cat([one.train.index, one.validation.index]).tolist()) == list(range(120))
    assert one.validation.labels.bincount().tolist() == [10, 10]  # by class, as in the training part
    assert one.test.index.tolist() == list(range(40))


def test_the_vocabulary_is_of_the_training_split_alone(tmp_path):
    folder = write(tmp_path, "qnli", "official")
    data = load_few(QNLI, tmp_path)
    held = int(data.validation.index[0])
    lines = (folder / "train.tsv").read_text(encoding="utf-8").split("\n")
    seen = {word for i in data.train.index.tolist() for word in lines[i + 1].lower().replace("_", " ").split()}
    assert str(held) not in seen
    assert data.vocabulary == 3 + len(
        {
            "train",
            "question",
            "sentence",
            '"',
            *(str(i) for i in data.train.index.tolist()),
            *(str(i * i) for i in data.train.index.tolist()),
        }
    )
    inputs, _ = data.validation.__getitems__([0])
    assert (inputs["input_ids"] == 1).any()


@pytest.mark.parametrize("tokens", ["bert", "words"])
def test_batches_are_as_long_as_their_longest_pair(tmp_path, monkeypatch, tokens):
    BOOLQ.sample(tmp_path)
    monkeypatch.setenv("LERAC_WEIGHTS", str(tmp_path / "weights"))
    split = load(BOOLQ, tmp_path, tokens=tokens, max_length=50).train
    lengths = [len(ids) for ids in split.encoded.ids]
    assert len(set(lengths)) > 1
    whole, labels = split.__getitems__(list(range(100)))
    assert set(whole) == {"input_ids", "attention_mask", "token_type_ids"}
    assert all(tensor.shape == (100, max(lengths)) and tensor.dtype == torch.int64 for tensor in whole.values())
    assert whole["attention_mask"].sum(dim=1).tolist() == lengths
    assert (whole["input_ids"][whole["attention_mask"] == 0] == 0).all()
    assert (whole["token_type_ids"][whole["attention_mask"] == 0] == 0).all()
    shortest = lengths.index(min(lengths))
    alone, label = split.__getitems__([shortest])
    assert alone["input_ids"].shape == (1, min(lengths))
    assert torch.equal(alone["input_ids"][0], whole["input_ids"][shortest, : min(lengths)])
    assert label == labels[shortest]
    one, _ = split[shortest]
    assert torch.equal(one["input_ids"], alone["input_ids"][0])
    assert split.example()["input_ids"].shape == (2, max(lengths[:2]))


def test_label_noise_is_for_training_labels(tmp_path):
    RTE.sample(tmp_path)
    clean, noisy = (load(RTE, tmp_path, 3, label_noise=noise) for noise in (0.0, 0.25))
    assert (clean.train.labels != noisy.train.labels).sum() == 25
    assert torch.equal(clean.test.labels, noisy.test.labels)
    assert torch.equal(clean.validation.labels, noisy.validation.labels)


def test_bad_settings(tmp_path, monkeypatch):
    RTE.sample(tmp_path)
    monkeypatch.delenv("LERAC_WEIGHTS", raising=False)
    with pytest.raises(StudyError, match="min_count is for tokens = words"):
        load(RTE, tmp_path, tokens="bert", min_count=2)
    with pytest.raises(StudyError, match=r"bert-large-uncased/vocab\.txt.*LERAC_WEIGHTS"):
        load(RTE, tmp_path, tokens="bert")
    monkeypatch.setenv("LERAC_WEIGHTS", str(tmp_path / "gone"))
    with pytest.raises(StudyError, match="gone is no folder"):
        load(RTE, tmp_path, tokens="bert")
    with pytest.raises(StudyError, match="train 101 \\+ validation 20 examples asked for"):
        load(RTE, tmp_path, train=101)
    with pytest.raises(StudyError, match="holds a generated sample"):
        load(RTE, tmp_path, sample=None)


def test_samples_share_a_vocabulary_and_overwrite_nothing(tmp_path, monkeypatch):
    for data in ALL.values():
        data.sample(tmp_path)
        assert data.check(tmp_path).sample
        assert data.check(tmp_path).counts == {"train": 120, "validation": 40}
    monkeypatch.setenv("LERAC_WEIGHTS", str(tmp_path / "weights"))
    inputs, _ = load(QNLI, tmp_path, tokens="bert", max_length=512).train.__getitems__([0])
    assert (inputs["input_ids"] != 1).all()  # nothing unknown
    assert (tmp_path / "RTE" / "test.tsv").read_text().split("\n")[0] == "index\tsentence1\tsentence2"
    with pytest.raises(StudyError, match="never written over data"):
        QNLI.sample(tmp_path)
    (tmp_path / "again").mkdir()
    QNLI.sample(tmp_path / "again")
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        assert (tmp_path / "again" / "QNLI" / name).read_bytes() == (tmp_path / "QNLI" / name).read_bytes()
    other = tmp_path / "other" / "weights" / "bert-large-uncased" / "vocab.txt"
    other.parent.mkdir(parents=True)
    other.write_text("mine\n")
    with pytest.raises(StudyError, match=r"vocab\.txt exists and is another one"):
        RTE.sample(tmp_path / "other")
    assert not (tmp_path / "other" / "RTE").exists()


@pytest.mark.parametrize("name", ALL)
def test_a_net_learns_the_sample(tmp_path, name):
    ALL[name].sample(tmp_path)
    data = load(ALL[name], tmp_path, tokens="words")
    torch.manual_seed(0)
    bag = torch.nn.EmbeddingBag(data.vocabulary, 2, mode="sum", padding_idx=0)
    optimizer = torch.optim.Adam(bag.parameters(), lr=0.1)
    for _ in range(20):
        for inputs, labels in load_batches(data.train, in_order(data.train, 50)):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(bag(inputs["input_ids"]), labels).backward()
            optimizer.step()
    inputs, labels = data.test.__getitems__(list(range(40)))
    assert (bag(inputs["input_ids"]).argmax(dim=1) == labels).float().mean() > 0.9


def test_all_that_are_left_and_validation_on_the_test_examples(tmp_path):
    RTE.sample(tmp_path)
    data = load(RTE, tmp_path, train=None, validation="test")
    assert (len(data.train), len(data.test)) == (120, 40)
    assert data.validation.index.tolist() == data.test.index.tolist()
    assert len(load(RTE, tmp_path, train=None, validation=12).train) == 108
