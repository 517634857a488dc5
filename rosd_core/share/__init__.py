"""Results for others: a checkpoint with its card, the tables as a data set."""
