"""The twelve sections of a page; each function writes one, from the report alone."""
