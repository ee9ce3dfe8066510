"""The report of a study: one HTML page with everything in it, and tables for a spreadsheet and for a paper."""

from lerac.study.report.page import write_report
from lerac.study.report.tables import write_summary
from lerac.study.runs.comparison import Comparison, compare
from lerac.study.runs.merging import merge

__all__ = ["Comparison", "compare", "merge", "write_report", "write_summary"]
