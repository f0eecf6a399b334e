"""A Django app with a flag model of its own, as waffle's documentation has it."""
