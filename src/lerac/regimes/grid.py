"""Grids of regimes: `lerac(k={1,3,5},ratio={1e-2,1e-4})` is short for every regime of the product."""

import re
from itertools import product

from lerac.regimes.text import OPTIONS, Regime, parse_regime

__all__ = ["split_regimes"]


def split_regimes(text: str) -> list[Regime]:
    """Read a list separated by commas; commas inside brackets belong to the regime.

    In place of an option's value there may be several in braces: the regime then stands for all that can be made of
    them, the values of the last option changing first.

    Raises:
        ValueError: if one is not a regime, or two are the same, or braces are not of that form.

    Examples:
        >>> [str(regime) for regime in split_regimes("conventional, lerac(k={1,3},ratio=0.01)")]
        ['conventional', 'lerac(k=1,ratio=0.01)', 'lerac(k=3,ratio=0.01)']
    """
    parts = re.split(r",(?![^(]*\))", text)
    regimes = [parse_regime(one) for part in parts for one in (_expanded(part) if _has_braces(part) else [part])]
    names = [str(regime) for regime in regimes]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"regimes: {', '.join(sorted(repeated))} is given twice")
    return regimes


def _has_braces(text: str) -> bool:
    return "{" in text or "}" in text


def _expanded(text: str) -> list[str]:
    """Give the texts that a regime with braces stands for."""
    match = re.fullmatch(r"([^(){}]*)\(([^()]*)\)", re.sub(r"\s+", "", text))
    if match is None:
        raise _refused(text, "braces stand inside the round brackets of one regime, in place of a value")
    name, inside = match.groups()
    if re.search(r"\{[^}]*\{", inside) and inside.count("{") == inside.count("}"):
        raise _refused(text, "there are braces inside of braces; all values of an option stand in one pair")
    if not re.fullmatch(r"([^{}]*\{[^{}]*\})*[^{}]*", inside):
        raise _refused(text, "a brace lacks its other half")
    choices = []
    for item in re.split(r",(?![^{}]*\})", inside):
        if not _has_braces(item):
            choices.append([item])
        elif whole := re.fullmatch(r"([^{}=]+)=\{([^{}]*)\}", item):
            key, values = whole.groups()
            choices.append([f"{key}={one}" for one in _values(text, key, values.split(","))])
        else:
            raise _refused(text, f"{item} is more or less than an option and its values in one pair of braces")
    return [f"{name}({','.join(items)})" for items in product(*choices)]


def _values(text: str, key: str, values: list[str]) -> list[str]:
    if not all(values):
        raise _refused(text, f"{key} has {'no value' if values == [''] else 'an empty value'} in its braces")
    parse = OPTIONS[key][0] if key in OPTIONS else str
    try:
        same = [parse(value) for value in values]
    except ValueError:
        return values  # which regime cannot be is said when it is read
    if twice := [value for i, value in enumerate(values) if same[i] in same[:i]]:
        raise _refused(text, f"{key} has {twice[0]} twice in its braces")
    return values


def _refused(text: str, why: str) -> ValueError:
    return ValueError(f"regime {text.strip()!r}: {why}; write it like lerac(k={{1,3,5}},ratio={{1e-2,1e-4}})")
