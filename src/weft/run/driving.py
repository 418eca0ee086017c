"""Starting a session on a study, the same for a pipeline that is run and for a run that goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from weft.engine.session import Options, Session
from weft.errors import InvalidInput
from weft.store.fs import current
from weft.store.record import RunDirectory
from weft.study.study import Study
from weft.study.tracks import Track

OPTIONS = tuple(f.name for f in fields(Options) if f.name != "backend_options")


def options_from(given: Mapping[str, Any]) -> Options:
    """Options by name; what weft does not know is the backend's."""
    known = {name: value for name, value in given.items() if name in OPTIONS}
    rest = {name: value for name, value in given.items() if name not in OPTIONS}
    known["indices"] = known.get("indices") or {}
    return Options(**known, backend_options=rest)


def check_manner(progress: Any, wait: Any) -> None:
    """Refuse what says neither how progress is shown, nor whether to wait."""
    # Observers are views, above everything; the one that is shown by default is named only in this module.
    from weft.views.progress import observer_for

    observer_for(progress)
    if wait not in (True, False):
        raise InvalidInput(f"wait is True or False, got {wait!r}.")


def _finished(study: Study) -> None:
    """After a session that ended well: what ``on_change="replace"`` replaced can go."""
    if study.path is not None and study.generation:
        from weft.run.cleaning import clear_replaced

        clear_replaced(RunDirectory(study.path, current()), study)


def drive(
    study: Study, options: Options, progress: bool | str = "auto", wait: bool = True,
    hold: Callable[[list[Track]], None] | None = None,
) -> Session:  # fmt: skip
    """Run a study to its end; without `wait` return while it runs in a thread.

    Parameters
    ----------
    progress
        ``True``, ``False`` or ``"auto"``.
    hold
        Given the tracks before work starts: takes out what is not to be run.
    """
    from weft.views.progress import observer_for

    check_manner(progress, wait)
    watching = observer_for(progress)
    observers = [*options.observers, *([watching] if watching else [])]
    session = Session(study, options, observers, lambda: _finished(study), hold)
    if wait:
        session.run()
    else:
        session.start()
    return session
