"""The core of ROSD, a folder per step of the method: frames, token lists and tensors in, new ones
out. It does not know the project's paths; see README.md for the folders.
"""
