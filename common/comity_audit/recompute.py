"""Recomputes a stored round, step by step, from signatures alone.

Each step stands on those before it, so the first that fails is the last that is looked at. The
rules are the protocol's own, called from the code that operator and institutions run; what is the
auditor's is the order, and that nothing is believed (design note, "A round": the operator's stored
view of a round lets an auditor recompute Σ).

A certified round: is Σ the sum of what the institutions uploaded, and the model what follows from
it, or, after a score, what it was? A void round: can the reason that the certificate gives be seen?
"""

from collections.abc import Callable, Iterator

from comity_audit.anchor import is_anchored
from comity_audit.directory import StoredRound
from comity_audit.messages import (
    Uploaded,
    justified_complaints,
    read_agreement,
    read_certificate,
    read_declines,
    read_endorsements,
    read_plan,
    read_reveals,
    read_survivors,
    read_uploads,
)
from comity_audit.nextmodel import next_digest, stored_digest
from comity_audit.scores import stored_score
from comity_audit.steps import Outcome, Step, about, outcome_of
from comity_audit.summation import OnBytes, Summation, add_again
from comity_common.agreement import Agreement
from comity_common.errors import PeerError
from comity_common.ids import Digest, InstitutionId
from comity_common.scoresum import Score
from comity_common.secagg import reasons
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.messages import CertificateBody, Header, Plan, Reveal, Survivors
from comity_common.secagg.participant import (
    certificate_digest,
    complaints,
    disagreeing_pairs,
)
from comity_common.secagg.plan import plan_digest
from comity_common.secagg.unmasking import ClosedSeeds, Residue, residue
from comity_common.storedround import (
    AFTER_FILE,
    BEFORE_FILE,
    CERTIFICATE,
    SURVIVORS,
    TOTAL_FILE,
    endorsement_of,
    reveal_of,
    vector_of,
)
from comity_common.words import agreement_words, printable

Found = tuple[Outcome, str]
"""What became of a step, and what was checked."""


