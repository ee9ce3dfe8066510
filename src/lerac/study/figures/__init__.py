"""Pictures of the study, drawn with Matplotlib, which is loaded here, whatever MPLBACKEND says."""

from lerac.plot import load_matplotlib

load_matplotlib()
