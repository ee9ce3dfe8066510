"""How long the command line takes to answer what needs no torch, as a ratio to `import torch` alone.

    python benchmarks/start.py [--repetitions 10]

Every call is a process of its own; in every round they take turns in a random order. A ratio is the median over the
rounds, with a 95 % interval.
"""

import argparse
import statistics
import subprocess
import sys

import torch

from interleaved import machine, ratio, rounds

CALLS = {
    "import torch": ["-c", "import torch"],
    "import lerac": ["-c", "import lerac"],
    "lerac --help": ["-m", "lerac", "--help"],
    "lerac recipes": ["-m", "lerac", "recipes"],
    "lerac report --help": ["-m", "lerac", "report", "--help"],
}


def call(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repetitions", type=int, default=10)
    repetitions = options.parse_args().repetitions
    device = torch.device("cpu")
    ways = {name: (lambda arguments=arguments: call(arguments)) for name, arguments in CALLS.items()}
    seconds = rounds(ways, repetitions=repetitions, calls=1, device=device)
    print(f"Measured on {machine(device)}. Medians of {repetitions} interleaved rounds [95 % interval].\n")
    print("| call | seconds | ÷ import torch |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| `{name}` | {statistics.median(taken):.2f} | {ratio(taken, seconds['import torch'])} |")


if __name__ == "__main__":
    main()
