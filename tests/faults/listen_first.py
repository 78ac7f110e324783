"""Import it first in a program that acts as `talkies`: signals are recorded from here on."""

from talkies.signals import entry

entry.listen()
