"""The stages of the pipeline: one module per DVC stage, each a typer command. Paths and params live
here only.
"""
