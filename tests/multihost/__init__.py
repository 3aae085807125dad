"""Several hosts on one machine: network namespaces, joined by bridges in a namespace of its own.

``lab.py`` makes them; the tests run real processes in them and pull real cables.
"""
