"""The tables of the pages: a module for each room, its tables by the name that marks their place."""
