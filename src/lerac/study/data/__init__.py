"""The data sets that a recipe can name; what reads them is loaded when they are."""

import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lerac.study.data.places import Checked
from lerac.study.data.settings import BoxAugment, DataSettings, SoundAugment, Task
from lerac.study.errors import StudyError

if TYPE_CHECKING:
    from lerac.study.data.fingerprint import Fingerprint
    from lerac.study.data.splits import Splits

__all__ = ["DATASETS", "DataSet"]


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set without loading it, or the libraries that read it.

    Args:
        home: module of this package, or `module:object` in one, that has a function `load` and, of data with files,
            `check`, `find` and, if their checksums are known, `published`; of other data `fingerprint`.
        examples: how many with a label there are, at most.
        classes: how many labels there are; 1 for a regression.
        keys: of a recipe's section [data], beside those that all data sets take.
        sampler: `module:function` that writes a tiny generated data set; None for data without files.
        task: what its labels are.
        inputs: what its inputs are; `pictures` are images and spectrograms, `signals` have one dimension.
        augment: what a recipe's section [data.augment] can set; None where it has none.
        channels: of its pictures or signals; 0 of texts.
        parts: whether its authors say which examples are to be tested on.
        debian: folder of the package of Debian that has its files, if there is one.
    """

    home: str
    examples: int
    classes: int
    keys: tuple[str, ...] = ()
    sampler: str | None = None
    task: Task = "classification"
    inputs: Literal["pictures", "signals", "text"] = "pictures"
    augment: type[SoundAugment] | type[BoxAugment] | None = None
    channels: int = 3
    parts: bool = True
    debian: str | None = None

    @property
    def has_files(self) -> bool:
        """Whether it is read from a data root; if not, it comes with its package."""
        return self.sampler is not None

    @property
    def settings(self) -> list[str]:
        """What a recipe's section [data] can set."""
        common = {"train", "validation", "test", "label_noise", *(["sample"] if self.has_files else [])}
        return [key for key in DataSettings.model_fields if key in common or key in self.keys]

    def check_settings(self, name: str, data: DataSettings) -> None:
        """Refuse settings that this data set does not take.

        Args:
            name: of the data set, for the message.
            data: a recipe's section [data].

        Raises:
            StudyError: for the first one, with those that it takes.
        """
        for key in data.model_dump(exclude_none=True):
            if key not in self.settings:
                allowed = ", ".join(self.settings)
                raise StudyError(f"data: {name} takes no {key}; allowed in [data]: {allowed}")
        if not self.parts and (data.train is None or data.validation == "test"):
            raise StudyError(f"data: {name} has no parts of its own: train and validation must be numbers")
        if self.augment is not None and data.augment is not None:
            self.augment.of(data.augment)

    def load(self, data: DataSettings, seed: int, root: Path | None = None) -> "Splits":
        """Give the splits.

        Args:
            data: a recipe's section [data].
            seed: of the run; decides label noise and augmentation, and only where the data set's module says so
                which examples are in which split.
            root: data root; None: LERAC_DATA.

        Raises:
            StudyError: if files are missing or damaged, a setting makes no sense here, or there are fewer examples
                than asked for; reading a batch raises it if an example cannot be read.
        """
        self.check_settings(self.home, data)
        splits: Splits = self._of(self.home).load(data, seed, root)
        return splits

    def fingerprint(self, data: DataSettings, root: Path | None = None) -> "Fingerprint":
        """Say which data it is that `load` gives; arguments and errors as there."""
        from lerac.study.data.fingerprint import fingerprint_of

        home = self._of(self.home)
        if self.has_files:
            return fingerprint_of(home.find(root, bool(data.sample)), getattr(home, "published", None))
        found: Fingerprint = home.fingerprint()
        return found

    def check(self, root: Path | None = None) -> Checked:
        """Read every file under a data root, and say what is there.

        Raises:
            StudyError: with the first faulty file.
        """
        checked: Checked = self._of(self.home).check(root)
        return checked

    def sample(self, root: Path) -> None:
        """Write a tiny generated data set in the official layout, always the same.

        Raises:
            StudyError: if its folder exists.
        """
        assert self.sampler is not None
        self._of(self.sampler)(root)

    def _of(self, entry: str) -> Any:
        return pkgutil.resolve_name(f"{__name__}.{entry}")


_SOUND = ("rate", "hop", "columns", "augment")
_TEXT = ("tokens", "max_length", "min_count")


def _text(name: str, examples: int) -> DataSet:
    return DataSet(f"text.pairs:{name}", examples, 2, _TEXT, f"text.pairs:{name}.sample", inputs="text", channels=0)


DATASETS: dict[str, DataSet] = {
    "digits": DataSet("digits", 1797, 10, ("size",), channels=1, parts=False),
    "mnist1d": DataSet("mnist1d", 5000, 10, inputs="signals", channels=1),
    "fashion-mnist": DataSet(
        "pictures.fashion_mnist",
        70_000,
        10,
        ("size",),
        "pictures.samples:sample_fashion_mnist",
        channels=1,
        debian="fashion-mnist",
    ),
    "cifar10": DataSet("pictures.cifar:CIFAR10", 60_000, 10, ("size",), "pictures.samples:sample_cifar10"),
    "cifar100": DataSet("pictures.cifar:CIFAR100", 60_000, 100, ("size",), "pictures.samples:sample_cifar100"),
    "tiny-imagenet": DataSet(
        "pictures.tiny_imagenet", 110_000, 200, ("size",), "pictures.samples:sample_tiny_imagenet"
    ),
    "imagenet200": DataSet(
        "pictures.imagenet200", 270_000, 200, ("size", "crop"), "pictures.samples:sample_imagenet200"
    ),
    "food101": DataSet("pictures.food101", 101_000, 101, ("size",), "pictures.samples:sample_food101"),
    "utkface": DataSet("pictures.utkface", 23_708, 1, ("size",), "pictures.samples:sample_utkface", "regression"),
    "voc": DataSet(
        "boxes.voc", 21_503, 20, ("size", "augment"), "boxes.sample:sample_voc", "detection", augment=BoxAugment
    ),
    "boolq": _text("BOOLQ", 12_697),
    "qnli": _text("QNLI", 110_206),
    "rte": _text("RTE", 2767),
    "esc50": DataSet(
        "audio.esc50", 2000, 50, ("fold", *_SOUND), "audio.sample:sample_esc50", augment=SoundAugment, channels=1
    ),
    "cremad": DataSet("audio.cremad", 7442, 6, _SOUND, "audio.sample:sample_cremad", augment=SoundAugment, channels=1),
}
