"""What `rosd show`, `rosd tables` and `rosd diff` print."""
