"""Where weft's log lines go."""

from __future__ import annotations

import logging
import sys

_MARK = "weft-configured"


def configure_logging(level: int | str = "INFO", rich: bool = True) -> None:
    """Send weft's log lines to standard error; calling it again changes level and looks.

    Parameters
    ----------
    level
        As in `logging`: ``"DEBUG"``, ``"INFO"``, ``"WARNING"``…
    rich
        Coloured and aligned on a terminal; plain lines elsewhere.

    Raises
    ------
    ValueError
        For an unknown level.
    """
    logger = logging.getLogger("weft")
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    for old in [h for h in logger.handlers if h.get_name() == _MARK]:
        logger.removeHandler(old)
    handler: logging.Handler
    if rich and sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    handler.set_name(_MARK)
    logger.addHandler(handler)
    logger.propagate = False