class Recomputation:
    """One stored round, recomputed.

    Args:
        anchor: from `read_anchor`; empty if nobody outside vouches for the agreement.
        previous: the stored round before this one, if it is at hand.
        on_bytes: told how far the sum is.

    Attributes:
        agreement, plan, certificate: there once the first four steps hold.
        model: digest of the state after the round, once it was computed here.
        score: what a round of scores says, once its total was found to be the sum.
    """

    agreement: Agreement
    plan: Plan
    certificate: CertificateBody

    def __init__(
        self,
        stored: StoredRound,
        *,
        anchor: str = "",
        previous: StoredRound | None = None,
        on_bytes: OnBytes = lambda _done, _size: None,
    ) -> None:
        self._stored = stored
        self._anchor = anchor
        self._previous = previous
        self._on_bytes = on_bytes
        self._uploads: dict[InstitutionId, Uploaded] = {}
        self._reveals: dict[InstitutionId, Reveal] = {}
        self._survivors: Survivors
        self._residue: Residue
        self._summation: Summation
        self.model: Digest | None = None
        self.score: Score | None = None

    def steps(self) -> Iterator[Step]:
        """Look at one thing after the other, and tell what was found as soon as it is known.

        Raises:
            Problem: a file that the round needs is missing or cannot be read.
        """
        for number, (name, check) in enumerate(self._checks(), start=1):
            outcome, detail = outcome_of(check)
            yield Step(number=number, name=name, outcome=outcome, detail=printable(detail))
            if outcome is Outcome.FAILS:
                return

    def _checks(self) -> Iterator[tuple[str, Callable[[], Found]]]:
        # 1. All have signed the agreement's exact bytes.
        yield "agreement", self._check_agreement
        # 2. It is the one that somebody outside vouches for.
        yield "anchor", self._check_anchor
        # 3. The operator signed the plan, and it follows from the agreement.
        yield "plan", self._check_plan
        # 4. The operator signed how the round of this plan ended.
        yield "certificate", self._check_certificate
        # 5. Headers and upload messages are signed and of this plan.
        yield "uploads", self._check_uploads
        if self.certificate.void:
            # 6. The reason can be seen here, or at least is not contradicted.
            yield "reason", self._check_reason
        else:
            # 6. Both ends of every pair commit to one seed.
            yield "pairs", self._check_pairs
            # 7. The survivor list is signed, names these headers, and is the certificate's.
            yield "survivors", self._check_survivors
            # 8. The reveals are signed and answer this list; no complaint is justified.
            yield "reveals", self._check_reveals
            # 9. Every seed that still masks the sum is interpolated and fits its commitment.
            yield "seeds", self._check_seeds
            # 10. The chunks of every vector give the root of its header.
            yield "vectors", self._check_vectors
            # 11. Less the masks, every canary counts the survivors and no lane is beyond its bound.
            yield "sum", self._check_sum
            # 12. This is the stored total, and its root stands in the certificate.
            yield "total", self._check_total
        # 13. (void: 7.) The plan names the certificate before it.
        yield "chain", self._check_chain
        # 14. (8.) The next model follows from the one before and the total, or is the same.
        yield "model", self._check_model
        # 15. (9.) At least t participants endorsed that model.
        yield "endorsements", self._check_endorsements
        # 16. (10.) Nothing lies there that none of this has looked at.
        yield "nothing else", self._check_rest

    def _check_agreement(self) -> Found:
        self.agreement = read_agreement(self._stored)
        count = len(self.agreement.institutions)
        return Outcome.HOLDS, (
            f"{self.agreement.federation}, signed by operator and {count} institutions: "
            f"{agreement_words(self.agreement.digest)}"
        )

    def _check_anchor(self) -> Found:
        if not self._anchor:
            return Outcome.UNANCHORED, "nobody outside this directory has vouched for these keys"
        if not is_anchored(self.agreement.digest, self._anchor):
            raise PeerError(
                f"agreement.json: expected the agreement {self._anchor}, "
                f"got {self.agreement.digest}"
            )
        return Outcome.HOLDS, "it is the agreement that was named from outside"

    def _check_plan(self) -> Found:
        self.plan = read_plan(self._stored, self.agreement)
        what = ", a score" if self._is_score else ""
        return Outcome.HOLDS, (
            f"round {self.plan.round} of {len(self.plan.participants)} participants{what}, signed "
            "by the operator, as the agreement prescribes"
        )

    def _check_certificate(self) -> Found:
        self.certificate = read_certificate(self._stored, self.agreement, self.plan)
        if self.certificate.void:
            return Outcome.HOLDS, f"signed by the operator, void: {self.certificate.reason}"
        survivors = ", ".join(self.certificate.survivors)
        return Outcome.HOLDS, f"signed by the operator, over {survivors}"

    def _check_uploads(self) -> Found:
        self._uploads = read_uploads(self._stored, self.agreement, self.plan)
        gone = read_declines(self._stored, self.agreement, self.plan, self._uploads)
        words = [f"{party} ({code.value})" for party, code in sorted(gone.items())]
        declined = f"; declined: {', '.join(words)}" if words else ""
        return (
            Outcome.HOLDS,
            f"{len(self._uploads)} headers and upload messages, each signed{declined}",
        )

    def _check_pairs(self) -> Found:
        pairs = disagreeing_pairs(self.plan, self._headers())
        if pairs:
            raise PeerError(f"uploads: {reasons.unlike_seeds(pairs)}")
        count = len(self._uploads)
        return Outcome.HOLDS, f"{count * (count - 1) // 2} pairs commit to one seed each"

    def _check_survivors(self) -> Found:
        self._survivors = read_survivors(self._stored, self.agreement, self.plan, self._uploads)
        if self._survivors.survivors != self.certificate.survivors:
            raise PeerError(f"{CERTIFICATE}.json: expected the survivors of {SURVIVORS}.json")
        dropped = [one for one in self.plan.participants if one not in self._uploads]
        missing = f"; dropped: {', '.join(dropped)}" if dropped else "; nobody was dropped"
        return Outcome.HOLDS, f"the list names {len(self._uploads)} signed headers{missing}"

    def _check_reveals(self) -> Found:
        self._reveals = read_reveals(self._stored, self.agreement, self._survivors)
        for dealer, helper in self._justified():
            reason = reasons.false_share(dealer, helper)
            raise PeerError(f"{reveal_of(helper)}.json: expected a void round, since {reason}")
        if len(self._reveals) < self.plan.threshold:
            raise PeerError(f"reveals: expected {self.plan.threshold}, got {len(self._reveals)}")
        return Outcome.HOLDS, f"{len(self._reveals)} answers to this list, each signed"

    def _check_seeds(self) -> Found:
        with about("reveals"):
            self._residue = self._open_residue()
        pairs = len(self._residue.added_pairs) + len(self._residue.subtracted_pairs)
        return Outcome.HOLDS, (
            f"{len(self._residue.self_seeds)} self seeds and {pairs} seeds of pairs "
            f"with a dropped institution, by {self.plan.threshold} shares each"
        )

    def _check_vectors(self) -> Found:
        self._summation = self._add()
        if self._summation.false_vectors:
            wrong = ", ".join(vector_of(one) for one in self._summation.false_vectors)
            raise PeerError(f"{wrong}: expected the bytes that the signed header names")
        size = next(iter(self._uploads.values())).header.size
        return Outcome.HOLDS, f"{len(self._uploads)} of {size:,} bytes, each under its signed root"

    def _check_sum(self) -> Found:
        if self._summation.why:
            raise PeerError(f"the sum of the vectors: {self._summation.why}")
        return (
            Outcome.HOLDS,
            f"all canaries count {len(self._uploads)}, no lane is beyond its bound",
        )

    def _check_total(self) -> Found:
        if TOTAL_FILE not in self._stored.names:
            self._stored.size(TOTAL_FILE)  # says that it is missing
        if self._summation.difference:
            raise PeerError(f"{TOTAL_FILE}: {self._summation.difference}")
        if self._summation.root != self.certificate.total:
            raise PeerError(f"{CERTIFICATE}.json: expected the root of the sum of the vectors")
        summed = f"{self.plan.lanes:,} coordinates are the sum, and the certificate's"
        if self._is_score:
            survivors = len(self.certificate.survivors)
            self.score = stored_score(self._stored, self.agreement, survivors)
            summed += f"; the score: {self.score.words}"
        return Outcome.HOLDS, summed

    def _check_reason(self) -> Found:
        seen, outcome = self._reasons()
        if self.certificate.reason not in seen:
            shown = " or ".join(seen) or "a round without a fault"
            raise PeerError(
                f"{CERTIFICATE}.json: it says that {self.certificate.reason}; "
                f"what is here shows {shown}"
            )
        if outcome is Outcome.WORD:
            return outcome, (
                f"{self.certificate.reason}; that no more came in time is the operator's word"
            )
        return outcome, f"it can be seen here that {self.certificate.reason}"

    def _check_chain(self) -> Found:
        if self.plan.round == 1:
            return Outcome.HOLDS, "the first round names the agreement and its model"
        if self._previous is None:
            return Outcome.ABSENT, "the round before it was not given (--previous)"
        with about(f"the round before, {self._previous.path.name}"):
            if read_agreement(self._previous).digest != self.agreement.digest:
                raise PeerError("expected a round of the same agreement")
            plan = read_plan(self._previous, self.agreement)
            body = read_certificate(self._previous, self.agreement, plan)
            if body.round != self.plan.round - 1:
                raise PeerError(f"expected round {self.plan.round - 1}, got {body.round}")
            if certificate_digest(body) != self.plan.previous:
                raise PeerError("expected the certificate that this round's plan names")
            unmoved = body.void or plan.kind is RoundKind.EVALUATE
            if unmoved and plan.model != self.plan.model:
                raise PeerError("expected the same model after a void round and after a score")
        return Outcome.HOLDS, f"the plan names the certificate of round {body.round}"

    def _check_model(self) -> Found:
        if BEFORE_FILE not in self._stored.names:
            if AFTER_FILE in self._stored.names:
                raise PeerError(f"{AFTER_FILE}: expected {BEFORE_FILE} beside it")
            return Outcome.ABSENT, f"{BEFORE_FILE} is not there"
        if stored_digest(self._stored, BEFORE_FILE, self.agreement) != self.plan.model:
            raise PeerError(f"{BEFORE_FILE}: expected the model that the plan names")
        if self._leaves_the_model:
            self.model = self.plan.model
        else:
            survivors = len(self.certificate.survivors)
            self.model = next_digest(self._stored, self.plan, survivors, self.agreement)
        if AFTER_FILE in self._stored.names:
            after = stored_digest(self._stored, AFTER_FILE, self.agreement)
            if after != self.model:
                raise PeerError(f"{AFTER_FILE}: expected the model {self.model}, got {after}")
        if self._is_score:
            return Outcome.HOLDS, f"a score leaves the model as it was: {self.model}"
        return Outcome.HOLDS, f"the model after it is {self.model}"

    def _check_endorsements(self) -> Found:
        endorsed = read_endorsements(self._stored, self.agreement, self.certificate)
        model = self.plan.model if self._leaves_the_model else self.model
        for party, theirs in endorsed.items():
            model = model or theirs
            if theirs != model:
                raise PeerError(f"{endorsement_of(party)}.json: expected the model {model}")
        count = len(endorsed.keys() & set(self.plan.participants))
        if count < self.plan.threshold:
            return (
                Outcome.ABSENT,
                f"{count} participants endorsed it here, {self.plan.threshold} do",
            )
        did = "hold" if self._leaves_the_model else "computed"
        return Outcome.HOLDS, f"{count} participants {did} the same model: {model}"

    def _check_rest(self) -> Found:
        unread = sorted(self._stored.unread())
        if unread:
            raise PeerError(f"{unread[0]}: expected no file that the round has no place for")
        return Outcome.HOLDS, f"all {len(self._stored.names)} files were looked at"

    @property
    def _is_score(self) -> bool:
        return self.plan.kind is RoundKind.EVALUATE

    @property
    def _leaves_the_model(self) -> bool:
        return self.certificate.void or self._is_score

    def _headers(self) -> dict[InstitutionId, Header]:
        return {party: one.header for party, one in self._uploads.items()}

    def _justified(self) -> list[tuple[InstitutionId, InstitutionId]]:
        return justified_complaints(self._stored, self.plan, self._uploads, self._reveals)

    def _open_residue(self) -> Residue:
        named = bytes.fromhex(plan_digest(self.plan))
        listed = self._survivors.survivors
        return residue(self.plan, named, listed, self._headers(), self._reveals)

    def _add(self) -> Summation:
        return add_again(self._stored, self.plan, self._headers(), self._residue, self._on_bytes)

    def _reasons(self) -> tuple[list[str], Outcome]:
        """Say why this round had to be void, by what is here, in the operator's own order."""
        plan, arrived = self.plan, len(self._uploads)
        if arrived < plan.minimum:
            few = reasons.too_few_uploads(arrived, len(plan.participants), plan.minimum)
            return [few], Outcome.WORD
        pairs = disagreeing_pairs(plan, self._headers())
        if pairs:
            return [reasons.unlike_seeds(pairs)], Outcome.HOLDS
        self._survivors = read_survivors(self._stored, self.agreement, plan, self._uploads)
        self._reveals = read_reveals(self._stored, self.agreement, self._survivors)
        justified = self._justified()
        if justified:
            return [reasons.false_share(*one) for one in justified], Outcome.HOLDS
        if len(self._reveals) < plan.threshold:
            few = reasons.too_few_reveals(len(self._reveals), plan.threshold)
            return [few], Outcome.WORD
        try:
            self._residue = self._open_residue()
        except ClosedSeeds as closed:
            told = complaints(self._reveals)
            return [reasons.false_reveals(closed.dealers, told)], Outcome.HOLDS
        self._summation = self._add()
        if self._summation.false_vectors:
            wrong = ", ".join(vector_of(one) for one in self._summation.false_vectors)
            raise PeerError(f"{wrong}: expected the bytes that the signed header names")
        return [self._summation.why] if self._summation.why else [], Outcome.HOLDS
