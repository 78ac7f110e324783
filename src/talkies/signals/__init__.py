"""Signals that end a process: recorded at once, handled where it is safe."""
