"""mean@k, pass@k and maj@k from graded samples."""
