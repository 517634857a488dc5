"""The one exception for everything that a user can fix."""


class RosdError(Exception):
    """A message that names the file, key or row and says what to do; the CLI prints it and exits
    with code 1.
    """
