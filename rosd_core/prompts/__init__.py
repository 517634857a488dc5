"""Everything that is put to a model: templates, fitting to a length, chat encoding."""
