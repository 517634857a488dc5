"""A response and a problem in, a verdict out."""
