"""Traces in a terminal: asked for, put together, drawn."""
