"""Accuracy tables, and methods compared."""
