"""Imported first by a program that is to be `talkies`: it hears signals from here on."""

from talkies.signals import entry

entry.listen()
