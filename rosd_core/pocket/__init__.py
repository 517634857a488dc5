"""The built-in world and the recipe of its model."""
