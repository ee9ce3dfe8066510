"""The param groups that `step()` is shown: those of the user, divided by layer, and what it wrote into them."""
