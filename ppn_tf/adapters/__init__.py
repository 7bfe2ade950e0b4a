"""What other programs expect, where it differs from this package: one module per program."""
