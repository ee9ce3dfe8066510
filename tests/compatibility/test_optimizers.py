"""Optimizers and training loops of other libraries: every run equals the one with param groups made by hand."""

import copy
import re
from functools import partial

import numpy as np
import pytest
import pytorch_optimizer
import schedulefree
import skorch
import timm.optim
import torch
from torch import nn, optim

import lerac
from tests.compatibility.helpers.by_hand import LR, RATIO, STEPS, K, groups, set_rates
from tests.conftest import Net, layers_of, loss_of, make_net, same, train

KEEPS_OPTIONS = "ignore:.*keeps .* in its param groups, with other values for each layer:UserWarning"


def take_steps(model, optimizer, steps, before_step=lambda _: None, how="plain"):
    """Train on the batches of `tests.conftest`, the way that the optimizer wants it."""
    for step in steps:
        torch.manual_seed(step)  # some optimizers draw numbers,
        np.random.seed(step)  # and not only from torch
        optimizer.zero_grad()
        before_step(step)

        def closure():
            optimizer.zero_grad()
            loss = loss_of(model, step)  # noqa: B023
            loss.backward()
            return loss

        if how == "closure":  # SAM wants gradients before, too
            closure()
            optimizer.step(closure)
            continue
        loss_of(model, step).backward(create_graph=how == "second order")
        optimizer.step()
        if how == "second order":
            for parameter in model.parameters():  # else gradient and parameter hold each other
                parameter.grad = None


def check(make, how="plain", bias=True):
    """Compare with hand-made groups during the curriculum, and with the optimizer alone after it, bit for bit."""
    start = make_net(bias=bias)
    model, hand, plain = (copy.deepcopy(start) for _ in range(3))
    reference, optimizer = make(groups(hand)), make([{"params": list(model.parameters())}])
    lr = reference.param_groups[0]["lr"]
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))
    take_steps(model, optimizer, range(K), how=how)
    take_steps(hand, reference, range(K), lambda step: set_rates(reference, lr, step), how=how)
    assert same(model, hand)
    assert curriculum.finished
    conventional = make([{"params": list(plain.parameters())}])
    take_steps(plain, conventional, range(K), how=how)
    assert not same(model, plain), "the rates have no effect"

    plain.load_state_dict(model.state_dict())
    conventional.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_steps(model, optimizer, range(K, STEPS), how=how)
    take_steps(plain, conventional, range(K, STEPS), how=how)
    assert same(model, plain)


# torch

OF_TORCH = {name for name in optim.__all__ if isinstance(getattr(optim, name), type)} - {"Optimizer"}
NO_RATE_PER_LAYER = {"LBFGS", "Rprop"}
SPARSE = {"SparseAdam"}


@pytest.mark.compatible("optimizers of torch.optim")
@pytest.mark.parametrize("name", sorted(OF_TORCH - NO_RATE_PER_LAYER - SPARSE))
def test_every_optimizer_of_torch(name):
    """Hand-made param groups, bit for bit, and the optimizer alone after the curriculum; every class but those below"""
    check(partial(getattr(optim, name), lr=1e-2), bias=name != "Muon")


@pytest.mark.compatible("optimizers of torch.optim")
def test_sparse_gradients():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Embedding(5, 4, sparse=True), nn.EmbeddingBag(5, 4, sparse=True)

        def forward(self, words):
            return self.first(words).sum(1) + self.second(words)

    def run(model, optimizer, before_step):
        for step in range(STEPS):
            optimizer.zero_grad()
            model(torch.tensor([[step % 5, 1]])).pow(2).sum().backward()
            before_step(step)
            optimizer.step()
        return model

    torch.manual_seed(0)
    model = Words()
    hand = copy.deepcopy(model)
    layers = [lerac.Layer(name, depth, (f"{name}.weight",)) for depth, name in enumerate(["first", "second"])]
    optimizer = optim.SparseAdam(model.parameters(), lr=LR)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers)
    reference = optim.SparseAdam(groups(hand, first=1.0, second=RATIO), lr=LR)
    run(hand, reference, lambda step: set_rates(reference, LR, step))
    assert same(run(model, optimizer, lambda _: None), hand)


@pytest.mark.compatible("LBFGS", does_not="it allows one param group only; LeRaC says so")
def test_lbfgs_refuses_param_groups_and_lerac_says_so():
    assert pytorch_optimizer.load_optimizer("lbfgs") is optim.LBFGS
    model = make_net()
    with pytest.raises(ValueError, match="LBFGS doesn't support per-parameter options"):
        optim.LBFGS(groups(model))
    with pytest.raises(TypeError, match="LBFGS cannot have one learning rate per layer"):
        lerac.LeRaC(optim.LBFGS(model.parameters()), model, k=K)


