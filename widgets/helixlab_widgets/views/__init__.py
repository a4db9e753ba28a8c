"""One view a module: each shows something, reports what the user wants, and works alone in a notebook cell."""
