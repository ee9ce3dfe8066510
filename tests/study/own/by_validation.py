"""A command of somebody's own, without torch: writes what lerac.attach would, and results of both splits."""

import json
import os
import sys
from pathlib import Path

folder, regime = Path(os.environ["LERAC_FOLDER"]), os.environ["LERAC_REGIME"]
noted = {"epoch_steps": 4, "epochs": 5, "steps": 20, "ended": True}
(folder / "attach.json").write_text(json.dumps({"version": 1, "regime": regime, "attached": [noted]}))
value = 1 - abs(float(sys.argv[1]) - 0.3)
(folder / "result.json").write_text(json.dumps({"validation": {"accuracy": value}, "test": {"accuracy": 0.987654321}}))
