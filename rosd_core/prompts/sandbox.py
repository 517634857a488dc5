"""Where prompt templates run: they may come with a project of somebody else's, and reach their
fields alone.
"""

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

JINJA = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
)