@pytest.mark.compatible("Rprop", does_not="it uses the rate in its first step only; LeRaC says so")
def test_rprop_ignores_later_rates_and_lerac_says_so():
    before, after = make_net(), make_net()
    for model, factor in ((before, 1.0), (after, 1e-3)):
        optimizer = optim.Rprop(model.parameters(), lr=1e-2)
        train(model, optimizer, range(1))
        optimizer.param_groups[0]["lr"] *= factor
        train(model, optimizer, range(1, STEPS))
    assert same(before, after)
    with pytest.raises(TypeError, match="Rprop cannot have one learning rate per layer"):
        lerac.LeRaC(optim.Rprop(before.parameters()), before, k=K)


# timm

NEEDS_CUDA = re.compile("bnb|fused")
OF_TIMM = timm.optim.list_optimizers()


@pytest.mark.compatible("optimizers of timm")
@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True:UserWarning")
@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum' installed:UserWarning")
@pytest.mark.parametrize("name", [name for name in OF_TIMM if not NEEDS_CUDA.match(name)])
def test_every_optimizer_of_timm(name):
    """Hand-made param groups, bit for bit, and the optimizer alone after the curriculum; all that its factory lists
    but those of bitsandbytes and Apex, which need CUDA"""
    how = "second order" if name == "adahessian" else "plain"
    check(lambda parameters: timm.optim.create_optimizer_v2(parameters, opt=name, lr=1e-2), how)


@pytest.mark.parametrize("name", [name for name in OF_TIMM if NEEDS_CUDA.match(name)])
def test_what_is_left_out_of_timm_needs_cuda(name):
    with pytest.raises(AssertionError, match="CUDA required"):
        timm.optim.create_optimizer_v2(make_net(), opt=name, lr=1e-2)


@pytest.mark.compatible("Lookahead of timm")
def test_lookahead_is_followed_to_the_optimizer_inside():
    """Lookahead around hand-made param groups, bit for bit"""
    check(lambda parameters: timm.optim.create_optimizer_v2(parameters, opt="lookahead_adamw", lr=1e-2))


# pytorch_optimizer

OPTIONS = {
    "adafactor": {"relative_step": False},  # see below
    "adashift": {"keep_num": 2},  # it begins to move after that many steps
    "apollodqn": {"warmup_steps": 0},  # a warm-up of its own
    "bsam": {"num_data": 16},
    "ranger21": {"num_iterations": 50},
    "sara": {"threshold": 10.0},  # trains the weights below it only
}
WITH_MUON = {"adago", "adamuon", "muon", "muonclip", "normuon"}
HOW = {"adahessian": "second order", "sophiah": "second order", "bsam": "closure"}
ONE_RATE = {"dadaptadagrad", "dadaptadam", "dadaptadan", "dadaptlion", "dadaptsgd", "prodigy"}
UNTESTED = {"demo": "You need to install `einops`", "distributedmuon": "Default process group has not been initialized"}
ELSEWHERE = {"adalomo", "adammini", "lomo", "lbfgs"}  # in tests of their own
DO_NOT = {  # name: reason, what one reads
    "a2grad": ("it has no learning rate; LeRaC says so", "A2Grad has no learning rate 'lr' in its param groups"),
    "alig": ("it has no learning rate; LeRaC says so", "AliG has no learning rate 'lr' in its param groups"),
    "asgd": ("it sets its own rate in every step; LeRaC says so", r"ASGD.step\(\) sets its own learning rate"),
    "adabound": (
        "it keeps a list of rates by the number of the param group; LeRaC says so",
        "AdaBound cannot have one learning rate per layer, because it keeps a list of rates",
    ),
}
SWEEP = sorted(
    set(pytorch_optimizer.get_supported_optimizers()) - ONE_RATE - UNTESTED.keys() - ELSEWHERE - DO_NOT.keys()
)


def of_pytorch_optimizer(name, parameters, **options):
    muon = {"use_muon": True} if name in WITH_MUON | {"distributedmuon"} else {}
    make = pytorch_optimizer.load_optimizer(name)
    return make([group | muon for group in parameters], **{"lr": 1e-2} | OPTIONS.get(name, {}) | options)


