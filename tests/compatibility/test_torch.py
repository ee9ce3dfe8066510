"""What PyTorch itself offers around an optimizer: every run equals the loop by hand, or the one without a compiler."""

import copy
from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer
from torch import nn, optim
from torch._dynamo.testing import CompileCounterWithBackend
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.checkpoint import checkpoint

import lerac
from tests.compatibility.helpers.by_hand import LR, RATIO, STEPS, K, groups, set_rates, trained_by_hand
from tests.conftest import Net, layers_of, loss_of, make_net, same, train

sgd = partial(optim.SGD, lr=LR, momentum=0.9)
adamw = partial(optim.AdamW, lr=LR)


def with_lerac(make=sgd, model=None, **options):
    """A model, its optimizer and a curriculum that finds the layers by itself."""
    model = make_net() if model is None else model
    optimizer = make(model.parameters())
    return model, optimizer, lerac.LeRaC(optimizer, model, **{"k": K, "ratio": RATIO} | options)


# Loops


@pytest.mark.compatible("training loop")
@pytest.mark.parametrize("make", [sgd, adamw])
def test_equals_the_loop_by_hand_bit_for_bit(make):
    model, optimizer, _ = with_lerac(make)
    train(model, optimizer, range(STEPS))
    assert same(model, trained_by_hand(make))


@pytest.mark.compatible("learning rate schedulers")
@pytest.mark.parametrize("built", ["before", "after"])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.OneCycleLR(o, LR, total_steps=STEPS + 1, cycle_momentum=False),
        lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.ExponentialLR(o, 0.8)], [3]
        ),
    ],
    ids=["one cycle", "cosine", "plateau", "sequence"],
)
def test_the_schedulers_rate_times_the_factor(schedule, built):
    """The loop by hand with the scheduler's rate times each layer's factor, bit for bit; the scheduler built before
    or after LeRaC and its rates those of a run without it"""
    model, hand = make_net(), make_net()
    optimizer = sgd(model.parameters())
    if built == "before":
        scheduler = schedule(optimizer)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    if built == "after":
        scheduler = schedule(optimizer)
    reference, alone = sgd(groups(hand)), optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    expected = schedule(alone)
    metric = [1.0] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []
    for step in range(STEPS):
        assert optimizer.param_groups[0]["lr"] == alone.param_groups[0]["lr"]
        train(model, optimizer, range(step, step + 1))
        train(hand, reference, range(step, step + 1), lambda at: set_rates(reference, alone.param_groups[0]["lr"], at))
        alone.step()
        scheduler.step(*metric)
        expected.step(*metric)
    assert same(model, hand)


@pytest.mark.compatible("gradient accumulation and clipping")
def test_a_step_of_several_clipped_batches_counts_once():
    """The loop by hand, bit for bit; the curriculum counts optimizer steps, not batches"""

    def run(model, optimizer, before_step):
        for step in range(STEPS):
            optimizer.zero_grad()
            for batch in range(3):
                (loss_of(model, 3 * step + batch) / 3).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
            before_step(step)
            optimizer.step()
        return model

    model, optimizer, curriculum = with_lerac()
    hand = make_net()
    reference = sgd(groups(hand))
    run(model, optimizer, lambda _: None)
    run(hand, reference, lambda step: set_rates(reference, LR, step))
    assert same(model, hand)
    assert curriculum.steps == K


@pytest.mark.compatible("optimizer step inside the backward pass")
def test_one_optimizer_per_parameter_stepping_in_backward():
    """The loop by hand, bit for bit, with one optimizer and one curriculum for each parameter"""
    model = make_net()
    layers = layers_of(model)

    def attach(parameter):
        optimizer = sgd([parameter])
        lerac.LeRaC(optimizer, model, k=K, ratio=RATIO, layers=layers)

        def update(_):
            optimizer.step()
            optimizer.zero_grad()

        parameter.register_post_accumulate_grad_hook(update)

    for parameter in model.parameters():
        attach(parameter)
    for step in range(STEPS):
        loss_of(model, step).backward()
    assert same(model, trained_by_hand(sgd))


# Precision


