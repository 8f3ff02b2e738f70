"""core/executors."""
