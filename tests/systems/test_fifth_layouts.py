"""A system that knows no layouts of released folders says so, in one line."""
