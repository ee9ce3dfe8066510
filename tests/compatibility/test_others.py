"""Packages that are not installed where the tests run, each by a stand-in; every run equals the one by hand."""

import copy
from functools import partial

import pytest
import torch
from torch import nn, optim

import lerac
from tests.compatibility.helpers.by_hand import LR, RATIO, STEPS, K, groups, set_rates, trained_by_hand
from tests.compatibility.helpers.stand_ins import (
    CachedSteps,
    DecayRelativeToTheRate,
    Engine,
    Float8Linear,
    Graph,
    GraphNet,
    NumberedOverrides,
    RateInATensor,
    UNet,
    WritesItsRateBack,
    ZeroOptimizer,
)
from tests.conftest import layers_of, loss_of, make_net, same, train

KEEPS_OPTIONS = "ignore:.*keeps .* in its param groups, with other values for each layer:UserWarning"
sgd = partial(optim.SGD, lr=LR, momentum=0.9)


def check(make):
    """Compare with hand-made groups during the curriculum, and with the optimizer alone after it, bit for bit."""
    model, hand, plain = make_net(), make_net(), make_net()
    optimizer, reference = make(model.parameters()), make(groups(hand))
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    train(model, optimizer, range(K))
    train(hand, reference, range(K), lambda step: set_rates(reference, reference.defaults["lr"], step))
    assert same(model, hand)
    assert curriculum.finished
    conventional = make(plain.parameters())
    train(plain, conventional, range(K))
    assert not same(model, plain)
    plain.load_state_dict(model.state_dict())
    conventional.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for net, own in ((model, optimizer), (plain, conventional)):
        train(net, own, range(K, STEPS))
    assert same(model, plain)


@pytest.mark.compatible("heavyball 3.2.1, by a stand-in")
@pytest.mark.filterwarnings(KEEPS_OPTIONS)
def test_a_rate_that_is_written_back_is_no_rate_of_its_own():
    """Hand-made param groups, bit for bit, and the optimizer alone after the curriculum; AdamW, Muon, SOAP, SGD"""
    check(partial(WritesItsRateBack, lr=LR))


@pytest.mark.compatible("optimi 0.3.3, by a stand-in")
def test_decay_by_the_share_of_the_largest_rate():
    """Hand-made param groups, bit for bit, and the optimizer alone after the curriculum; also with decoupled decay"""
    check(partial(DecayRelativeToTheRate, lr=LR))


@pytest.mark.compatible(
    "optimi 0.3.3 with gradient_release=True, by a stand-in",
    does_not="its step updates one parameter at a time, without reading param groups; LeRaC says so",
)
def test_a_step_of_one_parameter_is_no_step():
    model = make_net()
    optimizer = DecayRelativeToTheRate(model.parameters(), lr=LR)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda p: optimizer.step(param=p))
    with pytest.raises(RuntimeError, match="updates parameters without reading its param_groups"):
        loss_of(model, 0).backward()


def own_caches(parameters):
    parts = [part if isinstance(part, dict) else {"params": [part]} for part in parameters]
    return CachedSteps([part | {"buffer": [[None, None] for _ in range(10)]} for part in parts], lr=LR)


@pytest.mark.compatible("torch_optimizer 0.3.0, by a stand-in")
@pytest.mark.filterwarnings(KEEPS_OPTIONS)
def test_every_layer_has_its_own_cache_of_step_sizes():
    """Hand-made param groups, bit for bit, and the optimizer alone after the curriculum; of RAdam groups with a
    buffer each, since those that share the default one share the first group's rate. All but AdaBound, which LeRaC
    refuses, and Lookahead, whose `state_dict` fails in today's torch"""
    check(own_caches)


@pytest.mark.compatible("bitsandbytes 0.50.2, by a stand-in")
def test_state_by_parameter_under_a_load_of_its_own():
    """Hand-made param groups, bit for bit, and the optimizer alone after the curriculum; on the CPU every one
    that runs there, 8-bit, 32-bit and paged"""
    check(partial(NumberedOverrides, lr=LR))


@pytest.mark.compatible(
    "bitsandbytes 0.50.2 with overrides of single parameters, by a stand-in",
    does_not="it keeps them by the number of the param group; LeRaC says so",
)
def test_overrides_by_the_number_of_the_group_are_refused():
    model = make_net()
    optimizer = NumberedOverrides(model.parameters(), lr=LR, overrides=[(model.head.weight, {"lr": 0.0})])

    def run():
        lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
        train(model, optimizer, range(K))

    with pytest.raises((TypeError, RuntimeError), match="override"):
        run()


@pytest.mark.compatible("optimizers of torchao 0.18.0, by a stand-in")
def test_a_rate_in_a_tensor_stays_one():
    """Hand-made param groups, bit for bit, and the optimizer alone after the curriculum; its Adam and AdamW of 8, 4
    and fp8 bits, compiled (AdamW8bit) and not"""
    check(partial(RateInATensor, lr=LR))


