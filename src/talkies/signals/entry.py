"""The first import of `talkies`: from here on no signal is lost, whatever else is still to be imported.

Only where this process is the console script or `python -m talkies.cli.main`; whoever imports `talkies.cli.main` for
another purpose keeps the handlers.
"""

import atexit
import sys

from talkies.signals.flag import FLAG, install, leave

MODULE, SCRIPT = "talkies.cli.main", "/talkies"


def listen() -> None:
    """Hear signals from now on, until the process ends."""
    if FLAG.for_good:
        return
    if not FLAG.before:
        install()
    FLAG.for_good = True
    from talkies.signals import watch  # noqa: PLC0415 (it imports more: the handlers come first)

    watch.start()


def ours() -> bool:
    """Whether this process was started as `talkies`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    return getattr(spec, "name", None) == MODULE or str(getattr(main, "__file__", "")).endswith(SCRIPT)


atexit.register(leave)  # the first that is registered is the last that is called
if ours():
    listen()
