"""Running many trials: proposals, early stopping, executors, tracking and the live view."""
