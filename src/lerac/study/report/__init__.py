"""The report of a study: one HTML page with everything in it, and tables for a spreadsheet and for a paper."""
