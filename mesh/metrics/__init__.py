"""What a node tells of itself by HTTP: metrics for Prometheus; whether it lives and is ready."""
