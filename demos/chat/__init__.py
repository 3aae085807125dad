"""A chat between laptops: rooms, private messages and files, without a server.

``python -m demos.chat --nick ana`` runs it. It uses the public API only, ``import mesh``, and
Textual for the terminal (``pip install 'mesh-p2p[chat]'``). Inside, each imports those below it:

====================  =====================================================================
``app``, ``widgets``  the screen; the only modules that import Textual
``commands``          what a line that is typed does
``session``           the chat as an object: its node, what comes in and what goes out
``service``           what a chat serves to the others
``room``              a room that one is in, and what was said there before one came
``files``             files to and from other people, in calls
``people``            who is here, in which rooms, and how they are called
``wire``              what travels, checked as it arrives
``conversation``      lines in their order, and which of them are unread
``text``              text of strangers, made fit for a terminal and for a file system
====================  =====================================================================

Everything but the screen runs without a terminal, and the tests drive it so.
"""