@pytest.mark.compatible("optimizers of pytorch_optimizer")
@pytest.mark.filterwarnings(KEEPS_OPTIONS)
@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True:UserWarning")
@pytest.mark.parametrize("name", SWEEP)
def test_every_optimizer_of_pytorch_optimizer(name):
    """Hand-made param groups, bit for bit, and the optimizer alone after the curriculum; every optimizer but those
    below, and DeMo and DistributedMuon, which are not tested"""
    matrices = WITH_MUON | {"spectralsphere"}
    check(partial(of_pytorch_optimizer, name), HOW.get(name, "plain"), bias=name not in matrices)


@pytest.mark.parametrize("name", UNTESTED)
def test_what_is_not_tested_of_pytorch_optimizer_needs_more_than_is_here(name):
    with pytest.raises((ImportError, ValueError), match=UNTESTED[name]):
        of_pytorch_optimizer(name, groups(make_net()))


def does_not(name, reason, message):
    row = f"{pytorch_optimizer.load_optimizer(name).__name__} (pytorch_optimizer)"
    return pytest.param(name, message, id=name, marks=pytest.mark.compatible(row, does_not=reason))


@pytest.mark.parametrize(("name", "message"), [does_not(name, *why) for name, why in DO_NOT.items()])
def test_the_error_that_one_reads(name, message):
    model = make_net()
    optimizer = of_pytorch_optimizer(name, [{"params": list(model.parameters())}])
    with pytest.raises((TypeError, RuntimeError), match=message):  # noqa: PT012 # at once or in the first step
        lerac.LeRaC(optimizer, model, k=K, layers=layers_of(model))
        train(model, optimizer, range(1))


@pytest.mark.compatible(
    "Prodigy and D-Adaptation (pytorch_optimizer)",
    does_not="they use one rate for all param groups; LeRaC says so",
)
@pytest.mark.filterwarnings(KEEPS_OPTIONS)
@pytest.mark.parametrize("name", sorted(ONE_RATE))
def test_groups_made_by_hand_have_no_effect_and_lerac_says_so(name):
    hand, plain = make_net(), make_net()
    make = partial(of_pytorch_optimizer, name, lr=1.0, d0=1e-2)
    reference, conventional = make(groups(hand)), make([{"params": list(plain.parameters())}])
    train(hand, reference, range(K), lambda step: set_rates(reference, 1.0, step))
    train(plain, conventional, range(K))
    assert same(hand, plain)
    assert not same(plain, make_net())
    with pytest.raises(TypeError, match="cannot have one learning rate per layer"):
        lerac.LeRaC(conventional, plain, k=K)


@pytest.mark.compatible(
    "Adafactor with relative_step=True (pytorch_optimizer)",
    does_not="it makes its own rate; LeRaC says so; works with relative_step=False",
)
def test_any_rate_gives_the_same_and_lerac_says_so():
    slow, fast = make_net(), make_net()
    for model, lr in ((slow, 1e-9), (fast, 1.0)):
        optimizer = pytorch_optimizer.AdaFactor(model.parameters(), lr=lr, relative_step=True)
        train(model, optimizer, range(STEPS))
    assert same(slow, fast)
    assert not same(slow, make_net())
    with pytest.raises(TypeError, match="build it with relative_step=False"):
        lerac.LeRaC(optimizer, model, k=K)


@pytest.mark.compatible("Adam-mini (pytorch_optimizer)")
def test_an_optimizer_that_makes_its_groups_from_the_model():
    """The rates of its own groups set by hand, bit for bit"""
    model, hand = make_net(), make_net()
    optimizer, reference = (pytorch_optimizer.AdamMini(net, lr=LR) for net in (model, hand))
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    starts = {id(p): group["start"] for group in groups(hand) for p in group["params"]}
    for group in reference.param_groups:
        group["start"] = starts[id(group["params"][0])]
    train(model, optimizer, range(STEPS))
    train(hand, reference, range(STEPS), lambda step: set_rates(reference, LR, step))
    assert same(model, hand)


@pytest.mark.compatible(
    "LOMO and AdaLOMO (pytorch_optimizer)",
    does_not="they update in `fused_backward(loss, lr)`, without a step; LeRaC says so",
)
@pytest.mark.parametrize("make", [pytorch_optimizer.LOMO, pytorch_optimizer.AdaLOMO])
def test_there_is_no_step(make):
    model = make_net()
    optimizer = make(model, lr=LR)
    with pytest.raises(NotImplementedError):
        optimizer.step()
    with pytest.raises(TypeError, match=r"updates parameters in fused_backward\(\), during the backward pass"):
        lerac.LeRaC(optimizer, model, k=K)


@pytest.mark.compatible("SAM (pytorch_optimizer)")
def test_sharpness_aware_minimization():
    """SAM around hand-made param groups, bit for bit"""
    check(partial(pytorch_optimizer.SAM, base_optimizer=optim.SGD, lr=LR, momentum=0.9), "closure")


