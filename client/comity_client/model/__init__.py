"""The BERT that is fine-tuned: built, moved to and from a flat vector, exported."""
