"""Writes a stored round: everything from which somebody else can recompute its sum.

What is written was signed when it was sent or came with a signature; nothing is made anew here. The
layout is `comity_common.storedround`. The directory is there as a whole or not at all: it gets its
name when every file is on disk.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from comity_common.agreement import Agreement
from comity_common.canonical import encode
from comity_common.crypto.sign import Signed
from comity_common.errors import Problem
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import vector_bytes
from comity_common.secagg.participant import header_digest
from comity_common.storedround import (
    AFTER_FILE,
    AGREEMENT_FILE,
    BEFORE_FILE,
    CERTIFICATE,
    FOLDERS,
    FORMAT,
    FORMAT_FILE,
    PLAN,
    SURVIVORS,
    TOTAL_FILE,
    Format,
    box_of,
    decline_of,
    endorsement_of,
    header_of,
    reveal_of,
    signature_of,
    upload_of,
    vector_of,
)
from comity_host.files import sync_directory
from comity_server.aggregator import total_path
from comity_server.models import Models
from comity_server.operator import Operator
from comity_server.rounds import Round


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    files: int
    bytes: int


def export_round(
    operator: Operator, agreement: Agreement, number: int, directory: Path
) -> Exported:
    """Write the stored round of an agreement.

    Args:
        directory: is made; its parent is there.

    Raises:
        Problem: the round has not ended, something of it is gone, or the directory cannot be made.
    """
    round = operator.round(agreement, number)
    if round.certificate is None:
        raise _unwritable(round, "it has not ended")
    if round.collector.survivors is not None and round.signed_survivors is None:
        raise _unwritable(round, "an older version ran it and kept no survivor list")
    if directory.exists() or directory.is_symlink():
        raise Problem("COM-AUDIT-006", directory=directory, why="it is there already")
    if not directory.parent.is_dir():
        raise Problem("COM-AUDIT-006", directory=directory, why="its parent is not there")
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        exported = _Export(operator, round, draft).write()
        for folder in FOLDERS:
            sync_directory(draft / folder)
        sync_directory(draft)
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_directory(directory.parent)
    return exported


class _Export:
    """One round on its way into a directory."""

    def __init__(self, operator: Operator, round: Round, draft: Path) -> None:
        self._operator = operator
        self._round = round
        self._draft = draft

    def write(self) -> Exported:
        """Write all that there is."""
        for folder in FOLDERS:
            (self._draft / folder).mkdir()
        self._write_terms()
        self._write_uploads()
        self._write_declines()
        self._write_answers()
        self._write_models()
        files = [path for path in self._draft.rglob("*") if path.is_file()]
        return Exported(files=len(files), bytes=sum(path.stat().st_size for path in files))

    def _write_terms(self) -> None:
        agreement = self._round.agreement
        self._put(FORMAT_FILE, encode(Format(format=FORMAT)))
        self._put(AGREEMENT_FILE, encode(agreement))
        for party, signature in self._operator.agreements.signatures(agreement.digest).items():
            self._put(signature_of(party), signature)
        self._put_signed(PLAN, self._round.signed_plan)
        assert self._round.certificate is not None
        self._put_signed(CERTIFICATE, self._round.certificate)

    def _write_uploads(self) -> None:
        """Write who uploaded, and the vectors if they were summed."""
        collector, uploads = self._round.collector, self._round.uploads
        plan = self._round.plan
        size = vector_bytes(plan.lanes, plan.ring_width)
        for party, received in collector.uploads.items():
            self._put_signed(header_of(party), received.signed_header)
            self._put_signed(upload_of(party), received.signed_upload)
            if collector.residue is not None:
                source = uploads.path(header_digest(received.header))
                self._copy(source, vector_of(party), size, f"the masked vector of {party}")

    def _write_declines(self) -> None:
        """Write why those did not upload who signed a word about it."""
        for party, signed in self._round.declines().items():
            self._put_signed(decline_of(party), signed)

    def _write_answers(self) -> None:
        """Write the survivor list, the reveals with what they complain about, and the total."""
        collector = self._round.collector
        if self._round.signed_survivors is not None:
            self._put_signed(SURVIVORS, self._round.signed_survivors)
        for helper, signed in self._round.reveals().items():
            self._put_signed(reveal_of(helper), signed)
            slot = self._round.plan.participants.index(helper)
            for complaint in collector.reveals[helper].complaints:
                box = collector.uploads[complaint.dealer].boxes[slot]
                self._put(box_of(complaint.dealer, helper), box)
        if self._is_certified():
            agreement, plan = self._round.agreement, self._round.plan
            total = total_path(self._operator.home.totals, agreement.digest, plan.round)
            self._copy(total, TOTAL_FILE, vector_bytes(plan.lanes, plan.ring_width), "the total")

    def _write_models(self) -> None:
        """Write who endorsed what, and the states that are still here."""
        agreement = self._round.agreement.digest
        for party, signed in self._operator.history.endorsements(
            agreement, self._round.plan.round
        ).items():
            self._put_signed(endorsement_of(party), signed)
        before = sum(
            record.moved_the_model
            for record in self._operator.history.rounds(agreement)
            if record.number < self._round.plan.round
        )
        models = Models(self._operator.home.models)
        states = [(before, BEFORE_FILE)]
        if self._is_certified() and self._round.plan.kind is RoundKind.TRAIN:
            states.append((before + 1, AFTER_FILE))
        for certified, name in states:
            source = models.path(agreement, certified)
            if source.exists():
                self._copy(source, name, source.stat().st_size, "the model")

    def _is_certified(self) -> bool:
        record = self._operator.history.get(self._round.agreement.digest, self._round.plan.round)
        return record is not None and record.is_certified

    def _put_signed(self, stem: str, signed: Signed) -> None:
        self._put(stem + ".json", signed.body)
        self._put(stem + ".sig", signed.signature)

    def _put(self, name: str, raw: bytes) -> None:
        with (self._draft / name).open("xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())

    def _copy(self, source: Path, name: str, size: int, what: str) -> None:
        if not source.exists() or source.stat().st_size != size:
            raise _unwritable(self._round, f"{what} is not on this disk any more")
        target = self._draft / name
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def _unwritable(round: Round, why: str) -> Problem:
    return Problem(
        "COM-AUDIT-005",
        round=round.plan.round,
        agreement=round.agreement.federation,
        why=why,
    )
