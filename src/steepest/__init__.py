"""steepest: how should this model be trained?"""

__version__ = "0.1.0.dev0"
