"""The operator's side of Flower: the SuperLink, the gate before it, and how they are started."""
