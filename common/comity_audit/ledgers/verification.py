"""Verifies a ledger from its package: whose it is, that it is whole, and that its rules were kept.

The first eight steps stand on each other, so the first of them that fails ends the verification.
The rules after them stand on those eight alone: each is looked at, and all that is found is told.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from comity_audit.anchor import is_anchored
from comity_audit.ledgers import budgetrules, operatorrules, trafficrules
from comity_audit.ledgers.crossings import Crossings, compare
from comity_audit.ledgers.entries import (
    AuditedLedger,
    check_head,
    check_past,
    read_entries,
)
from comity_audit.ledgers.heads import (
    Witnessed,
    check_log,
    check_outside,
    moment,
    read_outside,
    read_witnesses,
)
from comity_audit.ledgers.parties import Parties, Side, owner_of, read_parties
from comity_audit.ledgers.restores import uncounted
from comity_audit.steps import Outcome, Step, about, outcome_of
from comity_common.errors import PeerError
from comity_common.ledger.bodies import Restore
from comity_common.ledger.checkpoints import Checkpoint
from comity_common.ledger.notes import NoteKey, SignedNote, read_note
from comity_common.ledger.package import AuditPackage
from comity_common.ledger.tree import Tree
from comity_common.words import agreement_words, printable

TOLD = 5  # findings of one rule; the rest is counted
MAX_DETAIL = 600  # characters; what a stranger wrote stands in some

Found = tuple[Outcome, str]
Rule = Callable[[AuditedLedger], Iterator[str]]

INSTITUTION, OPERATOR = frozenset({Side.INSTITUTION}), frozenset({Side.OPERATOR})

RULES: tuple[tuple[str, frozenset[Side], Rule, str], ...] = (
    (
        "signatures",
        INSTITUTION | OPERATOR,
        budgetrules.signing,
        "every agreement that is named is here, as signed",
    ),
    (
        "budget",
        INSTITUTION,
        budgetrules.spending,
        "every reserve was agreed, granted, and fitted",
    ),
    (
        "rounds",
        INSTITUTION,
        budgetrules.rounds,
        "each reserve and upload is for the round joined last",
    ),
    (
        "self-tests",
        INSTITUTION,
        trafficrules.self_tests,
        "each agreement's machinery had passed its self-test",
    ),
    (
        "traffic",
        INSTITUTION,
        trafficrules.crossing,
        "what left was covered, or is control, to the operator",
    ),
    (
        "arrivals",
        OPERATOR,
        operatorrules.arriving,
        "what arrived was an upload, or is control",
    ),
    (
        "runs",
        OPERATOR,
        operatorrules.running,
        "rounds followed each other under agreements that had begun",
    ),
    (
        "heads",
        OPERATOR,
        operatorrules.witnessing,
        "no head that was witnessed goes back",
    ),
)


class Verification:
    """One package, verified.

    Args:
        anchors: digests or words of agreements for which somebody outside vouches, from
            `read_anchor`; none if nobody does. The package must have each of them.
        older: a head of the same ledger that somebody kept.
        outside: keys of witnesses that are in no agreement.
        operator: the package of the other side, if it is at hand; it is verified here.

    Attributes:
        package: as it was read.
        is_founded: whether the first eight steps hold; then ledger, checkpoint and witnessed are
            there.
        crossings: what both sides say, once they were compared.
        findings: what the rules found, each in a line.
    """

    ledger: AuditedLedger
    checkpoint: Checkpoint
    witnessed: Witnessed

    def __init__(
        self,
        package: AuditPackage,
        *,
        anchors: Collection[str] = (),
        older: SignedNote | None = None,
        outside: Sequence[NoteKey] = (),
        operator: "Verification | None" = None,
    ) -> None:
        self.package = package
        self._anchors = anchors
        self._older = older
        self._outside = outside
        self._operator = operator
        self._note: SignedNote
        self._parties: Parties
        self._tree: Tree
        self.is_founded = False
        self.crossings: Crossings | None = None
        self.findings: list[str] = []

    def steps(self) -> Iterator[Step]:
        """Look at one thing after the other, and tell what was found as soon as it is known."""
        number = 0
        for name, check in self._foundations():
            number += 1
            outcome, detail = outcome_of(check)
            detail = _line(detail)
            if outcome is Outcome.FAILS:
                self.findings.append(detail)
            yield Step(number=number, name=name, outcome=outcome, detail=detail)
            if outcome is Outcome.FAILS:
                return
        self.is_founded = True
        for name, sides, rule, kept in RULES:
            number += 1
            found = list(map(_line, rule(self.ledger)))
            self.findings += found
            outcome, detail = Outcome.HOLDS, kept
            if found:
                outcome, detail = Outcome.FAILS, _listed(found)
            elif not sides & self._parties.sides:
                whose = "operator's" if sides == OPERATOR else "institution's"
                outcome, detail = Outcome.INAPPLICABLE, f"a rule for an {whose} ledger"
            yield Step(number=number, name=name, outcome=outcome, detail=detail)
        outcome, detail = outcome_of(self._check_crossings)
        detail = _line(detail)
        if outcome is Outcome.FAILS and self.crossings is None:
            self.findings.append(detail)
        yield Step(number=number + 1, name="crossings", outcome=outcome, detail=detail)

    def _foundations(self) -> Iterator[tuple[str, Callable[[], Found]]]:
        # 1. Whose ledger it is; the agreements are what their names say, with true signatures.
        yield "agreements", self._check_agreements
        # 2. Somebody outside vouches for an agreement, and so for the keys in it.
        yield "anchor", self._check_anchor
        # 3. Every entry is signed, canonical, and in its place from the genesis on.
        yield "entries", self._check_entries
        # 4. The head is signed by the ledger's owner and is that of these entries.
        yield "head", self._check_head
        # 5. A quorum of others has cosigned it; since when it is complete.
        yield "witnesses", self._check_witnesses
        # 6. It goes on from a head that somebody kept.
        yield "older head", self._check_older
        # 7. Witnesses whose keys were given from outside have seen it.
        yield "outsiders", self._check_outside
        # 8. Whether it was ever put back.
        yield "restores", self._check_restores

    def _check_agreements(self) -> Found:
        with about("head.note"):
            self._note = read_note(self.package.head)
            self.checkpoint, owner = owner_of(self._note)
        self._parties = read_parties(self.package, owner, self._anchors)
        of = self._parties.owner
        agreements = _count(len(self._parties.agreements), "agreement")
        return Outcome.HOLDS, (
            f"the ledger of {of.id} ({of.name}, {of.jurisdiction}), with {agreements}"
        )

    def _check_anchor(self) -> Found:
        if not self._anchors:
            return Outcome.UNANCHORED, "nobody outside this file has vouched for the keys in it"
        known, vouched = self._parties.agreements.keys(), self._parties.vouched
        missing = [one for one in self._anchors if not any(is_anchored(of, one) for of in known)]
        if missing:
            raise PeerError(
                f"expected an agreement that was named from outside, {missing[0]}, and it is not "
                f"among the {len(known)} of this package"
            )
        rest = _listed([f"{digest[:16]}…" for digest in sorted(known - vouched)])
        beside = f"; by nobody, so a word of this ledger's owner alone: {rest}" if rest else ""
        named = _listed([agreement_words(digest) for digest in sorted(vouched)])
        return Outcome.HOLDS, f"named from outside: {named}{beside}"

    def _check_entries(self) -> Found:
        entries = read_entries(self.package.entries, self._parties)
        self.ledger = AuditedLedger(entries=entries, parties=self._parties)
        return Outcome.HOLDS, f"{_count(len(entries), 'entry', 'entries')}, each signed, in order"

    def _check_head(self) -> Found:
        check_log(self._note, self.checkpoint, self._parties.owner.identity)
        self._tree = Tree(self.package.entries)
        check_head(self._tree, self.ledger.entries, self.checkpoint)
        return (
            Outcome.HOLDS,
            f"signed by the ledger's owner over {self.checkpoint.root.hex()[:16]}…",
        )

    def _check_witnesses(self) -> Found:
        self.witnessed = found = read_witnesses(
            self._note, self.checkpoint, self._parties, self._outside
        )
        names = _listed([one.name for one in found.institutions], ", ")
        others = _listed([one.name for one in found.others], ", ")
        unknown = _count(found.unknown, "line") + " by keys that nobody here knows"
        if not found.is_enough:
            raise PeerError(
                f"expected {found.needed} other institutions to have cosigned the head, "
                f"got {len(found.institutions)}{f': {names}' if names else ''}"
            )
        since = "" if found.complete is None else f"; complete as of {moment(found.complete)}"
        beside = f"; beside them by {others}" if others else ""
        beside += f"; and {unknown}" if found.unknown else ""
        return Outcome.HOLDS, f"cosigned by {names}, {found.needed} needed{since}{beside}"

    def _check_older(self) -> Found:
        if self._older is None:
            return Outcome.ABSENT, "no head was given that somebody kept"
        older, _ = owner_of(self._older)
        check_log(self._older, older, self._parties.owner.identity)
        check_past(self._tree, self.ledger.entries, older)
        witnesses = read_outside(self._older, older, self._outside)
        self.witnessed = replace(self.witnessed, others=(*self.witnessed.others, *witnesses))
        seen = "".join(f", which {one.name} saw on {moment(one.time)}" for one in witnesses)
        return Outcome.HOLDS, f"goes on from the kept head of {older.size} entries{seen}"

    def _check_outside(self) -> Found:
        seen = read_outside(self._note, self.checkpoint, self._outside)
        if self._older is not None:
            seen += read_outside(self._older, owner_of(self._older)[0], self._outside)
        return check_outside(self._outside, seen)

    def _check_crossings(self) -> Found:
        if self._operator is None:
            return Outcome.ABSENT, "no ledger of the other side was given"
        for step in self._operator.steps():
            if step.outcome is Outcome.FAILS:
                raise PeerError(
                    f"the operator's own package does not hold, at its step {step.number}, "
                    f"{step.name}: {step.detail}"
                )
        self.crossings = found = compare(self.ledger, self._tree, self._operator.ledger)
        self.findings += found.findings
        if found.findings:
            return Outcome.FAILS, _listed(found.findings)
        told = (
            f"{_count(found.matched, 'message')} with {found.matched_bytes:,} bytes left and "
            f"arrived, {found.uploads} of them covered by the budget"
        )
        if found.newer:
            told += f"; {found.newer} arrived after this package ends"
        if not found.only_left:
            return Outcome.HOLDS, f"{told}; none is unmatched"
        return Outcome.WORD, f"{told}; {len(found.only_left)} left and did not arrive"

    def _check_restores(self) -> Found:
        bodies = [entry.body for entry in self.ledger.entries]
        restores = [body for body in bodies if isinstance(body, Restore)]
        declared = sum(bool(body.generation) for body in restores)
        if not restores:
            return Outcome.HOLDS, "this ledger was never put back"
        counted = "all that may have been forgotten counts as spent"
        if found := uncounted(self.ledger):
            names = _listed([f"{digest[:16]}…" for digest in found])
            counted = (
                f"what may have been forgotten under {names} does not count as spent: that this "
                "was over before is a word of this ledger's owner alone"
            )
        return Outcome.WORD, (
            f"found older than what was said before {len(restores) - declared} times, declared as "
            f"restored {declared} times; {counted}"
        )


def _listed(found: Sequence[str], between: str = "; ") -> str:
    told = between.join(found[:TOLD])
    return told if len(found) <= TOLD else f"{told}{between}and {len(found) - TOLD} more"


def _line(text: str) -> str:
    """Write what a stranger may have written a part of in one line that is no longer than one."""
    told = printable(text[:MAX_DETAIL])
    return told if len(text) <= MAX_DETAIL else f"{told}…"


def _count(number: int, one: str, more: str = "") -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {more or one + 's'}"
