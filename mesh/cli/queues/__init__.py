"""What the commands of ``meshctl queue`` share, and how queues are shown."""