@pytest.mark.compatible("float8 training of torchao 0.18.0, by a stand-in")
def test_linear_layers_in_float8():
    """The loop by hand, bit for bit, with a group for each parameter: the bias of such a layer is added after its
    product, and comes a level after the weight"""

    def network():
        torch.manual_seed(0)
        return nn.Sequential(Float8Linear(6, 8), nn.Tanh(), Float8Linear(8, 8), nn.Tanh(), Float8Linear(8, 3))

    model, hand = network(), network()
    optimizer = sgd(model.parameters())
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    reference = sgd([{"params": [p], "start": RATIO ** (depth / 5)} for depth, p in enumerate(hand.parameters())])
    train(model, optimizer, range(STEPS))
    train(hand, reference, range(STEPS), lambda step: set_rates(reference, LR, step))
    assert same(model, hand)


# DeepSpeed


@pytest.mark.compatible("DeepSpeed 0.19.8, stage 0, by a stand-in")
@pytest.mark.parametrize("order", ["before", "after"])
def test_an_engine_that_leaves_the_optimizer_as_it_is(order):
    """The loop by hand, bit for bit; LeRaC(optimizer, model, …) before `deepspeed.initialize`, or with the optimizer
    and the engine that it gives"""
    model = make_net()
    optimizer = sgd(model.parameters())
    if order == "before":
        lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    engine = Engine(model, optimizer)
    if order == "after":
        lerac.LeRaC(engine.optimizer, engine, k=K, ratio=RATIO)
    for step in range(STEPS):
        engine.backward(loss_of(engine, step))
        engine.step()
    assert same(model, trained_by_hand(sgd))


@pytest.mark.compatible(
    "DeepSpeed 0.19.8, stages 1 to 3, by a stand-in",
    does_not="its optimizers flatten the parameters of all layers into one tensor; LeRaC says so",
)
@pytest.mark.parametrize("name", ["DeepSpeedZeroOptimizer", "DeepSpeedZeroOptimizer_Stage3"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_flattened_parameters_are_refused(name, order):
    model = make_net()
    optimizer = sgd(model.parameters())
    wrapper = type(name, (ZeroOptimizer,), {"__module__": "deepspeed.runtime.zero.stage_1_and_2"})

    def run():
        if order == "before":
            lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
        wrapped = wrapper(optimizer)
        if order == "after":
            lerac.LeRaC(wrapped, model, k=K, ratio=RATIO)
        loss_of(model, 0).backward()
        optimizer.param_groups[0]["params"][0].grad = torch.ones_like(optimizer.param_groups[0]["params"][0])
        wrapped.step()

    message = f"DeepSpeed's {name} flattens .* use stage 0" if order == "after" else "DeepSpeed has flattened .*stage 0"
    with pytest.raises((TypeError, ValueError), match=message):
        run()


# Models and loops of other libraries


def equals_the_loop_by_hand(model, loss, order):
    """Train with a curriculum, and by hand with a group for each of the layers in `order`."""
    hand, start = copy.deepcopy(model), copy.deepcopy(model)
    optimizer = sgd(model.parameters())
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    starts = [RATIO ** (depth / (len(order) - 1)) for depth in range(len(order))]
    layers = [
        {"params": [p for name in names for p in hand.get_submodule(name).parameters()], "start": start}
        for names, start in zip(order, starts, strict=True)
    ]
    reference = sgd(layers)
    for step in range(STEPS):
        for net, own in ((model, optimizer), (hand, reference)):
            own.zero_grad()
            loss(net, step).backward()
        set_rates(reference, LR, step)
        reference.step()
        optimizer.step()
    assert same(model, hand)
    assert not same(model, start)


def drawn(step, *shapes):
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


@pytest.mark.compatible("diffusers 0.42.1, by a stand-in")
@pytest.mark.parametrize("as_dict", [True, False])
def test_a_model_of_a_sample_and_a_time(as_dict):
    """The loop by hand, bit for bit, with a group for each layer; `UNet2DModel` with its own results and with tuples"""

    def loss(model, step):
        noise, sample = drawn(step, (3, 2, 4, 4), (3, 2, 4, 4))
        given = model(sample + noise, torch.tensor([1, 5, 9]), return_dict=as_dict)
        return nn.functional.mse_loss(given.sample if as_dict else given[0], noise)

    equals_the_loop_by_hand(UNet(), loss, [["conv_in", "time_embedding"], ["down"], ["up"], ["conv_out"]])


@pytest.mark.compatible("PyG 2.8.1, by a stand-in")
def test_a_model_of_a_graph():
    """The loop by hand, bit for bit, with a group for each layer; GCNConv, GATConv and SAGEConv, called with a batch of
    graphs and with tensors"""

    def loss(model, step):
        (x,) = drawn(step, (5 + step % 2, 4))
        edges = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]])
        return model(Graph(x, edges)).square().sum()

    equals_the_loop_by_hand(GraphNet(), loss, [["first"], ["second"], ["head"]])


@pytest.mark.compatible("ignite 0.5.5, by a stand-in")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_engine_of_events(accumulate):
    """The loop by hand, bit for bit, gradients accumulated or not; the line before `create_supervised_trainer`"""
    model = make_net()
    optimizer = sgd(model.parameters())
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)

    def process(engine, iteration):  # as `supervised_training_step` does
        if iteration % accumulate == 0:
            optimizer.zero_grad()
        model.train()
        (loss_of(model, iteration) / accumulate).backward()
        if (iteration + 1) % accumulate == 0:
            optimizer.step()

    for iteration in range(STEPS * accumulate):
        process(None, iteration)
    assert curriculum.finished
    if accumulate == 1:
        assert same(model, trained_by_hand(sgd))
    assert layers_of(model) == curriculum.layers
