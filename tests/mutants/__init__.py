"""Planted bugs, each of which the laws of the campaigns must catch."""
