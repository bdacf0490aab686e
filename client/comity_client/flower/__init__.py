"""The institution's side of Flower: the SuperNode and how it is started."""
