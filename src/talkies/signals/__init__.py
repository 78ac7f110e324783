"""Signals that end a process: heard at once, answered where it is safe."""