@pytest.mark.compatible("Lookahead of pytorch_optimizer")
def test_the_other_lookahead():
    """Lookahead around hand-made param groups, bit for bit"""
    check(lambda parameters: pytorch_optimizer.Lookahead(optim.AdamW(parameters, lr=1e-2)))


# schedule-free


@pytest.mark.compatible("schedulefree")
@pytest.mark.filterwarnings(KEEPS_OPTIONS)
@pytest.mark.parametrize("name", ["SGDScheduleFree", "AdamWScheduleFree", "RAdamScheduleFree"])
def test_schedule_free_keeps_its_sums_per_layer(name):
    """Hand-made param groups, bit for bit, the averaged weights of eval() too; after the curriculum the optimizer
    alone, with the sums of the layers next to the input"""

    def make(parameters):
        optimizer = getattr(schedulefree, name)(parameters, lr=LR)
        optimizer.train()
        return optimizer

    check(make)
    model, hand = make_net(), make_net()
    optimizer, reference = make(model.parameters()), make(groups(hand))
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers_of(model))
    train(model, optimizer, range(K))
    train(hand, reference, range(K), lambda step: set_rates(reference, LR, step))
    trained = copy.deepcopy(model)
    optimizer.eval()
    reference.eval()
    assert same(model, hand)
    assert not same(model, trained)


# Training loops


def batches():
    """The data of the tests of training loops, in a fixed order."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(48, 6, generator=generator), torch.randint(0, 3, (48,), generator=generator)


def epochs_by_hand(make, epochs):
    x, y = batches()
    model = make_net()
    optimizer = make(groups(model))
    for step in range(3 * epochs):
        at = slice(16 * (step % 3), 16 * (step % 3) + 16)
        set_rates(optimizer, LR, step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[at]), y[at]).backward()
        optimizer.step()
    return model


class BeginWithLeRaC(skorch.callbacks.Callback):
    def on_train_begin(self, net, **_):
        lerac.LeRaC(net.optimizer_, net.module_, k=K, ratio=RATIO)


@pytest.mark.compatible("skorch")
def test_a_callback_of_one_line():
    """The loop by hand over the same batches, bit for bit; LeRaC(net.optimizer_, net.module_, …) in on_train_begin"""
    torch.manual_seed(0)
    x, y = batches()
    net = skorch.NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=optim.SGD,
        optimizer__momentum=0.9,
        lr=LR,
        batch_size=16,
        max_epochs=3,
        train_split=None,
        callbacks=[BeginWithLeRaC()],
        verbose=0,
    )
    torch.manual_seed(0)
    net.initialize()
    net.module_.load_state_dict(make_net().state_dict())
    net.partial_fit(x.numpy(), y.numpy())
    assert same(net.module_, epochs_by_hand(partial(optim.SGD, momentum=0.9), 3))


FASTAI_IMPORTS = "ignore:`torch.jit.script` is deprecated:FutureWarning"


def learner(opt_func):
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner

    data = DataLoader(list(zip(*batches(), strict=True)), bs=16, num_workers=0)
    return Learner(DataLoaders(data, data), make_net(), nn.CrossEntropyLoss(), lr=LR, opt_func=opt_func)


@pytest.mark.compatible("fastai with an optimizer of torch")
@pytest.mark.filterwarnings(FASTAI_IMPORTS)
def test_optim_wrapper_is_followed_to_the_optimizer_inside():
    """The loop by hand over the same batches, bit for bit; LeRaC(learn.opt, learn.model, …) after learn.create_opt(),
    with opt_func=partial(OptimWrapper, opt=…)"""
    from fastai.optimizer import OptimWrapper

    learn = learner(partial(OptimWrapper, opt=optim.AdamW))
    learn.create_opt()
    lerac.LeRaC(learn.opt, learn.model, k=K, ratio=RATIO)
    with learn.no_logging():
        learn.fit(3)
    assert same(learn.model, epochs_by_hand(partial(optim.AdamW, lr=LR), 3))


@pytest.mark.compatible(
    "fastai with its own optimizers", does_not="they are no torch.optim.Optimizer and run no hooks; LeRaC says so"
)
@pytest.mark.filterwarnings(FASTAI_IMPORTS)
def test_optimizers_of_fastai_are_refused():
    from fastai.optimizer import Adam

    learn = learner(Adam)
    learn.create_opt()
    assert not isinstance(learn.opt, optim.Optimizer)
    with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer, got Optimizer"):
        lerac.LeRaC(learn.opt, learn.model, k=K)
