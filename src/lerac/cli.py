"""The command line `lerac …`: its commands are in `lerac.commands`, and end here in an exit code."""

import sys

import typer

from lerac.commands.data import data_app
from lerac.commands.figures import figure_app
from lerac.commands.models import layers_command, schedule_command, snr_command
from lerac.commands.recipes import recipes_app
from lerac.commands.study import compare_command, report_command, train_command
from lerac.commands.tune import tune_command
from lerac.study.errors import StudyError, printable

__all__ = ["app", "run"]

INTERRUPTED = 130  # what shells give a process that Ctrl-C ended

app = typer.Typer(
    name="lerac",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    help="Learning Rate Curriculum (LeRaC): compare it with conventional training, on your terms.",
)
app.command("compare")(compare_command)
app.command("tune")(tune_command)
app.command("train")(train_command)
app.command("report")(report_command)
app.command("layers")(layers_command)
app.command("schedule")(schedule_command)
app.command("snr")(snr_command)
app.add_typer(recipes_app, name="recipes")
app.add_typer(data_app, name="data")
app.add_typer(figure_app, name="figure")


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; give the exit code. Bad input is one line on stderr and code 2, never a traceback."""
    try:
        code = app(arguments, standalone_mode=False)  # None, or the code of a typer.Exit
        sys.stdout.flush()
    except _USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
            return 2
        return _refuse(error.format_message())  # type: ignore[attr-defined]
    except StudyError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or 'file'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("lerac: interrupted; the same command continues where it stopped", file=sys.stderr)
    return code or 0


# The root of "no such option", "missing argument" and their like, wherever typer keeps it.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def _refuse(message: str) -> int:
    print(f"lerac: {printable(' '.join(message.split()))}", file=sys.stderr)
    return 2
