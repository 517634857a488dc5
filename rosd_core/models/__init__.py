"""Model folders: loading, adapters, and the pointer to a base model."""
