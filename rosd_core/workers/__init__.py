"""Shards on other processes and machines."""
