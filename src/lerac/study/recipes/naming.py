"""What a recipe is called: MODEL/DATASET, or as it says itself."""

import re
from collections.abc import Mapping
from typing import Any

from lerac.study.errors import shown
from lerac.study.models.theirs import called, is_theirs

__all__ = ["check_name", "slug_of", "usual_name"]

LONGEST = 100  # signs of a name, which is a part of names of folders


def check_name(name: str) -> None:
    """See that it can be a name.

    Raises:
        ValueError: if it cannot.
    """
    if not re.search(r"\w", name) or name.startswith((".", "-")) or len(name) > LONGEST:
        raise ValueError(f"name must be a word of at most {LONGEST} signs, got {shown(name)}")


def slug_of(name: str) -> str:
    """Give the name of a recipe as a file name."""
    return re.sub(r"[^\w.+-]+", "-", name.replace("/", "__"))


def usual_name(values: Mapping[str, Any]) -> str | None:
    """Give MODEL/DATASET, as the command line takes it; None where they are no names."""
    model, dataset = values.get("model"), values.get("dataset")
    if not isinstance(model, str) or not isinstance(dataset, str):
        return None
    return f"{called(model) if is_theirs(model) else model}/{dataset}"
