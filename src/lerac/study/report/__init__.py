"""The report of a study: one HTML page with everything in it, and tables for a spreadsheet and for a paper."""

import lerac.study.figures  # noqa: F401 - first of all, as it loads Matplotlib whatever MPLBACKEND says
