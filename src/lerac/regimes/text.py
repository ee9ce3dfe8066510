"""Regimes: the ways to train that a study compares, written `name(option=value,…)`."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lerac.curves import CURVES

__all__ = [
    "DEFAULT_REGIMES",
    "LARGEST",
    "OPTIONS",
    "REGIMES",
    "STAIRCASE",
    "Regime",
    "parse_regime",
    "updates_needed",
]

DEFAULT_REGIMES = "conventional,warmup,cbs,lerac,lerac-reversed"
STAIRCASE = "staircase"
LARGEST = 1e30  # number of a regime; a product of some of them is still finite
DEPTHS = ("measured", "registered")

Value = int | float | str


def _number(low: float, high: float) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        number = float(text)
        if not low < number <= high:
            raise ValueError
        return number

    return parse


def _count(text: str) -> Value:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _depth(text: str) -> Value:
    if text not in DEPTHS:
        raise ValueError
    return text


def _curve(text: str) -> Value:
    if text not in (*CURVES, STAIRCASE):
        raise ValueError
    return text


# Option → (parser, what it takes). `k` and `every` are in epochs; `base` and `updates` belong to the staircase; `lr`
# is the full rate, so that each regime can be tuned by itself; `depth` says what orders the layers.
OPTIONS: dict[str, tuple[Callable[[str], Value], str]] = {
    "k": (_number(0, LARGEST), f"a number of epochs above 0, at most {LARGEST:g}"),
    "ratio": (_number(0, 1), "a number in (0, 1]"),
    "curve": (_curve, f"one of {', '.join(CURVES)}, {STAIRCASE}"),
    "base": (_number(1, LARGEST), f"a number above 1, at most {LARGEST:g}"),
    "updates": (_count, "a count of 1 or more"),
    "sigma": (_number(0, LARGEST), f"a number above 0, at most {LARGEST:g}"),
    "decay": (_number(0, 1), "a number in (0, 1]"),
    "every": (_number(0, LARGEST), f"a number of epochs above 0, at most {LARGEST:g}"),
    "lr": (_number(0, LARGEST), f"a learning rate above 0, at most {LARGEST:g}"),
    "depth": (_depth, " or ".join(DEPTHS)),
    "factor": (_number(0, 1), "a number in (0, 1]"),
}
_LERAC, _CBS = ("k", "ratio", "curve", "base", "updates", "lr"), ("sigma", "decay", "every")
REGIMES: dict[str, tuple[str, ...]] = {
    "conventional": ("lr",),
    "warmup": _LERAC,
    "cbs": (*_CBS, "lr"),
    "lerac": (*_LERAC, "depth"),
    "cbs+lerac": _LERAC + _CBS,
    "lerac-reversed": _LERAC,
    "lerac-shuffled": _LERAC,
    "unfreeze": ("k", "lr", "depth"),
    "layer-decay": ("factor", "lr"),
}
"""Name → options. What is not given comes from the recipe, or from `Regime.complete`."""

_OPEN: dict[str, Value] = {
    "k": 5.0,
    "ratio": 1e-6,
    "curve": "exponential",
    "sigma": 1.0,
    "decay": 0.9,
    "every": 2.0,
    "factor": 0.8,
}


@dataclass(frozen=True)
class Regime:
    """A way to train; equal regimes have equal text, whatever the order and spelling of their options.

    Args:
        name: a key of `REGIMES`.
        options: numbers and words by option name.
    """

    name: str
    options: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        inside = ",".join(f"{key}={_text(value)}" for key, value in sorted(self.options.items()))
        return f"{self.name}({inside})"

    @property
    def in_epochs(self) -> bool:
        """Whether the lengths of epochs decide what it does."""
        return not {"k", "every"}.isdisjoint(REGIMES[self.name])

    def complete(self) -> "Regime":
        """Give the regime with nothing left open but `lr`, for a training that has no recipe.

        k is 5 epochs, the ratio 1e-6 as in `lerac.LeRaC`, σ 1, its decay 0.9 every 2 epochs. The curve is exponential,
        of a warm-up linear, and without a ratio a straight line from 0. The factor of `layer-decay` is 0.8, that of
        ELECTRA's small and base models.

        Examples:
            >>> str(parse_regime("lerac(k=3)").complete())
            'lerac(curve=exponential,k=3,ratio=1e-6)'
            >>> str(parse_regime("warmup").complete())
            'warmup(curve=linear,k=5)'
        """
        allowed = REGIMES[self.name]
        options: dict[str, Value] = {key: value for key, value in _OPEN.items() if key in allowed}
        if self.name == "warmup":
            options["curve"] = "linear"
        options |= {key: value for key, value in self.options.items() if (key, value) != ("depth", "measured")}
        if options.get("curve") == "linear" and self.name == "warmup" and "ratio" not in self.options:
            del options["ratio"]
        if options.get("curve") == STAIRCASE:
            base = options.setdefault("base", 10.0)
            options.setdefault("updates", updates_needed(float(base), float(options["ratio"])))
        return Regime(self.name, options)


def parse_regime(text: str) -> Regime:
    """Read `name` or `name(option=value,…)`; spaces do not matter.

    Raises:
        ValueError: if the name, an option or a value is not allowed; the message lists what is.
    """
    if "{" in text or "}" in text:
        raise ValueError(
            f"regime {text!r} has braces, which list the regimes of a comparison; here one is wanted, so give each "
            "option one value"
        )
    match = re.fullmatch(r"([^()]*?)(?:\(([^()]*)\))?", re.sub(r"\s+", "", text))
    if match is None:
        raise ValueError(f"regime {text!r} is not of the form name or name(option=value,…)")
    name, inside = match.groups()
    if name not in REGIMES:
        raise ValueError(f"unknown regime {text!r}; allowed: {', '.join(REGIMES)}")
    options: dict[str, Value] = {}
    for item in inside.split(",") if inside else ():
        key, _, value = item.partition("=")
        if key not in REGIMES[name]:
            allowed = ", ".join(REGIMES[name]) or "none"
            raise ValueError(f"regime {text!r}: unknown option {key!r}; allowed for {name}: {allowed}")
        if key in options:
            raise ValueError(f"regime {text!r}: option {key!r} is given twice")
        parse, takes = OPTIONS[key]
        try:
            options[key] = parse(value)
        except ValueError:
            raise ValueError(f"regime {text!r}: {key} takes {takes}, got {value!r}") from None
    if stray := [key for key in ("base", "updates") if key in options and options.get("curve") != STAIRCASE]:
        raise ValueError(f"regime {text!r}: {stray[0]} is an option of the staircase only; add curve={STAIRCASE}")
    return Regime(name, options)


def updates_needed(base: float, ratio: float) -> int:
    """Count the updates of a staircase that lift the layer with the lowest start to the full rate, at least 1."""
    needed = math.ceil(-math.log(ratio) / math.log(base) - 1e-9)  # exact powers need no more for their rounding
    return max(1, needed)


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    return re.sub(r"e([+-])0+", r"e\1", repr(value).removesuffix(".0"))