@pytest.mark.compatible("GradScaler with skipped steps")
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_skipped_steps_change_and_count_nothing(fused):
    """The loop by hand with the same scaler, bit for bit, plain and fused; skipped steps are not counted"""
    make = partial(adamw, fused=fused)
    overflows = (0, 3, 4)

    def run(model, optimizer, before_step):
        scaler, taken = torch.amp.GradScaler("cpu", init_scale=4.0), 0
        for step in range(STEPS):
            optimizer.zero_grad()
            scaler.scale(loss_of(model, step) * (float("inf") if step in overflows else 1)).backward()
            before_step(taken)
            scaler.step(optimizer)
            scaler.update()
            taken += step not in overflows
        return model, taken

    model, optimizer, curriculum = with_lerac(make)
    hand = make_net()
    reference = make(groups(hand))
    _, taken = run(model, optimizer, lambda _: None)
    run(hand, reference, lambda step: set_rates(reference, LR, step))
    assert same(model, hand)
    assert curriculum.steps == taken == K


@pytest.mark.compatible("bfloat16 autocast")
def test_equals_the_loop_by_hand_under_autocast_bit_for_bit():
    def run(model, optimizer, before_step):
        for step in range(STEPS):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, step)
            loss.backward()
            before_step(step)
            optimizer.step()
        return model

    model, optimizer, _ = with_lerac()
    hand = make_net()
    reference = sgd(groups(hand))
    run(hand, reference, lambda step: set_rates(reference, LR, step))
    assert same(run(model, optimizer, lambda _: None), hand)
    assert not same(hand, trained_by_hand(sgd))  # autocast did something


# Compilers


def close(a, b):
    for ours, theirs in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def wrapped(model, backend):
    return torch.compile(model, backend=backend)


def in_place(model, backend):
    model.compile(backend=backend)
    return model


@pytest.fixture
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.compatible("torch.compile of the model")
@pytest.mark.parametrize("compile_model", [wrapped, in_place])
@pytest.mark.parametrize("order", ["compiled first", "curriculum first"])
def test_a_compiled_model_is_one_graph_and_trains_as_in_eager_mode(compile_model, order):
    """The loop by hand in eager mode, within rounding; the model is one graph, wrapped or
    compiled in place, before or after LeRaC is built"""
    counter = CompileCounterWithBackend("aot_eager")
    model = make_net()
    optimizer = sgd(model.parameters())
    if order == "compiled first":
        called = compile_model(model, counter)
        curriculum = lerac.LeRaC(optimizer, called, k=K, ratio=RATIO)
    else:
        curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
        called = compile_model(model, counter)
    train(called, optimizer, range(STEPS))
    close(model, trained_by_hand(sgd))
    assert curriculum.finished
    assert counter.frame_count == 1


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.compatible("torch.compile of the step")
@pytest.mark.parametrize("make", [optim.SGD, optim.AdamW])
def test_a_compiled_step_compiles_nothing_while_the_rates_grow(make):
    """The loop by hand in eager mode, within rounding, with the rate in a tensor; three graphs that update parameters,
    for the first step, for all others of the curriculum and for those after it, and two that only choose between them,
    whatever k"""
    model, optimizer, _ = with_lerac(partial(make, lr=torch.tensor(LR)), layers=layers_of(make_net()))
    counter = CompileCounterWithBackend("eager")
    step = torch.compile(optimizer.step, backend=counter)
    graphs = []
    for at in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, at).backward()
        step()
        graphs.append(counter.frame_count)
    close(model, trained_by_hand(partial(make, lr=LR)))
    assert graphs == [1] + [3] * (K - 2) + [4] + [5] * (STEPS - K)


# Averages


@pytest.mark.compatible("moving average of the weights (EMA)")
def test_the_average_equals_that_of_the_loop_by_hand():
    """The average of the loop by hand, bit for bit; the copy of the model brings no second curriculum"""
    averages = []
    for by_hand in (False, True):
        model = make_net()
        optimizer = sgd(groups(model) if by_hand else model.parameters())
        if not by_hand:
            lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
        for step in range(STEPS):
            at = (lambda step: set_rates(optimizer, LR, step)) if by_hand else (lambda _: None)  # noqa: B023
            train(model, optimizer, range(step, step + 1), at)
            average.update_parameters(model)
        averages.append(average.module)
    assert same(*averages)
    assert not same(averages[0], model)


