"""The commands `lerac data check`, `lerac data sample` and `lerac data split`."""

from pathlib import Path
from typing import Annotated

import typer

from lerac.commands.options import DataRoot, Json
from lerac.study.files import check_folder

__all__ = ["data_app"]

DataName = Annotated[str, typer.Argument(metavar="NAME", help="Of the data set: cifar10, fashion-mnist, voc …")]

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check data sets, or make samples of them.")


@data_app.command("check")
def data_check_command(name: DataName, root: DataRoot = None, as_json: Json = False) -> None:
    """Read every file of a data set: counts, labels, images. The first faulty file is named."""
    from lerac.study.terminal.data import check_data, print_checked

    print_checked(check_data(name, root), as_json=as_json)


@data_app.command("sample")
def data_sample_command(
    name: DataName,
    root: Annotated[Path, typer.Option(help="Folder that gets the data set's folder.")],
    as_json: Json = False,
) -> None:
    """Write a tiny generated data set in the official layout, always the same; never over anything."""
    from lerac.study.terminal.data import print_checked, write_sample

    check_folder(root, "--root")
    print_checked(write_sample(name, root), as_json=as_json)


@data_app.command("split")
def data_split_command(
    name: DataName,
    train: Annotated[int, typer.Option(min=1, help="Number of training examples.")],
    validation: Annotated[int, typer.Option(min=1, help="Number of examples that choose the epoch.")],
    test: Annotated[int, typer.Option(min=1, help="Number of test examples.")],
    root: DataRoot = None,
    sample: Annotated[bool, typer.Option("--sample", help="Cut a generated sample.")] = False,
    as_json: Json = False,
) -> None:
    """Print which examples are in which part; it is the same for every seed."""
    from lerac.study.terminal.data import print_split, split_data

    sizes = {"train": train, "validation": validation, "test": test}
    print_split(name, split_data(name, root, sizes, sample=sample), as_json=as_json)
