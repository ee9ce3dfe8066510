"""The commands `lerac recipes` and `lerac recipes show`."""

import json
from typing import Annotated

import typer

from lerac.commands.options import Json
from lerac.study.errors import StudyError, printable
from lerac.study.recipes.files import recipe_text

__all__ = ["recipes_app"]

recipes_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="List the recipes, or show one.")


@recipes_app.callback()
def recipes_command(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes and which cells of the paper's tables they reproduce, or show one."""
    if context.invoked_subcommand:
        if as_json:
            raise StudyError("recipes --json prints the list; recipes show prints TOML and takes no --json")
        return
    from lerac.study.terminal.recipes import known_recipes, print_recipes

    known = known_recipes()
    if as_json:
        print(json.dumps(known, indent=2))
        return
    from rich.console import Console

    print_recipes(Console(), known)


@recipes_app.command("show")
def show_command(name: Annotated[str, typer.Argument(metavar="NAME", help="MODEL/DATASET or an alias.")]) -> None:
    """Print the TOML of a recipe."""
    print("".join(sign if sign in "\n\t" else printable(sign) for sign in recipe_text(name)), end="")
