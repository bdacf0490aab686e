"""A policy in plain words, a sentence for each rule."""

from comity_client.policy import Policy
from comity_common.agreement import TaskKind, Unit
from comity_common.tuning import Tune

TASKS = {
    TaskKind.SEQUENCE_CLASSIFICATION: "to sort whole texts",
    TaskKind.TOKEN_CLASSIFICATION: "to mark words in texts",
}
PARTS = {
    Tune.HEAD: "the classifier",
    Tune.LORA: "LoRA (small updates inside the BERT)",
    Tune.LORA_PLAIN: "both factors of LoRA",
    Tune.BITFIT: "the biases of the BERT",
    Tune.FULL: "the whole BERT",
}


def in_words(policy: Policy) -> list[str]:
    """Say what a policy permits, a sentence each."""
    return [
        f"One agreement may claim at most ε = {policy.epsilon.normalize():f} "
        f"at δ = {policy.delta.normalize():f} for any {_unit(policy.unit)}.",
        _without_privacy(policy),
        _private_evaluation(policy),
        f"There must be at least {policy.min_participants} institutions in every round.",
        _tasks(policy.tasks),
        f"The purpose may be {_either(list(map(repr, policy.purposes))) or 'any'}.",
        f"The base model may be {_either(policy.models) or 'any'}.",
        _trainable(policy.tune),
        f"The operator may sit in {_either(policy.operators) or 'any country'}.",
        f"The other institutions may sit in {_either(policy.institutions) or 'any country'}.",
        _schedule(policy),
        _upload(policy.upload_bytes),
        _lapse(policy),
    ]


def _unit(unit: Unit) -> str:
    return "record or person" if unit is Unit.RECORD else "person, not only for any record"


def _without_privacy(policy: Policy) -> str:
    if policy.without_privacy:
        return "An agreement may also promise no privacy at all (ε = ∞)."
    return "An agreement that promises no privacy is refused."


def _private_evaluation(policy: Policy) -> str:
    may = "may" if policy.private_evaluation else "may not"
    return f"Models {may} be scored, with noise, on rows that are held out."


def _tasks(tasks: tuple[TaskKind, ...]) -> str:
    allowed = [words for kind, words in TASKS.items() if kind in tasks]
    return f"A model may learn {_either(allowed) or 'nothing'}."


def _trainable(tune: tuple[Tune, ...]) -> str:
    allowed = [words for part, words in PARTS.items() if part in tune]
    barred = [words for part, words in PARTS.items() if part not in tune]
    if not allowed:
        return "Nothing may be trained."
    if not barred:
        return f"Any part of the model may be trained: {_either(allowed)}."
    neither = " nor ".join(barred)
    return f"Only {_either(allowed)} may be trained, not {neither}."


def _schedule(policy: Policy) -> str:
    rounds = f"at most {policy.rounds} rounds, spare ones in" if policy.rounds else "any rounds"
    days = f", over at most {policy.days} more days" if policy.days else ""
    return f"An agreement may run for {rounds}{days}, until {policy.until or 'any day'}."


def _upload(size: int | None) -> str:
    most = "any number of" if size is None else f"at most {size:,}"
    return f"In a round, {most} bytes may leave, masked."


def _lapse(policy: Policy) -> str:
    if policy.expires is None:
        return "These rules do not lapse."
    return f"These rules lapse after {policy.expires}; from then on nothing is permitted."


def _either(names: tuple[str, ...] | list[str]) -> str:
    """Join names: "a", "a or b", "a, b or c"; nothing for none."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
