"""The command `lerac`, also as `python -m lerac`."""

import os
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import TextIO

__all__ = ["main"]

NEEDED = ("accelerate", "filelock", "jinja2", "matplotlib", "numpy", "pydantic", "rich", "scipy", "sklearn", "typer")
INTERRUPTED = 130  # what shells give a process that Ctrl-C ended


def main() -> None:
    """Run the command line and exit with its code; say what to install if the extra is missing."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody wants Ctrl-C ignored
        signal.signal(signal.SIGINT, _end)
    sys.exit(_main())


def _main() -> int:
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(f"lerac: the command line needs {', '.join(missing)}: pip install 'lerac[study]'", file=sys.stderr)
        return 2
    if sys.stdout is None:
        print("lerac: stdout is closed; to see nothing, send it to /dev/null", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without ± still gets its table
    from lerac.cli import run

    code = run()
    try:
        sys.stdout.flush()
    except OSError:  # as `run` has said; nobody is to try it once more
        with suppress(OSError):
            os.dup2(_nowhere().fileno(), sys.stdout.fileno())
    return code


def _end(*_: object) -> None:
    """End at once: libraries that are being loaded make other errors of an exception, or lose it.

    Nothing is half done by it but training, which has its own way to end (`lerac.study.engines.session`).
    """
    with suppress(OSError):
        os.write(2, b"lerac: interrupted; the same command continues where it stopped\n")
    os._exit(INTERRUPTED)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - open until the end


if __name__ == "__main__":
    main()
