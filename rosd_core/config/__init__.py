"""params.yaml: validation, methods, presets, edits in place."""
