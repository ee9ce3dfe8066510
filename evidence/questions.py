"""The protocol as data: which studies there are, with every regime, value and seed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

__all__ = [
    "CHOSEN",
    "CUT",
    "ENVIRONMENTS",
    "GRIDS",
    "HERE",
    "KS",
    "LEDGER",
    "RATIOS",
    "RESULTS",
    "ROUNDING",
    "Study",
    "chosen_lerac",
    "evaluation",
    "read_chosen",
    "trained",
    "tuning",
]

HERE = Path(__file__).parent
RESULTS = HERE / "results"
CHOSEN = RESULTS / "chosen.toml"
LEDGER = RESULTS / "core-seconds.csv"
ROUNDING = RESULTS / "rounding.csv"
ENVIRONMENTS = RESULTS / "environments.json"

RATES = (0.01, 0.03)
BETWEEN = 10**-3.5  # where the exponential warm-up starts when LeRaC starts the last layer at 1e-7
MANY, FEW, MORE, LEAST, TUNING, QUICK = "100-353", "100-139", "400-409", "400-407", "2000-2005", "2000-2002"
KS = (1, 2, 3, 5, 7, 10, 15)  # epochs
RATIOS = tuple(f"1e-{n}" for n in range(2, 9))
CUT = ("gain-1.0", "bf16")
"""Studies of the protocol that its budget of compute did not allow; `train.py --only` trains them."""


def _curricula(name: str, ratios: tuple[float, ...], more: str = "") -> list[str]:
    return [f"{name}({more}lr={lr},k={k},ratio={ratio})" for lr, k, ratio in product(RATES, (3, 6), ratios)]


GRIDS: dict[str, list[str]] = {
    "conventional": [
        f"conventional(lr={lr})" for lr in (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2)
    ],
    "warmup": [f"warmup(lr={lr},k={k})" for lr, k in product(RATES, (1, 2, 3, 5, 7, 10))],
    "warmup-exponential": _curricula("warmup", (1e-1, 1e-2, BETWEEN), "curve=exponential,"),
    "cbs": [
        f"cbs(lr={lr},sigma={sigma},decay=0.9,every={every})"
        for lr, sigma, every in product(RATES, (0.5, 1.0), (1, 2, 5))
    ],
    "lerac": _curricula("lerac", (1e-2, 1e-4, 1e-7)),
    "lerac-reversed": _curricula("lerac-reversed", (1e-2, 1e-4, 1e-7)),
    "lerac-shuffled": _curricula("lerac-shuffled", (1e-2, 1e-4, 1e-7)),
}
"""What is tuned → its twelve configurations."""

CONTROLS = ("warmup", "cbs", "lerac-reversed", "lerac-shuffled")
OTHER_RATES = (0.0003, 0.001, 0.002, 0.003, 0.01, 0.03)
OTHERS = ("small-vit", "gru", "small-cnn-adamw")


@dataclass(frozen=True)
class Study:
    """What one `lerac compare` trains.

    Args:
        name: of its folder and its table.
        recipe: file in `recipes/`, without its ending.
        regimes: each with all its values.
        seeds: as the command line takes them.
        sets: changes of the recipe, `key=value`.
        precision: of the arithmetic.
    """

    name: str
    recipe: str
    regimes: tuple[str, ...]
    seeds: str
    sets: tuple[str, ...] = ()
    precision: str = "float32"

    def command(self, out: Path) -> list[str]:
        """Give the arguments of `lerac` that train it, to be called from the root of the repository."""
        sets = [word for one in self.sets for word in ("--set", one)]
        precision = [] if self.precision == "float32" else ["--precision", self.precision]
        recipe = f"evidence/recipes/{self.recipe}.toml"
        regimes = ["--regimes", ",".join(self.regimes), "--seeds", self.seeds]
        return ["compare", recipe, *regimes, *sets, *precision, "--out", str(out / self.name)]


def tuning() -> list[Study]:
    """List the studies that choose values; each has the configurations of one thing that is tuned."""
    grids = [Study(f"tuning-{name}", "small-cnn", tuple(grid), TUNING) for name, grid in GRIDS.items()]
    rates = tuple(f"conventional(lr={lr})" for lr in OTHER_RATES)
    return grids + [Study(f"tuning-{recipe}", recipe, rates, QUICK) for recipe in OTHERS]


def read_chosen() -> dict[str, str]:
    """Give the configuration that tuning has chosen for each thing that is tuned."""
    return tomllib.loads(CHOSEN.read_text(encoding="utf-8"))


def chosen_lerac(chosen: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the values of LeRaC that tuning has chosen: lr, k in epochs, ratio."""
    regime = (chosen or read_chosen())["tuning-lerac"]
    return dict(part.split("=") for part in regime[len("lerac(") : -1].split(","))


