"""Step 1: problems to requests, completions to graded rows."""
