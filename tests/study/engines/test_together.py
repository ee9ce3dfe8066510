"""Two processes with gloo that train a run together, against one process that sees the same examples."""

import pytest
import torch
from studies import equal, make_run, make_study, train_here, trained, untimed, weights
from tests.ranks import on_two_ranks
from torch import nn

from lerac.study.engines.together import train_together
from lerac.study.runs.run import RunFolder
from lerac.study.training.optimizing import layer_rates
from lerac.study.training.training import Training
from lerac.study.training.training import build as plain_build

pytestmark = pytest.mark.wide

# Networks without batch statistics and dropout; parts of equal size, and a last batch of a single example.
PLAIN = {
    "equal shards": ("lenet/digits", "lerac", ()),
    "accumulated": ("lenet/digits", "cbs+lerac(every=1,k=1.5)", ("training.batch_size=10", "training.accumulate=3")),
    "one example is left, clipped": ("lenet/digits", "warmup", ("data.train=65", "training.clip_norm=0.1")),
    # Not Adam, which makes steps of the rounding of gradients that should be 0, such as those of the keys' bias.
    "attention": ("small-vit/digits", "lerac", ("optimizer.name=sgd", "optimizer.lr=0.05")),
    "plateau": (
        "lenet/digits",
        "lerac",
        ("schedule.name=plateau", "schedule.divide_by=10", "schedule.patience=0", "optimizer.lr=1e-7"),
    ),
}
FIRST = "data.validation=41"  # an odd number, which two processes cannot halve


def plain_run(task, processes):
    recipe, regime, overrides = PLAIN[task]
    rate = ("optimizer.lr=0.05",) if recipe.startswith("lenet") else ()
    return make_run(regime, recipe=recipe, epochs=3, overrides=(FIRST, *rate, *overrides), processes=processes)


def watched(run, epochs=None):
    """Train, and give all that should agree: rates before every step, history, weights, test."""
    training, rates = Training(run), []
    end_step = training._end_step

    def watch():
        rates.append(layer_rates(training._rate, training._curriculum))
        end_step()

    training._end_step = watch
    while not training.over:
        training.run_epoch()
    best = training.test()
    layers = [layer.as_dict() for layer in training._curriculum.layers] if training._curriculum else None
    return {
        "rates": rates,
        "layers": layers,
        "history": untimed(training.history),
        "weights": weights(training),
        "steps": training.steps,
        "loss": best.loss,
        "kept": dict(best.kept),
    }


def batch_statistics(folder):
    return watched(make_run("lerac", epochs=2, overrides=(FIRST, "data.train=75"), processes=2))


def dropout(folder):
    """Masks that the network draws in training; twice the same run."""

    def build(run):
        data, network = plain_build(run)
        network.mask = nn.Dropout(0.5)
        network.register_forward_pre_hook(lambda module, args: (keep(module.mask(args[0])), *args[1:]))
        return data, network

    def keep(x):
        if x.requires_grad or torch.is_grad_enabled():
            masks.append((x == 0).float().mean().item())
        return x

    import lerac.study.training.training as module

    module.build, results, masks = build, [], []
    try:
        run = make_run(epochs=1, recipe="lenet/digits", processes=2)
        for _ in range(2):
            training = trained(run)
            results.append((weights(training), untimed(training.history)))
    finally:
        module.build = plain_build
    return results, masks


def low_precision(folder):
    return watched(make_run("lerac", epochs=1, recipe="lenet/digits", processes=2, precision="bf16"))


def whole_run(folder):
    [run] = make_study("lerac", epochs=3, processes=2).runs()
    return train_together_again(folder / "whole", run)


def continued_run(folder):
    """Stopped after the first epoch, in both processes, and continued by the same call."""
    [run] = make_study("lerac", epochs=3, processes=2).runs()
    run_epoch, stopped = Training.run_epoch, False

    def stop(self):
        if len(self.history) == 1:
            raise KeyboardInterrupt
        run_epoch(self)

    Training.run_epoch = stop
    try:
        train_together_again(folder / "continued", run)
    except KeyboardInterrupt:
        stopped = True
    finally:
        Training.run_epoch = run_epoch
    before = len(RunFolder(folder / "continued", run).history())
    return stopped, before, train_together_again(folder / "continued", run)


