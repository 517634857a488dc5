"""Where prompt templates run: they may come with a project of somebody else's, and reach their
fields alone.
"""

from functools import lru_cache

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

JINJA = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
)


@lru_cache
def compiled(text: str) -> Template:
    """The template with this text; compiling takes a millisecond, for each row of a table."""
    return JINJA.from_string(text)
