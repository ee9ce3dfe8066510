"""Layers travel with the optimizer's state: whatever the first forward after a resume is, the rates are the same."""

import copy
import io
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import layers_of, loss_of, make_net, same, train
from torch import nn, optim
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict

import lerac

pytestmark = pytest.mark.filterwarnings("ignore:LeRaC can tell a single layer apart")

K, RATIO = 6, 1e-3
SIZE = 5


class Stages(nn.Module):
    """Linear layers, of which each stage of training runs some, in an order of its own, and trains some."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(2, 2) for _ in range(SIZE)])
        self.order = list(range(SIZE))

    def forward(self, x):
        for i in self.order:
            x = self.parts[i](x).tanh()
        return x


def be_in_stage(model, stage):
    trained, model.order = stage
    for i, part in enumerate(model.parts):
        part.requires_grad_(i in trained)


def start(ratio=RATIO, **options):
    torch.manual_seed(0)
    model = Stages()
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    return model, optimizer, {"k": K, "ratio": ratio} | options


def steps(model, optimizer, curriculum, stages, at):
    rates = []
    for step in at:
        be_in_stage(model, stages[step])
        optimizer.zero_grad()
        model(torch.full((3, 2), 0.1 * step + 0.5)).square().sum().backward()
        optimizer.step()
        rates.append(curriculum.lrs())
    return rates


STAGE = st.tuples(
    st.sets(st.integers(0, SIZE - 1), min_size=1),  # what is trained
    st.permutations(range(SIZE)),
)


@settings(max_examples=60, deadline=None)
@given(
    stages=st.lists(STAGE, min_size=K + 2, max_size=K + 2),
    save=st.integers(0, K + 1),
    build_first=st.booleans(),
    both_states=st.booleans(),
)
def test_a_resume_in_any_stage_continues_as_if_never_stopped(stages, save, build_first, both_states):
    model, optimizer, options = start()
    curriculum = lerac.LeRaC(optimizer, model, **options)
    steps(model, optimizer, curriculum, stages, range(save))
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict(), curriculum.state_dict()), file)
    whole = steps(model, optimizer, curriculum, stages, range(save, K + 2))

    again, its_optimizer, options = start()
    file.seek(0)
    weights, state, own = torch.load(file, weights_only=True)
    again.load_state_dict(weights)
    if build_first:
        resumed = lerac.LeRaC(its_optimizer, again, **options)
    its_optimizer.load_state_dict(state)
    if not build_first:
        resumed = lerac.LeRaC(its_optimizer, again, **options)
    if both_states:
        resumed.load_state_dict(own)
    assert steps(again, its_optimizer, resumed, stages, range(save, K + 2)) == whole
    assert same(model, again)
    assert its_optimizer.param_groups[0].keys() == optimizer.param_groups[0].keys()


def by_torch(optimizer, model, again, its_optimizer, folder):
    its_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def by_dcp(optimizer, model, again, its_optimizer, folder, flat=False):
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        dcp.save({"optimizer": get_optimizer_state_dict(model, optimizer, options=options)}, checkpoint_id=folder)
        state = {"optimizer": get_optimizer_state_dict(again, its_optimizer, options=options)}
        dcp.load(state, checkpoint_id=folder)
    set_optimizer_state_dict(again, its_optimizer, state["optimizer"], options=options)


def by_dcp_flat(*objects):
    by_dcp(*objects, flat=True)


UNFREEZING = [({3, 4}, list(range(SIZE)))] * 3 + [(set(range(SIZE)), list(range(SIZE)))] * (K + 1)


@pytest.mark.parametrize("save", [0, 2, K - 1, K, K + 2])
@pytest.mark.parametrize("travel", [by_torch, by_dcp, by_dcp_flat])
def test_every_kind_of_checkpoint_brings_them(travel, save, tmp_path):
    stages = UNFREEZING + UNFREEZING[-1:]
    model, optimizer, options = start()
    curriculum = lerac.LeRaC(optimizer, model, **options)
    steps(model, optimizer, curriculum, stages, range(save))
    again, its_optimizer, _ = start()
    resumed = lerac.LeRaC(its_optimizer, again, **options)
    be_in_stage(again, stages[save])
    be_in_stage(model, stages[save])
    travel(optimizer, model, again, its_optimizer, tmp_path)
    again.load_state_dict(model.state_dict())
    assert resumed.steps == min(save, K)
    ahead = range(save, save + 2)
    assert steps(again, its_optimizer, resumed, stages, ahead) == steps(model, optimizer, curriculum, stages, ahead)
    assert same(model, again)


def test_a_finished_optimizer_takes_up_an_earlier_distributed_checkpoint(tmp_path):
    model, optimizer, options = start()
    curriculum = lerac.LeRaC(optimizer, model, **options)
    steps(model, optimizer, curriculum, UNFREEZING, range(4))
    state = {"optimizer": get_optimizer_state_dict(model, optimizer)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        dcp.save(state, checkpoint_id=tmp_path)
        rates = curriculum.lrs()
        steps(model, optimizer, curriculum, UNFREEZING, range(4, K + 2))
        now = {"optimizer": get_optimizer_state_dict(model, optimizer)}
        dcp.load(now, checkpoint_id=tmp_path)
    set_optimizer_state_dict(model, optimizer, now["optimizer"])
    assert curriculum.lrs() == rates


def lerac_entries(optimizer):
    return [{key: v for key, v in group.items() if key.startswith("lerac_")} for group in optimizer.param_groups]


def test_what_is_written_is_short_and_goes_with_the_curriculum():
    model = make_net()
    optimizer = optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1)
    lerac.LeRaC(optimizer, model, k=3, ratio=1e-3)
    assert lerac_entries(optimizer) == [{"lerac_step": 0, "lerac_layers": ""}] * 8
    train(model, optimizer, range(2))
    [entry] = {str(entry) for entry in lerac_entries(optimizer)}
    assert entry == str(
        {
            "lerac_step": 2,
            "lerac_layers": '[["stem",0,1.0,["stem"]],["body.0",1,0.10000000000000002,["body.0"]],'
            '["body.2",2,0.010000000000000002,["body.2"]],["head",3,0.001,["head"]]]',
        }
    )
    train(model, optimizer, range(2, 3))
    assert lerac_entries(optimizer) == [{"lerac_step": 3}] * 8


def test_the_step_is_not_shown_it():
    seen = []

    class Looks(optim.SGD):
        def step(self, closure=None):
            seen.extend(key for group in self.param_groups for key in group if key.startswith("lerac_"))
            return super().step(closure)

    model = make_net()
    optimizer = Looks(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=3)
    train(model, optimizer, range(3))
    assert seen == []


def test_a_state_without_a_count_is_conventional_whatever_else_is_left_in_it():
    model = make_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["lerac_layers"] = "of something else"
    curriculum = lerac.LeRaC(optimizer, model, k=3)
    assert lerac_entries(optimizer) == [{"lerac_step": 0, "lerac_layers": ""}]
    train(model, optimizer, range(2))
    kept = lerac_entries(optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    del state["param_groups"][0]["lerac_step"]
    state["param_groups"][0]["lerac_layers"] = "of something else"
    optimizer.load_state_dict(state)
    assert curriculum.steps == 2
    assert lerac_entries(optimizer) == kept


def saved(**options):
    model = make_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, **{"k": K, "ratio": RATIO} | options)
    train(model, optimizer, range(2))
    return copy.deepcopy(optimizer.state_dict())


def load(state, build_first, model=None, **options):
    model = model or make_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    if build_first:
        curriculum = lerac.LeRaC(optimizer, model, **{"k": K, "ratio": RATIO} | options)
    optimizer.load_state_dict(state)
    if not build_first:
        curriculum = lerac.LeRaC(optimizer, model, **{"k": K, "ratio": RATIO} | options)
    return curriculum


by_order = pytest.mark.parametrize("build_first", [True, False], ids=["built, then loaded", "loaded, then built"])
OTHERS = {
    "ratio": ({"ratio": 1e-4}, r"'head.weight' starts at 0.001 of the full rate, and in this one at 0.0001"),
    "given ratio": (
        {"ratio": {"stem": 1.0, "body.0": 0.1, "body.2": 0.01, "head": 0.5}},
        r"'head.weight' starts at 0.001 of the full rate, and in this one at 0.5",
    ),
    "ratio of other layers": ({"ratio": {"stem": 1.0}}, r"ratio has no factor for the layers body.0, body.2, head"),
    "layers": (
        {"layers": lerac.group_layers(layers_of(make_net()), at_most=2)},
        r"'body.0.weight' starts at 0.1 of the full rate, and in this one at 0.001",
    ),
}


@by_order
@pytest.mark.parametrize("other", OTHERS)
def test_another_curriculum_is_refused_with_both_values(other, build_first):
    options, message = OTHERS[other]
    state = saved()
    with pytest.raises(ValueError, match=message) as refused:
        load(state, build_first, **options)
    assert "To begin a new curriculum from it, delete 'lerac_step' from each" in str(refused.value)


def test_a_refused_state_does_not_step():
    state, model = saved(), make_net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    lerac.LeRaC(optimizer, model, k=K, ratio=1e-4)
    with pytest.raises(ValueError, match="starts at"):
        optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match="starts at"):
        train(model, optimizer, range(1))
    for group in optimizer.param_groups:
        del group["lerac_step"]
    train(model, optimizer, range(1))


@by_order
@pytest.mark.parametrize("layers", [None, "the same"])
def test_the_same_layers_are_welcome(layers, build_first):
    options = {} if layers is None else {"layers": layers_of(make_net())}
    curriculum = load(saved(), build_first, **options)
    assert curriculum.layers == layers_of(make_net())
    assert curriculum.lrs()["head.weight"] == 0.1 * RATIO ** (1 - 2 / K)


@by_order
def test_a_mapping_of_ratios_comes_back(build_first):
    ratio = {"stem": 1.0, "body.0": 0.3, "body.2": 0.2, "head": 0.7}
    curriculum = load(saved(ratio=ratio), build_first, ratio=ratio)
    assert curriculum.lrs()["body.2.weight"] == 0.1 * 0.2 ** (1 - 2 / K)


def test_rounding_of_another_machine_is_not_another_ratio_and_the_saved_factor_goes_on():
    state = saved()
    group = state["param_groups"][0]
    group["lerac_layers"] = group["lerac_layers"].replace("0.10000000000000002", "0.1")
    for layers in (None, layers_of(make_net())):
        assert load(state, True, layers=layers).lrs()["body.0.bias"] == 0.1 * 0.1 ** (1 - 2 / K)


@pytest.mark.parametrize("damage", ["[", "3", '[["stem"]]', '[["stem",0,0.0,["stem"]]]', '[["stem",-1,1.0,["stem"]]]'])
@by_order
def test_damaged_layers_are_refused(damage, build_first):
    state = saved()
    state["param_groups"][0]["lerac_layers"] = damage
    with pytest.raises(ValueError, match=r"layers in the optimizer's checkpoint .*are damaged"):
        load(state, build_first)


@by_order
def test_layers_of_another_model_are_refused(build_first):
    other = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    state = saved()
    with pytest.raises(
        ValueError, match=r"layers stem; body.0; body.2; head, of which this Sequential has no parameter"
    ):
        load(state, build_first, model=other)


def test_groups_that_disagree_are_refused():
    model = make_net()
    optimizer = optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1)
    lerac.LeRaC(optimizer, model, k=K)
    train(model, optimizer, range(1))
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][3]["lerac_layers"] = state["param_groups"][3]["lerac_layers"].replace("0.0", "0.5")
    with pytest.raises(ValueError, match="must agree on 'lerac_layers'"):
        optimizer.load_state_dict(state)


def test_a_rollback_takes_the_layers_of_the_checkpoint_unless_others_were_given():
    model, optimizer, options = start()
    curriculum = lerac.LeRaC(optimizer, model, **options)
    steps(model, optimizer, curriculum, UNFREEZING, range(2))
    rates, state = curriculum.lrs(), copy.deepcopy(optimizer.state_dict())
    again, its_optimizer, _ = start()
    resumed = lerac.LeRaC(its_optimizer, again, **options)
    steps(again, its_optimizer, resumed, UNFREEZING[4:], range(2))  # finds others
    assert resumed.lrs() != rates
    its_optimizer.load_state_dict(state)
    assert resumed.lrs() == rates


def test_a_group_added_after_a_resume_has_its_layers_factor():
    model = make_net()
    optimizer = optim.SGD(model.head.parameters(), lr=0.1)
    curriculum = lerac.LeRaC(optimizer, model, k=K, ratio=RATIO)
    train(model, optimizer, range(2))
    again = make_net()
    its_optimizer = optim.SGD(again.head.parameters(), lr=0.1)
    resumed = lerac.LeRaC(its_optimizer, again, k=K, ratio=RATIO)
    its_optimizer.load_state_dict(optimizer.state_dict())
    for opt, net in ((optimizer, model), (its_optimizer, again)):
        opt.add_param_group({"params": net.body.parameters()})
    assert resumed.lrs() == curriculum.lrs()
    loss_of(again, 2).backward()
    its_optimizer.step()
    assert resumed.steps == 3
