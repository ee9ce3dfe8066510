"""What packages that are not installed here do, in the respect that matters to a curriculum.

Each was written from the behaviour of the package, in the version that docs/compatibility.md names.
"""

from dataclasses import dataclass

import torch
from torch import nn, optim

__all__ = [
    "CachedSteps",
    "DecayRelativeToTheRate",
    "Engine",
    "Float8Linear",
    "Graph",
    "GraphNet",
    "NumberedOverrides",
    "RateInATensor",
    "UNet",
    "WritesItsRateBack",
    "ZeroOptimizer",
]


class WritesItsRateBack(optim.Optimizer):
    """heavyball: during a group's update its rate is that of a warm-up, afterwards it is written back from a copy."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            if group.get("base_lr") != group["lr"]:
                group["base_lr"] = group["lr"]
            group["step_count"] = group.get("step_count", 0) + 1
            group["prev_lr"] = group["lr"] = group["base_lr"] * torch.tensor(1.0)
            for p in group["params"]:
                p.add_(p.grad * -group["lr"])
            group["lr"] = group["base_lr"]


class DecayRelativeToTheRate(optim.Optimizer):
    """optimi: decay by `lr / max_lr`; `step(param=…)` updates one parameter, for a release of its gradient."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "max_lr": lr})

    @torch.no_grad()
    def step(self, closure=None, param=None):
        if param is not None:
            param.add_(param.grad, alpha=-self.defaults["lr"])  # of what it keeps for each parameter, not of the groups
            return
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1 - 1e-2 * group["lr"] / group["max_lr"]).add_(p.grad, alpha=-group["lr"])


class CachedSteps(optim.Optimizer):
    """torch_optimizer's RAdam: the step size, rate included, is kept in a list of the group, by the number of steps."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "buffer": [[None, None] for _ in range(10)]})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                kept = group["buffer"][state["step"] % 10]
                if kept[0] != state["step"]:
                    kept[:] = [state["step"], group["lr"] / (1 - 0.9 ** state["step"])]
                p.data.add_(p.grad, alpha=-kept[1])


class NumberedOverrides(optim.Optimizer):
    """bitsandbytes: overrides by (group, index), filled in the first step; a `load_state_dict` of its own."""

    def __init__(self, params, lr, overrides=()):
        super().__init__(params, {"lr": lr})
        self.overrides = overrides  # (parameter, {option: value}): `GlobalOptimManager.override_config`
        self.mng = type("GlobalOptimManager", (), {"index2config": {}, "pid2config": {}})()
        self.mng.pid2config = {id(p): config for p, config in overrides}
        self.mng.module_weight_config_triple = []

    def load_state_dict(self, state_dict):
        numbered = [p for group in self.param_groups for p in group["params"]]
        for own, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            own.update({name: value for name, value in saved.items() if name != "params"})
        self.state.clear()
        self.state.update({numbered[i]: dict(state) for i, state in state_dict["state"].items()})

    @torch.no_grad()
    def step(self, closure=None):
        for i, group in enumerate(self.param_groups):
            for j, p in enumerate(group["params"]):
                if id(p) in self.mng.pid2config:
                    self.mng.index2config.setdefault((i, j), self.mng.pid2config[id(p)])
                config = {"lr": group["lr"]} | self.mng.index2config.get((i, j), {})
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p)).mul_(0.9).add_(p.grad)
                p.add_(momentum, alpha=-config["lr"])


class RateInATensor(optim.Optimizer):
    """torchao: the rate is a tensor, made by the optimizer, and anything else is refused."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": torch.tensor(lr)})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            if not isinstance(group["lr"], torch.Tensor):
                raise RuntimeError("lr was changed to a non-Tensor object")  # noqa: TRY004 # as torchao does
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad)


class _Float8Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return _float8(x) @ _float8(weight).t()

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return _float8(gradient) @ _float8(weight), _float8(gradient).t() @ _float8(x)


def _float8(x):
    scale = 448 / x.abs().max().clamp(min=1e-12)
    return (x * scale).to(torch.float8_e4m3fn).to(x.dtype) / scale


class Float8Linear(nn.Linear):
    """torchao: a product of its own, whose factors are converted inside, and then a sum with the bias."""

    def forward(self, x):
        return _Float8Product.apply(x, self.weight) + self.bias


class Engine(nn.Module):
    """DeepSpeed's engine of stage 0: it owns the loop's backward and step, and the optimizer stays as it is."""

    def __init__(self, module, optimizer):
        super().__init__()
        self.module, self.optimizer = module, optimizer

    def forward(self, *args):
        return self.module(*args)

    def backward(self, loss):
        loss.backward()

    def step(self):
        self.optimizer.step()
        self.optimizer.zero_grad()


class ZeroOptimizer:
    """DeepSpeed's optimizer of stages 1 to 3: it wraps the user's, whose groups then hold one flat tensor each."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            flat = torch.cat([p.detach().flatten() for p in group["params"]])
            group["params"] = [nn.Parameter(flat)]
        self.param_groups = optimizer.param_groups

    def step(self):
        self.optimizer.step()


@dataclass
class Output:
    """What a model of diffusers gives."""

    sample: torch.Tensor


class UNet(nn.Module):
    """A model of diffusers: a time that goes into the middle, a skip, and a result in a dataclass or a tuple."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv_out = nn.Conv2d(8, 2, 3, padding=1)  # registered first
        self.conv_in = nn.Conv2d(2, 4, 3, padding=1)
        self.time_embedding = nn.Linear(4, 4)
        self.down, self.up = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, sample, timestep, return_dict=True):
        angles = timestep[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])
        first = self.conv_in(sample)
        inner = self.down(first.relu() + self.time_embedding(angles.sin())[..., None, None])
        result = self.conv_out(torch.cat([self.up(inner.relu()), first], 1))
        return Output(result) if return_dict else (result,)


class Graph:
    """PyG's `Data`: an object with tensors that is neither a tensor nor a container."""

    def __init__(self, x, edge_index):
        self.x, self.edge_index = x, edge_index


class GraphNet(nn.Module):
    """PyG's convolutions: gather, weigh, scatter; the head is registered first."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.first, self.second = nn.Linear(8, 2), nn.Linear(4, 8), nn.Linear(8, 8)

    def propagate(self, linear, x, edge_index):
        source, target = edge_index
        messages = linear(x)[source]
        return torch.zeros(len(x), messages.shape[1]).index_add(0, target, messages).relu()

    def forward(self, data):
        x = self.propagate(self.first, data.x, data.edge_index)
        return self.head(self.propagate(self.second, x, data.edge_index).mean(0))
