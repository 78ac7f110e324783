"""The first import of `talkies`: from here on no signal is lost, whatever is still to be imported.

Only if this process is the console script or `python -m talkies.cli.main`; a program that merely imports
`talkies.cli.main` keeps its handlers.
"""

import atexit
import sys

from talkies.signals.flag import FLAG, exit_if_code_set, install

MODULE, SCRIPT = "talkies.cli.main", "/talkies"


def listen() -> None:
    """Record signals from now on, until the process ends."""
    if FLAG.permanent:
        return
    if not FLAG.replaced:
        install()
    FLAG.permanent = True
    from talkies.signals import watch  # noqa: PLC0415 (it imports more, and the handlers come first)

    watch.start()


def ours() -> bool:
    """Whether this process was started as `talkies`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    return getattr(spec, "name", None) == MODULE or str(getattr(main, "__file__", "")).endswith(SCRIPT)


atexit.register(exit_if_code_set)  # registered first, called last
if ours():
    listen()
