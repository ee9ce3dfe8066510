"""attach.json: what `lerac.attach` notes of a training, by which pairing is checked and rates are drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lerac.regimes.record import FILE
from lerac.study.errors import StudyError
from lerac.study.files import read_json

__all__ = ["Attached", "Record", "read_record"]

Step = Annotated[int, Field(ge=0, le=10**12)]
Start = Annotated[float, Field(gt=0, le=1)]
Sigma = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Attached(BaseModel):
    """What is known of one optimizer; steps are optimizer steps from 0. None could not be seen."""

    model_config = ConfigDict(extra="allow", frozen=True)
    epoch_steps: Annotated[int, Field(ge=1, le=10**12)]
    epochs: Annotated[float, Field(gt=0)] | None = None
    weights: str | None = None
    batch: str | None = None
    steps: Step
    resumed: Step = 0
    ended: bool = False
    scaled: bool = False
    k: Step | None = None
    finished: bool = True
    curve: str | None = None
    layers: list[tuple[str, Step, Start]] = Field(default_factory=list)
    lr: list[tuple[Step, float]] = Field(default_factory=list)
    sigma: list[tuple[Step, Sigma]] = Field(default_factory=list)


class _File(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)
    version: Literal[1]
    regime: str
    seed: int | None = None
    attached: list[Attached] = Field(min_length=1)


@dataclass(frozen=True)
class Record:
    """What is known of a training.

    Args:
        regime: canonical text, with nothing left open.
        attached: of every optimizer.
    """

    regime: str
    attached: tuple[Attached, ...]

    @property
    def steps(self) -> int:
        """That all optimizers have taken together."""
        return sum(one.steps for one in self.attached)

    @property
    def epochs(self) -> int | None:
        """Whole epochs that were promised; None if they were not."""
        epochs = self.attached[0].epochs
        return int(epochs) if epochs is not None and epochs == int(epochs) else None

    @property
    def within_curriculum(self) -> bool:
        """Whether training has ended before a curriculum of learning rates had; smoothing has no end."""
        return any(one.steps < (one.k or 0) for one in self.attached)

    @property
    def pairing(self) -> dict[str, str | None]:
        """What must be the same for all regimes of a seed; None: not seen. Loss scaling skips steps of its own."""
        return {
            "weights": _together(self.attached, lambda one: one.weights),
            "first batch": _together(self.attached, lambda one: one.batch),
            "steps": _together(
                self.attached, lambda one: "scaled" if one.scaled else str(one.steps) if one.ended else None
            ),
        }


def read_record(folder: Path) -> Record | None:
    """Read what was noted in a folder, or None if nothing was.

    Raises:
        StudyError: if it is damaged.
    """
    path = folder / FILE
    if (content := read_json(path)) is None:
        return None
    try:
        read = _File.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StudyError(
            f"{path} is damaged: {where} {first['msg']}; delete it, and pairing cannot be checked"
        ) from None
    return Record(read.regime, tuple(read.attached))


def _together(attached: tuple[Attached, ...], part: Callable[[Attached], str | None]) -> str | None:
    found = [part(one) for one in attached]
    return None if None in found else "+".join(one for one in found if one is not None)
