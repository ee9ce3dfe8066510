"""The report of a study: one HTML page with everything in it, and tables for a spreadsheet and for a paper."""

from lerac.study.report.comparison import Comparison, compare
from lerac.study.report.merging import merge
from lerac.study.report.page import write_report
from lerac.study.report.tables import write_summary

__all__ = ["Comparison", "compare", "merge", "write_report", "write_summary"]
