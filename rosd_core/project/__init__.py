"""A new project from a model and a data file (`rosd init`): what it measures and chooses."""
