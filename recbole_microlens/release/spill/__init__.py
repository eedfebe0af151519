"""Converts tables that do not fit in memory: rows go to files by user, which are sorted one after another.

:mod:`plan` says how many files, and how much disk they take; :mod:`distributing` reads the table into them;
:mod:`partitions` sorts each; :mod:`ranking` orders users whose ids are not numbers; :mod:`spilled` reads all
back in order. A process that is killed continues where it stopped.
"""
