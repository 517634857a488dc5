"""Results for experiment trackers."""
