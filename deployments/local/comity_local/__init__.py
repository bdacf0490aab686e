"""`comity demo`: a whole federation of real daemons on one machine."""