def evaluation(chosen: Mapping[str, str]) -> list[Study]:
    """List the studies that answer the questions, in the order of the protocol."""
    best = {name: chosen[f"tuning-{name}"] for name in GRIDS}
    conventional, warmup, lerac, reverse = (
        best[name] for name in ("conventional", "warmup-exponential", "lerac", "lerac-reversed")
    )
    four = (conventional, warmup, lerac, reverse)
    own = chosen_lerac(chosen)

    def changed(**values: object) -> str:
        return f"lerac({','.join(f'{key}={value}' for key, value in {**own, **values}.items())})"

    studies = [
        Study("primary", "small-cnn", (conventional, warmup, lerac), MANY),
        Study("primary-controls", "small-cnn", tuple(best[name] for name in CONTROLS), FEW),
        Study("right-labels", "small-cnn", four, MORE, ("data.label_noise=0.0",)),
        Study("more-images", "small-cnn", four, MORE, ("data.train=1200", "data.validation=197", "data.test=400")),
    ]
    for recipe in OTHERS:
        lr = chosen[f"tuning-{recipe}"].partition("lr=")[2].rstrip(")")
        regimes = (
            f"conventional(lr={lr})",
            f"warmup(curve=exponential,k=5,lr={lr},ratio=1e-2)",
            f"lerac(k=5,lr={lr},ratio=1e-4)",
            f"lerac-reversed(k=5,lr={lr},ratio=1e-4)",
        )
        studies.append(Study(recipe, recipe, regimes, MORE))
    rules = ("exponential", "linear", "logarithmic", "cosine", "staircase")
    shuffled = changed().replace("lerac(", "lerac-shuffled(", 1)
    studies += [
        Study("k", "small-cnn", (conventional, *(changed(k=k) for k in KS)), MORE),
        Study("ratio", "small-cnn", (conventional, *(changed(ratio=ratio) for ratio in RATIOS)), MORE),
        Study("rules", "small-cnn", (conventional, *(changed(curve=rule) for rule in rules)), MORE),
        Study("depth", "small-cnn", (conventional, changed(), changed(depth="registered"), shuffled), MORE),
        *(
            Study(f"gain-{gain}", "small-cnn", (conventional, warmup, lerac), MORE, (f"network.gain={gain}",))
            for gain in (1.0, 0.3, 0.1)
        ),
        Study("bf16", "small-cnn", (conventional, warmup, lerac), MORE, precision="bf16"),
        Study("pilot", "small-cnn", _pilots_regimes(), LEAST),  # the budget allowed 8 of the protocol's 40 seeds
    ]
    return studies


def trained() -> list[Study]:
    """List the studies that answer the questions and were not cut."""
    return [study for study in evaluation(read_chosen()) if study.name not in CUT]


def _pilots_regimes() -> tuple[str, ...]:
    own = "k=5,lr=0.1"
    layers = tuple(f"{name}({own},ratio=1e-7)" for name in ("lerac", "lerac-reversed", "lerac-shuffled"))
    return (
        "conventional(lr=0.1)",
        f"warmup({own})",
        f"warmup(curve=exponential,{own},ratio={BETWEEN})",
        "cbs(decay=0.9,every=2,lr=0.1,sigma=1)",
        *layers,
    )
