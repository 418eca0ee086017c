"""Care of a run directory: copies, archives, checks, and the removal of what is no longer needed."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import warnings
import zipfile
from pathlib import PurePosixPath
from typing import Any, Self

from weft.errors import CorruptResult, InvalidInput
from weft.run import cleaning
from weft.run.contents import COPY, FOLDERS, FRAMED, OURS, checked, new_place, walk
from weft.run.handle import Handle, frozen
from weft.store.layout import CHANGES, JOBS, LEASE, RESULTS, RUN
from weft.store.record import RunDirectory
from weft.study.opening import absolute, load_study
from weft.values.table import Table


class Care(Handle):
    """The part of `Run` that looks after its directory."""

    def copy(self, path: str | os.PathLike[str], store: Any = None) -> Self:
        """Copy the run directory, checking every file on the way.

        Parameters
        ----------
        path
            A new place; what is there already is refused.

        Returns
        -------
        Run
            The copy.

        Raises
        ------
        InvalidInput
            If there is something at `path`, it is in the run directory itself, or another kind of store is
            asked for.
        CorruptResult
            If a file does not match its checksum; the partial copy is removed.
        """
        if store not in (None, "auto", "files"):
            raise InvalidInput(f"A copy is kept in files; store={store!r} is not known here.")
        directory = self._directory()
        fs = directory.fs
        _check_outside(directory, path)
        with new_place(path) as place:
            for name in _kept(directory):
                fs.make_dirs(os.path.dirname(f"{place}/{name}"))
                fs.write_new(f"{place}/{name}", checked(directory, name))
        study = load_study(absolute(path), fs, trust=self._trust).refresh()
        return type(self)(study, trust=self._trust, pipeline=self._pipeline)

    def archive(self, path: str | os.PathLike[str]) -> str:
        """Pack the run directory into a zip file, which `weft.open_run` reads.

        Raises
        ------
        InvalidInput
            If there is something at `path`, or it is in the run directory itself.
        CorruptResult
            If a file does not match its checksum.
        """
        directory = self._directory()
        _check_outside(directory, path)
        with new_place(path) as place, open(place, "xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
                for name in _kept(directory):
                    with packed.open(name, "w", force_zip64=True) as entry:
                        for piece in checked(directory, name):
                            entry.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return absolute(path)

    def delete(self, ask: bool = True) -> list[str]:
        """Remove the run directory: what weft wrote, and nothing else.

        Parameters
        ----------
        ask
            Ask on the terminal before; without a terminal this is refused unless False.

        Returns
        -------
        list of str
            Files that weft did not write. They stay, and so do the folders that hold them.

        Raises
        ------
        RunLocked
            While a driver is at work.
        """
        directory = self._directory()
        if ask:
            if not sys.stdin.isatty():
                raise InvalidInput(
                    f"Nobody can be asked whether to delete {directory.path}: say run.delete(ask=False)."
                )
            if input(f"Delete the run in {directory.path}? [y/N] ").strip().lower() not in ("y", "yes"):
                return []
        with self._alone():
            foreign = _remove_ours(directory, "")
            directory.fs.remove(f"{directory.path}/{RUN}", missing_ok=True)
        if not foreign:
            directory.fs.remove_tree(directory.path)
        else:
            warnings.warn(f"weft did not write these, so they stay: {', '.join(foreign)}", stacklevel=2)
        return foreign

    def verify(self, repair: bool = False) -> Table:
        """Check the checksum of every byte of inputs, code, results, and copies of files.

        Parameters
        ----------
        repair
            Set damaged results aside (``.damaged``), so that their elements are open and `resume` makes them
            again. Inputs and code cannot be made again: give them once more.

        Returns
        -------
        Table
            A row for each problem: path, what is wrong, what was or can be done. Empty if all is well.
        """
        if self.path is None:
            return Table()
        with self._alone() if repair else contextlib.nullcontext(self._directory()) as directory:
            return _verified(directory, repair)

    def gc(self, dry: bool = False) -> Table:
        """Remove what nothing needs any more.

        That is: results of earlier code and inputs, superseded commits, unfinished files older than
        an hour, and scratch folders of finished elements.

        Parameters
        ----------
        dry
            Only say what would go.

        Returns
        -------
        Table
            A row for each file or folder: path, bytes, why.
        """
        if self.path is None:
            return Table()
        with contextlib.nullcontext(self._directory()) if dry else self._alone() as directory:
            found = cleaning.removable(directory, self._sync())
            for row in () if dry else found:
                directory.fs.remove_tree(f"{directory.path}/{row['path']}")
        self._sync()
        return found

    def _has_news(self) -> bool:
        """Whether the run directory has changes or results that this object has not looked at yet."""
        if self.path is None:
            return False
        study, directory = self._study, self._directory()
        if directory.numbers()[-1:] != [study.epoch]:
            return True
        for name, results in study.results.items():
            commits = [commit for held in results.commits.values() for commit in held.values()]
            known = {commit.name for commit in commits if commit.identity == results.identity}
            if set(study.store.names(name, results.identity)) - results.damaged.keys() != known:
                return True
        return False

    def snapshot(self) -> Self:
        """The run as it is now, for reading: what happens later is not seen."""
        study = frozen(self._sync())
        return type(self)(study, None, self._trust, self._pipeline, sealed="a snapshot")


def unpacked(path: str) -> str:
    """Unpack an archive into a temporary folder, which goes when this process ends.

    Raises
    ------
    InvalidInput
        If the file is no archive of a run.
    """
    if not zipfile.is_zipfile(path):
        raise InvalidInput(f"{path} is a file, and not an archive of a run.")
    folder = tempfile.mkdtemp(prefix="weft-archive-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(path) as packed:
        names = packed.namelist()
        if RUN not in names or any(
            PurePosixPath(n).is_absolute() or ".." in PurePosixPath(n).parts for n in names
        ):
            raise InvalidInput(f"{path} is not an archive of a run.")
        packed.extractall(folder)
    return folder


def _check_outside(directory: RunDirectory, path: str | os.PathLike[str]) -> None:
    """Refuse a place for a copy that is in the run directory itself."""
    target, own = os.path.realpath(absolute(path)), os.path.realpath(directory.path)
    if target.startswith(f"{own}{os.sep}"):
        raise InvalidInput(f"{target} is in the run directory itself. Choose a place outside of it.")


def _kept(directory: RunDirectory) -> list[str]:
    """The files that make a run, run.json last: without it a folder is no run."""
    directory.info()
    names = [n for n in walk(directory) if n != LEASE and not n.startswith((f"{JOBS}/", f"{LEASE}."))]
    return sorted(names, key=lambda name: (name == RUN, name.startswith(f"{CHANGES}/"), name))


def _verified(directory: RunDirectory, repair: bool) -> Table:
    rows = Table()
    for name in walk(directory):
        path, copy = f"{directory.path}/{name}", COPY.fullmatch(name)
        if not copy and not FRAMED.fullmatch(name):
            continue
        try:
            for _ in checked(directory, name):
                pass
        except FileNotFoundError:
            continue  # superseded, and removed since it was listed
        except CorruptResult as error:
            then = (
                "the file itself is read, if it is still there" if copy else "resume makes its elements again"
            )
            if not copy and not name.startswith(f"{RESULTS}/"):
                cure = "give the inputs and the pipeline again, with another run_dir"
            elif repair:
                directory.fs.move(path, f"{path}.damaged")
                cure = f"set aside: {then}"
            else:
                cure = f"verify(repair=True), then {then}"
            rows.append({"path": name, "problem": str(error), "cure": cure})
    return rows


def _remove_ours(directory: RunDirectory, below: str) -> list[str]:
    """Remove what weft wrote below a folder, run.json aside; what it did not write."""
    fs, foreign = directory.fs, []
    for name in fs.disk.listdir(f"{directory.path}/{below}"):
        path = f"{below}/{name}" if below else name
        whole = f"{directory.path}/{path}"
        if fs.disk.kind(whole, follow=False) == "directory":
            left = _remove_ours(directory, path)
            foreign += left
            if not left and path.partition("/")[0] in FOLDERS:
                fs.remove_tree(whole)
            elif not left:
                foreign.append(f"{path}/")
        elif not OURS.fullmatch(path):
            foreign.append(path)
        elif path not in (RUN, LEASE):
            fs.remove(whole, missing_ok=True)
    return sorted(foreign)
