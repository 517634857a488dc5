"""Forward passes over given responses: packing, hidden states, teachers."""
