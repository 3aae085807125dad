"""Work queues at a running node: what ``node.queue`` and ``@node.worker`` are made of."""