@pytest.mark.compatible("stochastic weight averaging (SWA)")
def test_swa_averages_what_the_loop_by_hand_gives():
    """The averaged weights and batch statistics of the loop by hand with the rates of SWALR, bit for bit"""
    results = []
    for by_hand in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
        parts = groups(model, **{"0": 1.0, "1": RATIO**0.5, "3": RATIO})  # the activation has no parameters
        optimizer = sgd(parts if by_hand else model.parameters())
        alone = optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
        scheduler = SWALR(alone if by_hand else optimizer, swa_lr=0.5, anneal_epochs=3)
        if not by_hand:
            lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
        average = AveragedModel(model)
        for step in range(STEPS):
            if by_hand:
                set_rates(optimizer, alone.param_groups[0]["lr"], step)
            train(model, optimizer, range(step, step + 1))
            if step > 2:
                average.update_parameters(model)
                alone.step()
                scheduler.step()
        update_bn([torch.randn(16, 6, generator=torch.Generator().manual_seed(0))], average)
        results.append(average.module.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


# Memory


class Checkpointed(Net):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x):
        x = self.stem(x).tanh()
        return self.head(checkpoint(self.body, x, use_reentrant=self.reentrant).tanh())


@pytest.mark.compatible("activation checkpointing")
@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_recomputed_activations_change_nothing(reentrant):
    """The loop by hand without checkpointing, bit for bit; reentrant or not"""
    torch.manual_seed(0)
    model, optimizer, _ = with_lerac(model=Checkpointed(reentrant))
    train(model, optimizer, range(STEPS))
    assert same(model, trained_by_hand(sgd))


# Some of the parameters


@pytest.mark.compatible("LoRA (peft)")
def test_adapters_train_as_in_the_loop_by_hand():
    """The loop by hand, bit for bit, with a group for each of the matrices A and B of the adapters and one for the new
    head; frozen weights add no depth"""
    config = LoraConfig(r=2, target_modules=["stem", "body.0", "body.2"], modules_to_save=["head"])
    torch.manual_seed(0)
    model = get_peft_model(make_net(), config)
    hand = copy.deepcopy(model)
    start = copy.deepcopy(model)

    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = adamw(trained)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    reference = adamw(adapters(hand))
    train(model, optimizer, range(STEPS))
    train(hand, reference, range(STEPS), lambda step: set_rates(reference, LR, step))
    assert same(model, hand)
    assert not same(model, start)


def adapters(model):
    """The groups: A and B of an adapter follow each other, and the new head comes last."""
    order = [f"{part}.lora_{which}" for part in ("stem", "body.0", "body.2") for which in "AB"] + [
        "head.modules_to_save"
    ]
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return [
        {"params": [p for n, p in named.items() if f".{part}." in n], "start": RATIO ** (j / (len(order) - 1))}
        for j, part in enumerate(order)
    ]


def with_adapters():
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["stem", "body.0", "body.2"], modules_to_save=["head"])
    torch.manual_seed(0)
    return get_peft_model(make_net(), config)


@pytest.mark.compatible("LoRA+ (peft)")
def test_rates_of_adapters_that_differ():
    """The loop by hand, bit for bit, with the rate of A or B times the factor of its layer"""
    make = partial(create_loraplus_optimizer, optimizer_cls=optim.AdamW, lr=LR, loraplus_lr_ratio=4.0, eps=1e-3)
    model, hand = with_adapters(), with_adapters()
    optimizer = make(model)
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    rates = {id(p): group["lr"] for group in make(hand).param_groups for p in group["params"]}
    single = [group | {"params": [p], "weight_decay": 0.0} for group in adapters(hand) for p in group["params"]]
    reference = optim.AdamW(single, eps=1e-3)

    def by_hand(step):
        for group in reference.param_groups:
            group["lr"] = rates[id(group["params"][0])] * group["start"] ** (1 - min(step / K, 1))

    train(model, optimizer, range(STEPS))
    train(hand, reference, range(STEPS), by_hand)
    assert same(model, hand)
    assert not same(model, with_adapters())
    assert set(rates.values()) == {LR, 4 * LR}


