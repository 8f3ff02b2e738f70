"""steepest: how should this model be trained?"""
