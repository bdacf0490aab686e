"""The operator's side: sees masked vectors and their sum, never one institution's delta."""
