"""Step 2: the reflector quotes the first error of a wrong response and writes an idea."""
