"""Step 4: the self-teacher's next-token distribution at every supervised token."""
