"""Long life under load and churn: what a process holds must not grow."""
