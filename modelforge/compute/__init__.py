"""How a run computes: what is decided about the machine, which weights move, and where a step is made faster."""
