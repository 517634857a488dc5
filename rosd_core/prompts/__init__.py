"""Every prompt of a model: templates, fitting to a length, chat encoding."""
