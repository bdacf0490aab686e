"""The institution's side: the only home of rows and of an institution's private keys."""
