"""Speed-ups for the CPU alone; each can be deleted, and nothing but speed or memory changes."""
