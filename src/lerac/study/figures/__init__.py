"""Pictures of the study, drawn with Matplotlib."""
