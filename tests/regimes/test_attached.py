"""`lerac.attach`: every regime on a plain loop, against loops that set every rate by hand."""

import copy
import json
import pickle
import random

import pytest
import torch
from tests.conftest import loss_of, make_net, same, train
from torch import nn

import lerac
from lerac.regimes.text import REGIMES

EPOCH = 4
ALL = [
    "conventional",
    "warmup(k=1.5)",
    "warmup(curve=exponential,k=1.5,ratio=1e-2)",
    "lerac(k=1.5,ratio=1e-3)",
    "lerac-reversed(k=1.5,ratio=1e-3)",
    "lerac-shuffled(k=1.5,ratio=1e-3)",
    "lerac(depth=registered,k=1.5,ratio=1e-3)",
    "lerac(curve=staircase,base=4,k=1.5,updates=3)",
    "cbs(every=0.5,sigma=2)",
    "cbs+lerac(every=0.5,k=1.5)",
    "unfreeze(k=1.5)",
    "unfreeze(depth=registered,k=1.5)",
    "layer-decay(factor=0.3)",
]
WITHOUT_CBS = [text for text in ALL if "cbs" not in text]


class Pictures(nn.Module):
    """Convolutions, for what smooths them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(-1, 1, 2, 3)
        return self.head(self.body(self.stem(x).tanh()).tanh().mean((2, 3)))


def make(seed=0, lr=0.5):
    torch.manual_seed(seed)
    model = Pictures()
    return model, torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def hooks(model, optimizer):
    on_model = [h for m in model.modules() for h in (*m._forward_pre_hooks.values(), *m._forward_hooks.values())]
    return [*on_model, *optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()]


@pytest.fixture
def trial(monkeypatch, tmp_path):
    """The environment of a run of a study."""

    def be(regime, seed=0):
        monkeypatch.setenv("LERAC_REGIME", regime)
        monkeypatch.setenv("LERAC_SEED", str(seed))
        monkeypatch.setenv("LERAC_FOLDER", str(tmp_path))
        return tmp_path / "attach.json"

    yield be
    from lerac.regimes import record

    record.finish()


def test_conventional_outside_of_a_study_does_nothing():
    plain, attached = make_net(), make_net()
    one, other = (torch.optim.Adam(net.parameters(), lr=0.01) for net in (plain, attached))
    found = lerac.attach(other, attached, epoch_steps=EPOCH, epochs=2)
    assert hooks(attached, other) == []
    assert other.state_dict() == torch.optim.Adam(make_net().parameters(), lr=0.01).state_dict()
    train(plain, one, range(8))
    train(attached, other, range(8))
    assert same(plain, attached)
    assert (found.regime, found.steps, found.finished, found.curriculum, found.smoothing) == (
        "conventional", 0, True, None, None,
    )  # fmt: skip
    assert found.lrs() == dict.fromkeys(dict(attached.named_parameters()), 0.01)


@pytest.mark.parametrize("curve", ["linear", "exponential"])
def test_a_warmup_is_a_loop_with_the_factor_set_by_hand(curve):
    k = 6

    def factor(step):
        if step >= k:
            return 1.0
        return step / k if curve == "linear" else 1e-2 ** (1 - step / k)

    by_hand, attached = make_net(), make_net()
    one, other = (torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9) for net in (by_hand, attached))
    scheduler = torch.optim.lr_scheduler.StepLR(other, 3, 0.5)
    options = "" if curve == "linear" else ",ratio=1e-2"
    lerac.attach(other, attached, f"warmup(curve={curve},k=1.5{options})", epoch_steps=EPOCH, epochs=3)
    for step in range(10):
        one.param_groups[0]["lr"] = 0.3 * 0.5 ** (step // 3) * factor(step)
        train(by_hand, one, range(step, step + 1))
        assert other.param_groups[0]["lr"] == 0.3 * 0.5 ** (step // 3)  # the user's scheduler sees nothing of it
        train(attached, other, range(step, step + 1))
        scheduler.step()
    assert same(by_hand, attached)


@pytest.mark.parametrize("order", ["lerac", "lerac-reversed", "lerac-shuffled"])
def test_lerac_and_its_controls_have_one_group_per_layer_by_hand(order):
    k, starts = 6, [1e-3 ** (j / 3) for j in range(4)]
    if order == "lerac-reversed":
        starts.reverse()
    by_hand, attached = make_net(), make_net()
    other = torch.optim.SGD(attached.parameters(), lr=0.3)
    found = lerac.attach(other, attached, f"{order}(k=1.5,ratio=1e-3)", epoch_steps=EPOCH, epochs=3, seed=5)
    if order == "lerac-shuffled":
        from lerac.regimes.drawing import derive

        random.Random(derive(5, "shuffled layers")).shuffle(starts)
        assert starts != sorted(starts, reverse=True)
    modules = [by_hand.stem, by_hand.body[0], by_hand.body[2], by_hand.head]
    one = torch.optim.SGD([{"params": list(m.parameters())} for m in modules], lr=0.3)
    for step in range(10):
        for group, start in zip(one.param_groups, starts, strict=True):
            group["lr"] = 0.3 * (start ** (1 - step / k) if step < k else 1.0)
        train(by_hand, one, range(step, step + 1))
        train(attached, other, range(step, step + 1))
        assert found.finished == (step + 1 >= k)
    assert same(by_hand, attached)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_smoothing_follows_the_steps_and_validation_has_the_sigma_that_was_trained_with(accumulate):
    model, optimizer = make()
    found = lerac.attach(optimizer, model, "cbs(decay=0.5,every=0.5,sigma=2)", epoch_steps=EPOCH)
    twin, plain = make()
    cbs = lerac.CBS(twin, sigma=2, decay=0.5, every=2)
    for step in range(9):
        for part in range(accumulate):
            loss_of(model, accumulate * step + part).backward()
            loss_of(twin, accumulate * step + part).backward()
            assert found.smoothing.sigma == 2 * 0.5 ** (step // 2)
        for each in (optimizer, plain):
            each.step()
            each.zero_grad()
        with torch.no_grad():
            trained_with = loss_of(model.eval(), 99)
            assert torch.equal(trained_with, loss_of(twin.eval(), 99))
        model.train(), twin.train()
        cbs.step()
        assert found.steps == step + 1
    assert same(model, twin)


@pytest.mark.parametrize("regime", ALL)
def test_nothing_is_drawn_and_removing_leaves_nothing(regime):
    model, optimizer = make()
    groups, states = copy.deepcopy(optimizer.state_dict()), (random.getstate(), torch.get_rng_state())
    found = lerac.attach(optimizer, model, regime, epoch_steps=EPOCH, seed=3)
    train(model, optimizer, range(3))
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    found.remove()
    assert hooks(model, optimizer) == []
    assert optimizer.state_dict()["param_groups"] == groups["param_groups"]
    lerac.attach(optimizer, model, regime, epoch_steps=EPOCH)


def rates_and_sigma(found):
    return found.lrs(), found.smoothing and found.smoothing.sigma, found.steps


@pytest.mark.parametrize("regime", ALL)
@pytest.mark.parametrize("at", [2, 6, 8])
def test_the_optimizers_checkpoint_carries_the_regime(regime, at):
    model, optimizer = make()
    lerac.attach(optimizer, model, regime, epoch_steps=EPOCH)
    train(model, optimizer, range(at))
    saved = pickle.loads(pickle.dumps((model.state_dict(), optimizer.state_dict())))
    train(model, optimizer, range(at, 12))

    again, other = make(seed=9)
    found = lerac.attach(other, again, regime, epoch_steps=EPOCH)
    again.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    train(again, other, range(at, 12))
    assert same(model, again)
    assert found.finished == ("cbs" not in regime and "decay" not in regime.partition("(")[0])


@pytest.mark.parametrize("regime", ALL)
def test_its_own_state_is_checked_and_goes_on(regime):
    model, optimizer = make()
    found = lerac.attach(optimizer, model, regime, epoch_steps=EPOCH)
    train(model, optimizer, range(5))
    state, rest = (
        json.loads(json.dumps(found.state_dict())),
        copy.deepcopy((model.state_dict(), optimizer.state_dict())),
    )
    train(model, optimizer, range(5, 12))
    again, other = make(seed=9)
    second = lerac.attach(other, again, regime, epoch_steps=EPOCH)
    second.load_state_dict(state)
    again.load_state_dict(rest[0])
    other.load_state_dict(rest[1])
    train(again, other, range(5, 12))
    assert same(model, again)
    with pytest.raises(ValueError, match="is of the regime"):
        second.load_state_dict({**state, "regime": "cbs(k=7)"})
    with pytest.raises(ValueError, match="lacks steps"):
        second.load_state_dict({k: v for k, v in state.items() if k != "steps"})
    with pytest.raises(ValueError, match="count of 0 or more"):
        second.load_state_dict({**state, "steps": -1})
    with pytest.raises(TypeError, match="is a dict"):
        second.load_state_dict(None)


@pytest.mark.parametrize("regime", ALL)
def test_copies_go_on_by_themselves(regime):
    model, optimizer = make()
    found = lerac.attach(optimizer, model, regime, epoch_steps=EPOCH)
    train(model, optimizer, range(3))
    other, its, copied = copy.deepcopy((model, optimizer, found))
    before = rates_and_sigma(found)
    assert rates_and_sigma(copied) == before
    train(other, its, range(3, 9))
    assert rates_and_sigma(found) == before
    train(model, optimizer, range(3, 9))
    assert same(model, other)
    assert rates_and_sigma(copied) == rates_and_sigma(found)


class Nested(torch.optim.SGD):
    """Its step() calls that of its parent, so torch runs the hooks twice."""

    def step(self, closure=None):
        return super().step(closure)


@pytest.mark.parametrize("cls", [torch.optim.SGD, Nested])
@pytest.mark.parametrize("regime", ALL)
def test_in_a_study_steps_are_counted_and_failing_ones_are_not(cls, regime, trial):
    trial(regime)
    model, _ = make()
    optimizer = cls(model.parameters(), lr=0.1)
    found = lerac.attach(optimizer, model, epoch_steps=EPOCH, epochs=4)
    for step in range(7):
        optimizer.zero_grad()

        def closure(step=step):
            raise ArithmeticError if step == 3 else None

        loss_of(model, step).backward()
        if step == 3:
            with pytest.raises(ArithmeticError):
                optimizer.step(closure)
        else:
            optimizer.step()
    assert found.steps == 6


def test_in_a_study_the_regime_is_that_of_the_run(trial):
    trial("lerac-shuffled(k=2)", seed=7)
    model, optimizer = make()
    found = lerac.attach(optimizer, model, epoch_steps=EPOCH)
    assert found.regime == "lerac-shuffled(curve=exponential,k=2,ratio=1e-6)"
    train(model, optimizer, range(1))
    drawn = found.curriculum.starts
    found.remove()
    for regime in ("lerac", "lerac-shuffled"):
        with pytest.raises(ValueError, match="leave regime out"):
            lerac.attach(optimizer, model, regime, epoch_steps=EPOCH)
    found = lerac.attach(optimizer, model, found.regime, epoch_steps=EPOCH, seed=8)
    train(model, optimizer, range(1))
    assert sorted(found.curriculum.starts.values()) == sorted(drawn.values())


def record(path):
    content = json.loads(path.read_text())
    return content, content["attached"][0]


@pytest.mark.parametrize("regime", ALL)
def test_the_record_says_what_pairing_needs(regime, trial):
    path = trial(regime, seed=4)
    model, optimizer = make()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    lerac.attach(optimizer, model, epoch_steps=EPOCH, epochs=2)
    content, entry = record(path)
    assert (content["seed"], entry["steps"], entry["ended"], entry["batch"]) == (4, 0, False, None)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 6))  # no training
        model.train()
    for step in range(8):
        train(model, optimizer, range(step, step + 1))
        scheduler.step()
    from lerac.regimes.record import finish

    finish()
    content, entry = record(path)
    assert (entry["steps"], entry["ended"], entry["epoch_steps"], entry["epochs"]) == (8, True, EPOCH, 2)
    assert entry["lr"] == [[0, 0.5], [2, 0.25], [4, 0.125], [6, 0.0625]]
    first = (entry["weights"], entry["batch"])
    assert all(first)
    if "lerac" in regime:
        assert (len(entry["layers"]), entry["k"]) == (4 - 1, 6)
    if "cbs" in regime:
        assert [step for step, _ in entry["sigma"]] == [0, 2, 4, 6, 8]

    # Of another regime both are the same; with other weights or another batch they are not.
    for change, same_weights, same_batch in (("", True, True), ("weights", False, True), ("batch", True, False)):
        path.unlink()
        trial("conventional", seed=4)
        model, optimizer = make(seed=1 if change == "weights" else 0)
        lerac.attach(optimizer, model, epoch_steps=EPOCH)
        train(model, optimizer, range(5, 7) if change == "batch" else range(2))
        finish()
        _, entry = record(path)
        assert (entry["weights"] == first[0], entry["batch"] == first[1]) == (same_weights, same_batch)


def test_a_resumed_training_keeps_the_hashes_of_its_beginning(trial):
    from lerac.regimes.record import finish

    path = trial("lerac(k=1)")
    model, optimizer = make()
    lerac.attach(optimizer, model, epoch_steps=EPOCH)
    train(model, optimizer, range(3))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    finish()
    _, first = record(path)
    for load_first in (True, False):
        model, optimizer = make(seed=3)
        if load_first:
            model.load_state_dict(saved[0]), optimizer.load_state_dict(saved[1])
        lerac.attach(optimizer, model, epoch_steps=EPOCH)
        if not load_first:
            model.load_state_dict(saved[0]), optimizer.load_state_dict(saved[1])
        train(model, optimizer, range(3, 6))
        finish()
        _, entry = record(path)
        assert (entry["weights"], entry["batch"]) == (first["weights"], first["batch"])
        assert (entry["steps"], entry["resumed"]) == (6, 3)


def test_several_optimizers_each_have_an_entry(trial):
    path = trial("lerac(k=1)")
    for seed in (0, 1):
        model, optimizer = make(seed)
        lerac.attach(optimizer, model, epoch_steps=EPOCH)
        train(model, optimizer, range(2))
    assert len(json.loads(path.read_text())["attached"]) == 2


def test_only_the_first_rank_writes(trial, monkeypatch):
    path = trial("lerac(k=1)")
    monkeypatch.setenv("RANK", "1")
    model, optimizer = make()
    lerac.attach(optimizer, model, epoch_steps=EPOCH)
    train(model, optimizer, range(2))
    assert not path.exists()


def test_what_is_wrong_is_said():
    model, optimizer = make()
    options = {"epoch_steps": EPOCH, "epochs": 2}
    with pytest.raises(TypeError):
        lerac.attach(optimizer, model, "lerac")
    for bad in (1.5, "4", None, True):
        with pytest.raises(TypeError, match="epoch_steps must be a whole number"):
            lerac.attach(optimizer, model, epoch_steps=bad)
    with pytest.raises(ValueError, match="at least 1 optimizer step"):
        lerac.attach(optimizer, model, epoch_steps=0)
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="epochs must be"):
            lerac.attach(optimizer, model, epoch_steps=4, epochs=bad)
    with pytest.raises(TypeError, match="epochs must be"):
        lerac.attach(optimizer, model, epoch_steps=4, epochs="2")
    with pytest.raises(TypeError, match="regime must be text"):
        lerac.attach(optimizer, model, 3, **options)
    with pytest.raises(ValueError, match="unknown regime"):
        lerac.attach(optimizer, model, "lerak", **options)
    with pytest.raises(ValueError, match=r"k = 3 epochs, 12 optimizer steps\) outlasts training \(2 epochs, 8 steps\)"):
        lerac.attach(optimizer, model, "lerac(k=3)", **options)
    with pytest.raises(ValueError, match="shorter than a step"):
        lerac.attach(optimizer, model, "warmup(k=0.1)", **options)
    with pytest.raises(ValueError, match=r"every = 0\.01 epochs is shorter than a step"):
        lerac.attach(optimizer, model, "cbs(every=0.01)", **options)
    with pytest.raises(ValueError, match="build it with the rate"):
        lerac.attach(optimizer, model, "lerac(k=1,lr=0.1)", **options)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        lerac.attach(optimizer, model, seed=-1, **options)
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer"):
        lerac.attach(None, model, **options)
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module"):
        lerac.attach(optimizer, None, **options)
    with pytest.raises(ValueError, match="leave layers out"):
        lerac.attach(
            optimizer, model, "lerac(depth=registered,k=1)", layers=lerac.registration_layers(model), **options
        )
    assert hooks(model, optimizer) == []
    lerac.attach(optimizer, model, "cbs+lerac(k=1,lr=0.5)", **options)
    for regime in ("lerac(k=1)", "cbs", "cbs+lerac(k=1)"):
        with pytest.raises(ValueError, match="already"):
            lerac.attach(optimizer, model, regime, **options)


def test_a_failed_attach_leaves_nothing():
    model = make_net()  # no convolution
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="found nothing to smooth"):
        lerac.attach(optimizer, model, "cbs+lerac", epoch_steps=EPOCH)
    assert hooks(model, optimizer) == []
    assert not [key for key in optimizer.param_groups[0] if key.startswith("lerac")]


@pytest.mark.parametrize("regime", sorted(REGIMES))
def test_every_regime_can_be_attached(regime):
    model, optimizer = make()
    found = lerac.attach(optimizer, model, regime, epoch_steps=1)
    train(model, optimizer, range(7))
    assert found.regime.startswith(regime)
    assert len(set(found.lrs().values())) == (3 if regime == "layer-decay" else 1)


def test_a_scaler_that_skips_a_step_is_followed(trial):
    path = trial("cbs+lerac(k=1)")
    model, optimizer = make()
    found = lerac.attach(optimizer, model, epoch_steps=EPOCH)
    scaler = torch.amp.GradScaler("cpu")
    for step in range(4):
        loss = loss_of(model, step)
        scaler.scale(loss * (float("inf") if step == 1 else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert found.steps == 3
    from lerac.regimes.record import finish

    finish()
    assert record(path)[1]["scaled"] is True


def test_a_compiled_model_is_smoothed_step_by_step():
    model, optimizer = make()
    found = lerac.attach(optimizer, model, "cbs(decay=0.5,every=0.25,sigma=2)", epoch_steps=EPOCH)
    compiled = torch.compile(model, backend="eager")
    for step in range(4):
        assert found.smoothing.sigma == 2 * 0.5**step
        train(compiled, optimizer, range(step, step + 1))
