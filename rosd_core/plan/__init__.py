"""What an iteration will cost: tokens, operations, memory, disk and hours, before it runs."""