def train_together_again(folder, run):
    """Train as the command does, which has made the folder, but keep the processes connected for the next task."""
    from accelerate import PartialState

    folder.mkdir(exist_ok=True)
    destroy = PartialState.destroy_process_group
    PartialState.destroy_process_group = lambda self, group=None: None
    try:
        return train_together(folder, run)
    finally:
        PartialState.destroy_process_group = destroy


def plain_task(name):
    return lambda folder: watched(plain_run(name, 2))


TASKS = {
    **{name: plain_task(name) for name in PLAIN},
    "batch statistics": batch_statistics,
    "dropout": dropout,
    "low precision": low_precision,
    "whole run": whole_run,
    "continued run": continued_run,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def answers(folder):
    """What each process answered to each task."""
    return on_two_ranks(__name__, folder, connected=False, seconds=240)


@pytest.mark.parametrize("task", PLAIN)
def test_two_processes_train_as_one_that_sees_the_same_examples(answers, task):
    alone = watched(plain_run(task, 1))
    one, other = answers(task)
    assert equal(one["weights"], other["weights"])
    assert one["history"] == other["history"]
    for both in (one, other):
        assert both["steps"] == alone["steps"]
        assert both["layers"] == alone["layers"]
        assert both["rates"] == alone["rates"]
        for name, tensor in alone["weights"].items():
            torch.testing.assert_close(both["weights"][name], tensor, rtol=2e-4, atol=1e-5)
        for entry, expected in zip(both["history"], alone["history"], strict=True):
            assert entry.keys() == expected.keys()
            for key, value in expected.items():
                assert entry[key] == pytest.approx(value, rel=1e-4), key
        assert both["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert torch.equal(both["kept"]["label"], alone["kept"]["label"])
        assert both["kept"]["predicted"].shape == alone["kept"]["predicted"].shape


def test_the_plateau_was_really_reached(answers):
    rates = [step["all"] for step in answers("plateau")[0]["rates"]]
    assert rates[-1] < rates[0]


def test_with_batch_statistics_both_have_the_same_layers_rates_and_weights(answers):
    one, other = answers("batch statistics")
    assert one["layers"] == other["layers"]
    assert len(one["layers"]) > 3
    assert one["rates"] == other["rates"]
    assert len({tuple(rates.values()) for rates in one["rates"]}) > 3  # they change
    assert equal(one["weights"], other["weights"])  # the statistics themselves, too
    assert any("running_mean" in name for name in one["weights"])
    assert one["history"] == other["history"]
    assert one["loss"] == other["loss"]


def test_each_process_has_dropout_of_its_own_and_the_run_is_deterministic(answers):
    (first, masks), (second, other_masks) = answers("dropout")
    assert masks
    assert masks != other_masks
    for results in (first, second):
        (some, history), (again, same_history) = results
        assert equal(some, again)
        assert history == same_history
    assert equal(first[0][0], second[0][0])


def test_low_precision_agrees_too(answers):
    one, other = answers("low precision")
    assert equal(one["weights"], other["weights"])
    alone = trained(make_run("lerac", epochs=1, recipe="lenet/digits", precision="bf16"))
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(one["weights"][name], tensor, rtol=0.05, atol=0.01)


def test_only_the_main_process_writes_and_a_continued_run_is_an_undisturbed_one(answers, folder):
    files = {"checkpoint.pt", "config.json", "metrics.jsonl", "predictions.npz", "status.json"}
    assert answers("whole run") == [0, 0]
    (main, one), (other, _) = [(answer[::2], answer[1]) for answer in answers("continued run")]
    assert main == other == (True, 0)
    assert one == 1  # the other process may have looked before the main one wrote
    study = make_study("lerac", epochs=3, processes=2)
    tables = [
        (train_here(folder / name, study, runs=[]) / "results.csv").read_bytes() for name in ("whole", "continued")
    ]
    assert tables[0] == tables[1]
    assert tables[0].count(b"\n") == 5
    [run] = study.runs()
    names = {path.name for path in (folder / "whole" / run.folder).iterdir()}
    assert names == files | {".lock"}
    one, other = (untimed(RunFolder(folder / name, run).history()) for name in ("whole", "continued"))
    assert one == other
    assert len(one) == 3
