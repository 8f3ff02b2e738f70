"""The command line: one file per verb. ``steepest --help`` lists them."""
