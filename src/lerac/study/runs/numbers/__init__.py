"""Numbers that were measured elsewhere: read from CSV files, compared and shown as a study that is never trained."""
