"""Step 3: error quote to characters of the response to supervised tokens."""
