"""Views and panels linked around one state."""
