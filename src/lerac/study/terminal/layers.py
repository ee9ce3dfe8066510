"""The layers of a network as a table on a terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lerac.layers import Layer

__all__ = ["print_layers"]


def print_layers(console: Console, title: str, layers: Sequence[Layer], sizes: Mapping[str, int]) -> None:
    """Print one row per layer, and below it the parameters that no trace reached.

    Args:
        console: where to.
        title: name of the network.
        layers: nearest to the input first.
        sizes: number of weights of every parameter.
    """
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("depth", justify="right")
    table.add_column("layer", overflow="fold")
    table.add_column("tensors", justify="right")
    table.add_column("weights", justify="right")
    for layer in layers:
        weights = sum(sizes[name] for name in layer.parameters)
        table.add_row(str(layer.depth), escape(layer.name), f"{len(layer.parameters):,}", f"{weights:,}")
    console.print(table)
    for layer in layers:
        for parameter, rule in layer.placed.items():
            console.print(f"{parameter}: depth {layer.depth}, {rule}", markup=False, highlight=False, soft_wrap=True)
