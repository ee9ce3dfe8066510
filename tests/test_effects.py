"""What docs/effects.md says of weight decay, momentum, Adam's normalisation and clipping."""

import pytest
import torch
from torch import nn

import lerac
from tests.conftest import layers_of, loss_of, make_net

RATIO = 1e-6


def after_one_step(make, *, ratio=None, gradient=None, model=None):
    """One step at full rate, or at the rates of step 0 of a curriculum."""
    model = model or make_net()
    optimizer = make(model.parameters())
    if ratio is not None:
        lerac.LeRaC(optimizer, model, k=10, ratio=ratio, layers=layers_of(model))
    if gradient is None:
        loss_of(model, 0).backward()
    else:
        for p in model.parameters():
            p.grad = torch.full_like(p, gradient)
    optimizer.step()
    return model, optimizer


def moved(model):
    before = make_net()
    return {n: p.detach() - dict(before.named_parameters())[n].detach() for n, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=1e-2), ["momentum_buffer"]),
        (lambda ps: torch.optim.Adam(ps, lr=1e-2, weight_decay=1e-2), ["exp_avg", "exp_avg_sq"]),
        (lambda ps: torch.optim.AdamW(ps, lr=1e-2), ["exp_avg", "exp_avg_sq"]),
    ],
    ids=["SGD", "Adam", "AdamW"],
)
def test_momentum_and_moments_of_the_same_gradients_are_the_same(make, kept):
    ours, theirs = after_one_step(make, ratio=RATIO)[1], after_one_step(make)[1]
    for a, b in zip(ours.state.values(), theirs.state.values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in kept)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_weight_decay_shrinks_with_the_rate_of_the_layer(optimizer):
    model = make_net().double()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    layers = layers_of(make_net())
    after_one_step(lambda ps: optimizer(ps, lr=0.1, weight_decay=0.5), ratio=1e-3, gradient=0.0, model=model)
    for layer in layers:
        for name in layer.parameters:
            left = before[name] * (1 - 0.1 * 1e-3 ** (layer.depth / 3) * 0.5)
            torch.testing.assert_close(dict(model.named_parameters())[name].detach(), left, rtol=1e-14, atol=0)


def test_decoupled_decay_alone_is_rounded_away_in_float32():
    model, _ = after_one_step(lambda ps: torch.optim.AdamW(ps, lr=1e-3), ratio=RATIO, gradient=0.0)
    assert not moved(model)["head.weight"].any()
    assert moved(model)["stem.weight"].any()


def test_adam_undoes_a_factor_on_the_gradient_but_not_on_the_rate():
    adam = lambda ps: torch.optim.Adam(ps, lr=1e-2)  # noqa: E731
    full, small = (moved(after_one_step(adam, gradient=g)[0])["head.weight"] for g in (1.0, 1e-3))
    slow = moved(after_one_step(adam, ratio=1e-3, gradient=1.0)[0])["head.weight"]
    torch.testing.assert_close(small, full, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(slow, 1e-3 * full, rtol=1e-2, atol=1e-8)


def test_the_norm_that_clips_counts_all_layers_alike():
    norms = []
    for ratio in (None, RATIO):
        model = make_net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if ratio:
            lerac.LeRaC(optimizer, model, k=10, ratio=ratio, layers=layers_of(model))
        loss_of(model, 0).backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.01))
    assert torch.equal(*norms)


@pytest.mark.parametrize(
    ("ratio", "mean", "tenth"), [(1e-2, 0.215, 0.5), (1e-4, 0.109, 0.75), (1e-6, 0.072, 0.83), (1e-8, 0.054, 0.88)]
)
def test_the_table_of_the_last_layers_factor(ratio, mean, tenth):
    k = 10_000
    factors = [lerac.curves.exponential(step / k, ratio) for step in range(k)]
    assert sum(factors) / k == pytest.approx(mean, abs=5e-4)
    assert next(step for step, factor in enumerate(factors) if factor >= 0.1) / k == pytest.approx(tenth, abs=6e-3)
