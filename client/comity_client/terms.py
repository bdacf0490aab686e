"""An agreement in plain words: what a person reads before signing it."""

from comity_common.agreement import Agreement
from comity_common.dp.accountant import epsilon_of
from comity_common.dp.tally import ORDERS
from comity_common.ids import InstitutionId
from comity_common.mechanisms import schedule_event
from comity_common.privatescore import LANES
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import vector_bytes
from comity_common.secagg.thresholds import thresholds
from comity_common.tuning import Tune
from comity_common.words import agreement_words, party_words

PARTS = {
    Tune.HEAD: "a new classifier on top of the frozen BERT",
    Tune.LORA: "small low-rank updates inside the BERT, and the classifier",
    Tune.LORA_PLAIN: "both factors of low-rank updates inside the BERT, and the classifier",
    Tune.BITFIT: "the biases of the BERT, and the classifier",
    Tune.FULL: "every weight of the BERT, and the classifier",
}

NOTHING_TO_READ = " Nothing can be read from so much noise, so the ε for it buys nothing."


def in_words(agreement: Agreement, me: InstitutionId) -> str:
    """Say what is agreed, with whom, at what price, and what would leave."""
    return "\n\n".join(
        (
            _what(agreement),
            _who(agreement, me),
            _privacy(agreement) + _scores(agreement),
            _leaves(agreement),
        )
    )


def _what(agreement: Agreement) -> str:
    model, task, schedule = agreement.model, agreement.task, agreement.schedule
    return (
        f"{agreement.federation}: {agreement.purpose}\n"
        f"  words      {agreement_words(agreement.digest)}\n"
        f"  digest     {agreement.digest}\n"
        f"  task       {task.kind.value}, {len(task.labels)} labels: {', '.join(task.labels)}\n"
        f"  model      {model.name}; trained: {PARTS[model.tune]} "
        f"({model.parameters:,} parameters)\n{_from(agreement)}"
        f"  schedule   {schedule.rounds} rounds, {schedule.spare_rounds} spare, "
        f"until {schedule.expires}"
    )


def _from(agreement: Agreement) -> str:
    continues = agreement.continues
    if continues is None:
        return ""
    return (
        f"  goes on    with the model of {continues.agreement[:16]} after {continues.certified} "
        "certified rounds\n"
    )


def _who(agreement: Agreement, me: InstitutionId) -> str:
    lines = ["Who takes part, with the words of their keys:"]
    for party in (agreement.operator, *agreement.institutions):
        role = "operator" if party is agreement.operator else "you" if party.id == me else ""
        lines.append(f"  {party.jurisdiction}  {party.id:<24} {role:<9} {party.name}")
        lines.append(f"      {party_words(party)}")
    return "\n".join(lines)


def _privacy(agreement: Agreement) -> str:
    privacy, training = agreement.privacy, agreement.training
    if not privacy.is_private:
        return (
            "Privacy: none at all, ε = ∞. No noise is added: whoever has the models may find out "
            "what is in single rows of yours. This is for baselines on public rows."
        )
    return (
        f"Privacy: at most ε = {privacy.epsilon:f} at δ = {privacy.delta:f} for each single "
        f"{privacy.unit}, all rounds and spare rounds together, whoever looks.\n"
        f"  In each of {training.local_steps} steps a round, a {privacy.unit} takes part with "
        f"probability {training.sampling_probability:f}; its influence is clipped to "
        f"{training.clip_norm:f}; your vault adds noise {training.noise_multiplier:f} times as "
        "large."
    )


def _scores(agreement: Agreement) -> str:
    """Say what scores on private rows there are, and what they will be worth."""
    terms, unit = agreement.private_evaluation, agreement.privacy.unit
    if terms is None:
        return ""
    n, spare = len(agreement.institutions), terms.spare
    event = schedule_event(agreement, terms.attempts, RoundKind.EVALUATE)
    alone = min(epsilon_of((event,), order, agreement.privacy.delta) for order in ORDERS)
    deviation = 100 * terms.score.expected_deviation(terms.units, n)
    rounds = ", ".join(map(str, terms.after))
    held_out = f"{100 * terms.share:f}".rstrip("0").rstrip(".")
    return (
        f"\n  Scores: after round {rounds} the model is scored on {held_out} % of each "
        f"institution's {unit}s, which are held out and never trained on (a keyed hash of yours "
        f"chooses them). At most {terms.attempts} scores, {spare} of them spare, are paid for out "
        f"of the same ε; alone they would cost ε = {alone:.2f}. Your vault adds noise "
        f"{terms.noise_multiplier:f} times what one {unit} can move.\n"
        f"  That noise alone will move the share of right answers by about ± {deviation:.1f} "
        f"points (one standard deviation, if {n} institutions hold out {terms.units:,} {unit}s "
        "together and four in five are right); that only some are asked comes on top."
        + ("" if terms.score.is_readable(terms.units, n) else NOTHING_TO_READ)
    )


def _leaves(agreement: Agreement) -> str:
    n, c = len(agreement.institutions), agreement.aggregation.collusion
    limits = thresholds(n, c)
    width = agreement.aggregation.ring_width
    size, operator = vector_bytes(agreement.model.parameters, width), agreement.operator
    scores = ""
    if agreement.private_evaluation is not None:
        scores = f", or one of {vector_bytes(LANES, width):,} bytes where it is a score"
    fewest = agreement.aggregation.min_participants
    return (
        f"What leaves: one masked vector of {size:,} bytes a round{scores}, to {operator.name} in "
        f"{operator.jurisdiction}; keys, signatures and acknowledgements of a few "
        "kilobytes; nothing else.\n"
        f"  The operator can open the sum of at least {limits.survivors} of {n} institutions, "
        f"never yours alone, as long as at most {c} of the others stand with it. "
        f"No round has fewer than {fewest}."
    )