@pytest.mark.compatible("LoRA-FA (peft)")
def test_lists_by_parameter_are_split_with_the_parameters():
    """The loop by hand, bit for bit, with a group for each adapter, whose A is frozen, and one for the new head"""

    def make(model):
        return create_lorafa_optimizer(model, r=2, lora_alpha=4, lr=LR)

    model, hand = with_adapters(), with_adapters()
    optimizer = make(model)
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    reference = make(hand)
    [whole] = reference.param_groups
    reference.param_groups = []
    for depth, part in enumerate(["stem", "body.0", "body.2", "head"]):
        at = [i for i, name in enumerate(whole["names"]) if f".{part}." in name]
        own = {key: [whole[key][i] for i in at] for key in ("params", "names", "scaling_factors")}
        reference.param_groups.append({**whole, **own, "start": RATIO ** (depth / 3)})
    train(model, optimizer, range(STEPS))
    train(hand, reference, range(STEPS), lambda step: set_rates(reference, LR, step))
    assert curriculum.steps == K
    assert same(model, hand)
    assert not same(model, with_adapters())


@pytest.mark.compatible("frozen backbone")
def test_depth_counts_from_the_first_layer_that_is_trained():
    """The loop by hand over the layers that are trained: the first of them has the full rate; bit for bit"""
    model, hand = make_net(), make_net()
    for net in (model, hand):
        net.stem.requires_grad_(False)
        net.body[0].requires_grad_(False)
    optimizer = sgd([p for p in model.parameters() if p.requires_grad])
    lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    reference = sgd(groups(hand, body_2=1.0, head=RATIO))
    train(model, optimizer, range(STEPS))
    train(hand, reference, range(STEPS), lambda step: set_rates(reference, LR, step))
    assert same(model, hand)


@pytest.mark.compatible("unfreezing in the middle")
@pytest.mark.parametrize("added", [False, True], ids=["requires_grad", "add_param_group"])
def test_layers_that_are_unfrozen_join_with_the_factor_of_their_place(added):
    """The loop by hand, bit for bit: parameters of the optimizer from the start, or a group that is added; they have
    the factor of the nearest layer that was trained when the layers were found"""
    starts = {"stem": 1.0, "body_0": 1.0, "body_2": RATIO**0.5, "head": RATIO}
    model, hand = make_net(), make_net()
    for net in (model, hand):
        net.stem.requires_grad_(False)
    optimizer = sgd([p for p in model.parameters() if p.requires_grad or not added])
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    reference = sgd(groups(hand, **starts))
    train(model, optimizer, range(3))
    train(hand, reference, range(3), lambda step: set_rates(reference, LR, step))
    for net in (model, hand):
        net.stem.requires_grad_(True)
    if added:
        optimizer.add_param_group({"params": model.stem.parameters()})
    train(model, optimizer, range(3, STEPS))
    train(hand, reference, range(3, STEPS), lambda step: set_rates(reference, LR, step))
    assert same(model, hand)
    assert curriculum.finished


# Several optimizers


@pytest.mark.compatible("two models in turn (GAN)")
def test_generator_and_discriminator_each_have_their_curriculum():
    """The loop by hand for both models, bit for bit"""

    def adversaries():
        torch.manual_seed(0)
        generator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))
        return generator, nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    def run(generator, discriminator, of_generator, of_discriminator, before_step):
        noise = torch.Generator().manual_seed(0)
        judge = nn.functional.binary_cross_entropy_with_logits
        for step in range(STEPS):
            before_step(step)
            real, z = torch.randn(16, 6, generator=noise) + 1, torch.randn(16, 4, generator=noise)
            of_discriminator.zero_grad()
            judge(discriminator(real), torch.ones(16, 1)).backward()
            judge(discriminator(generator(z).detach()), torch.zeros(16, 1)).backward()
            of_discriminator.step()
            of_generator.zero_grad()
            judge(discriminator(generator(z)), torch.ones(16, 1)).backward()
            of_generator.step()

    ours, hands = adversaries(), adversaries()
    optimizers = [adamw(model.parameters()) for model in ours]
    for optimizer, model in zip(optimizers, ours, strict=True):
        lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    references = [adamw(groups(model, **{"0": 1.0, "2": RATIO})) for model in hands]
    run(*ours, *optimizers, lambda _: None)
    run(*hands, *references, lambda step: [set_rates(reference, LR, step) for reference in references])
    assert all(map(same, ours, hands))


