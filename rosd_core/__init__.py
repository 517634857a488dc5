"""The pure core of ROSD: frames, token lists and tensors in, new ones out. No paths of the project,
no params.
"""
