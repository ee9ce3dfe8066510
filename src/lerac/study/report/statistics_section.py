"""What the page shows of the tests behind the verdicts, as plain values for its template."""

from typing import Any

from lerac.study.runs.comparison import Comparison
from lerac.study.statistics import tally

__all__ = ["tests_of"]


def tests_of(comparison: Comparison) -> dict[str, Any] | None:
    """Give everything that the template shows of the statistics of one recipe; None if there is nothing yet."""
    cells = [cell for cell in comparison.cells if cell.evidence or cell.failures.diverged]
    if not cells:
        return None
    outlooks = [cell for cell in cells if cell.outlook]
    return {
        "name": comparison.recipe.name,
        "metric": comparison.metric,
        "cells": cells,
        "compared": any(cell.evidence for cell in cells),
        "diverged": any(cell.failures.diverged for cell in cells),
        "outlooks": [(cell.regime, cell.outlook.text(cell.metric)) for cell in outlooks if cell.outlook],
        "claimed": any(cell.outlook.claimed for cell in outlooks if cell.outlook),
        "networks": [(cell.regime, tally(cell.networks)) for cell in cells if cell.networks],
    }