@pytest.mark.compatible("Muon and AdamW on one model")
def test_two_optimizers_on_one_model_agree_on_the_depths():
    """The loop by hand, bit for bit: matrices with Muon, the rest with AdamW, each with a curriculum"""

    def split(groups):
        return [
            [group | {"params": [p for p in group["params"] if (p.ndim == 2) == matrices]} for group in groups]
            for matrices in (True, False)
        ]

    model, hand = make_net(), make_net()
    whole = [{"params": list(model.parameters())}]
    optimizers = [make(part, lr=LR) for make, part in zip((optim.Muon, optim.AdamW), split(whole), strict=True)]
    curricula = [lerac.LeRaC(optimizer, model, k=K, ratio=RATIO) for optimizer in optimizers]
    references = [make(part, lr=LR) for make, part in zip((optim.Muon, optim.AdamW), split(groups(hand)), strict=True)]
    for net, pair in ((model, optimizers), (hand, references)):
        for step in range(STEPS):
            net.zero_grad()
            loss_of(net, step).backward()
            for optimizer in pair:
                if net is hand:
                    set_rates(optimizer, LR, step)
                optimizer.step()
    assert same(model, hand)
    assert curricula[0].layers == curricula[1].layers


# Checkpoints


def saved(model, optimizer, path):
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)


def loaded(path, lerac_too):
    """Everything made anew, as in another process."""
    model = make_net(seed=1)
    optimizer = adamw(model.parameters())
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO) if lerac_too else None
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return model, optimizer, curriculum


@pytest.mark.compatible("checkpoint in the middle of the curriculum")
def test_the_optimizers_checkpoint_is_enough_to_continue(tmp_path):
    """An uninterrupted run, bit for bit; `curriculum.state_dict()` is not needed"""
    model, optimizer, _ = with_lerac(adamw)
    train(model, optimizer, range(3))
    saved(model, optimizer, tmp_path / "checkpoint")
    train(model, optimizer, range(3, STEPS))
    again, its_optimizer, _ = loaded(tmp_path / "checkpoint", lerac_too=True)
    train(again, its_optimizer, range(3, STEPS))
    assert same(again, model)


@pytest.mark.compatible("conventional checkpoint, continued with LeRaC")
def test_the_curriculum_begins_where_the_checkpoint_ends(tmp_path):
    """The loop by hand that trains conventionally up to the checkpoint and by layer after it, bit for bit"""
    hand = make_net()
    reference = adamw(groups(hand))
    train(hand, reference, range(3))
    train(hand, reference, range(3, 3 + STEPS), lambda step: set_rates(reference, LR, step - 3))
    plain = make_net()
    optimizer = adamw(plain.parameters())
    train(plain, optimizer, range(3))
    saved(plain, optimizer, tmp_path / "checkpoint")
    model, optimizer, _ = loaded(tmp_path / "checkpoint", lerac_too=True)
    train(model, optimizer, range(3, 3 + STEPS))
    assert same(model, hand)


@pytest.mark.compatible("LeRaC checkpoint, continued without")
def test_training_is_conventional_from_there(tmp_path):
    """The loop by hand that sets every rate to the full one after the checkpoint, bit for bit"""
    hand = make_net()
    reference = adamw(groups(hand))
    train(hand, reference, range(STEPS), lambda step: set_rates(reference, LR, step if step < 3 else K))
    model, optimizer, _ = with_lerac(adamw)
    train(model, optimizer, range(3))
    saved(model, optimizer, tmp_path / "checkpoint")
    plain, optimizer, _ = loaded(tmp_path / "checkpoint", lerac_too=False)
    train(plain, optimizer, range(3, STEPS))
    assert same(plain, hand)
