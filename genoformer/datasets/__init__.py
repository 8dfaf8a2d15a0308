"""What the models read, built from values."""
