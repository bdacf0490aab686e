"""Files that an audit writes: never over another one, all of them or none."""

import os
from pathlib import Path


def check_free(file: Path) -> None:
    """Check that a file can be written, before anything is computed for it.

    Raises:
        Problem: something has its name, or nothing can be written where it would be.
    """
    from comity_common.errors import Problem
    from comity_host.files import draft_of

    if os.path.lexists(file):
        why = "it is there already"
    elif os.path.lexists(draft_of(file)):
        why = f"{draft_of(file).name} is there, which would be overwritten"
    elif not file.parent.is_dir():
        why = "its directory is not there"
    elif not os.access(file.parent, os.W_OK | os.X_OK):
        why = "nothing can be written into its directory"
    else:
        return
    raise Problem("COM-AUDIT-012", file=file, why=why)


def write_out(*outputs: tuple[Path, bytes]) -> None:
    """Write files; if one cannot be written, none of them is there.

    Raises:
        Problem: one cannot be written.
    """
    from comity_common.errors import Problem
    from comity_host.files import is_disk_full, write_durably

    written: list[Path] = []
    for file, raw in outputs:
        try:
            check_free(file)
            write_durably(file, raw)
        except OSError as error:
            _take_back(written)
            if is_disk_full(error):
                raise Problem("COM-HOST-001", path=file.parent) from None
            why = error.strerror or "it cannot be"
            raise Problem("COM-AUDIT-012", file=file, why=why) from None
        except Problem:
            _take_back(written)
            raise
        written.append(file)


def _take_back(written: list[Path]) -> None:
    for file in written:
        file.unlink(missing_ok=True)
