"""The command `lerac`, also as `python -m lerac`."""

import sys
from importlib.util import find_spec

__all__ = ["main"]

NEEDED = ("accelerate", "filelock", "jinja2", "matplotlib", "numpy", "pydantic", "rich", "scipy", "sklearn", "typer")


def main() -> None:
    """Run the command line and exit with its code; say what to install if the extra is missing."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(f"lerac: the command line needs {', '.join(missing)}: pip install 'lerac[study]'", file=sys.stderr)
        sys.exit(2)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without ± still gets its table
    try:
        from lerac.cli import run

        code = run()
    except KeyboardInterrupt:  # while libraries are loaded
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
