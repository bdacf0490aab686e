"""The page of a run: one file that tells what was learnt, spent and sent, and opens anywhere.

Rules it keeps:

* Self-contained: no script, no request, no font or image from elsewhere. Well-formed XML as well
  as HTML. Light, dark and paper.
* Every text from outside passes `markup.text`.
* It says what an operator would not see, and which lines no ε covers.
"""

from collections.abc import Iterable, Sequence

from comity_host.markup import text
from comity_local.charts import Meter, Reference, curve, meters, participation, strip
from comity_local.results import DemoResult, InstitutionResult, RoundResult, Score
from comity_local.style import STYLE
from comity_local.wording import change, delta, epsilon, fraction, in_bytes, in_time, score

_LEFT = (
    ("One masked delta for each round", "{noise} It is a uniformly random vector to whoever sees "
     "it: only the sum over all survivors can be opened, and that is all the operator reads."),
    ("Sealed shares of the masks", "Encrypted for the other institutions, so that a round "
     "survives when one of them goes silent."),
    ("Keys in public, signatures, digests", "The signed agreement, commitments, receipts, and the "
     "digest of the next model, which every vault computes for itself."),
    ("That it took part, and when", "The time and size of a message, and a refusal code from a "
     "closed list. No ε covers these."),
)  # fmt: skip
_STAYED = (
    ("Rows", "Texts, labels, token ids, embeddings."),
    ("Counts", "How many rows there are, of which labels, and how many fell into a batch."),
    ("Measurements", "Losses, scores on its own rows, norms of gradients, time per step."),
    ("Its own delta", "Before masking, and the moments of its optimiser."),
    ("Private keys and policy", "What an institution would have allowed is nobody's business."),
)


def render(result: DemoResult) -> str:
    """Return the page as one HTML document, to be stored as UTF-8."""
    title = _title(result)
    body = "\n".join(
        (
            _header(result, title),
            _learnt(result),
            _took_part(result),
            _spent_and_sent(result),
            _crossed(result),
            _in_full(result),
            _footer(result),
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        '<meta name="color-scheme" content="light dark"/>'
        f"<title>Comity: {text(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _title(result: DemoResult) -> str:
    places = {i.jurisdiction for i in result.institutions} - {"ZZ"}
    where = f" in {_count(len(places), 'jurisdiction')}" if places else ""
    return f"{_count(len(result.institutions), 'institution')}{where} taught one model"


def _header(result: DemoResult, title: str) -> str:
    best = result.best_alone()
    alone = f"; the best one alone reached {score(best[1].accuracy)}" if best else ""
    spent = result.largest_epsilon()
    caps = {i.epsilon_cap for i in result.institutions if i.epsilon_cap is not None}
    cap = f"of {max(caps):g} allowed, " if len(caps) == 1 else ""
    deltas = ", ".join(sorted({delta(i.delta) for i in result.institutions}))
    privacy = (
        "trained without differential privacy: no guarantee"
        if spent is None
        else f"at most, {cap}at δ\u00a0=\u00a0{deltas} for every single record"
    )
    sent = result.sent_per_round()
    void = sum(one.void for one in result.rounds)
    tiles = (
        (
            "learnt",
            score(result.federated.accuracy),
            f"accuracy, from {score(result.baseline.accuracy)} before the first round{alone}",
        ),
        ("spent", f"ε = {epsilon(spent)}", privacy),
        (
            "sent",
            in_bytes(sent),
            f"by an institution for a round: {fraction(sent, result.full_model_bytes)} of the "
            f"whole model in float32, {in_bytes(result.full_model_bytes)}",
        ),
        (
            "rounds",
            str(len(result.rounds)),
            f"{void or 'none'} of them void, in {in_time(result.seconds)}",
        ),
    )
    cells = "".join(
        f'<div class="tile"><h2>{name}</h2><p class="number">{text(number)}</p>'
        f"<p>{text(words)}</p></div>"
        for name, number, words in tiles
    )
    return (
        f'<header><p class="kicker">Comity · a federation on one machine</p><h1>{text(title)}</h1>'
        f'<p class="lead">Each kept its rows and fine-tuned the {text(_tuned(result.tune))} of '
        f"{text(result.model)} on {text(result.data)}. What left was masked"
        f"{'' if spent is None else ' and differentially private'}.</p></header>"
        f'<section class="tiles">{cells}</section>'
    )


def _tuned(tune: str) -> str:
    return {"head": "classifier", "lora": "low-rank adapters", "full": "whole network"}.get(
        tune, tune
    )


def _learnt(result: DemoResult) -> str:
    best = result.best_alone()
    models: list[tuple[str, Score, str]] = [("start", result.baseline, "start")]
    if best:
        models.append(("best alone", best[1], "alone"))
    if result.without_dp:
        models.append(("without privacy", result.without_dp, "nodp"))
    voids = [one.n for one in result.rounds if one.void]
    accuracy = curve(
        title="Accuracy",
        values=[result.baseline.accuracy, *(one.accuracy for one in result.rounds)],
        references=[Reference(label=n, value=s.accuracy, style=c) for n, s, c in models],
        voids=voids,
    )
    macro_f1 = curve(
        title="Macro F1",
        values=[result.baseline.macro_f1, *(one.macro_f1 for one in result.rounds)],
        references=[Reference(label=n, value=s.macro_f1, style=c) for n, s, c in models],
        voids=voids,
    )
    cost = (
        ""
        if result.without_dp is None
        else f" Privacy cost {_loss(result.without_dp.accuracy - result.federated.accuracy)} "
        "of accuracy."
    )
    return (
        "<section><h2>What was learnt</h2><p>Measured on a public evaluation set: "
        f"{result.evaluation_rows:,} texts, {result.labels} labels.{text(cost)}</p>"
        f'<div class="pair"><figure><figcaption>Accuracy</figcaption>{accuracy}</figure>'
        f"<figure><figcaption>Macro F1</figcaption>{macro_f1}</figure></div>"
        f"{_comparison(result)}{_scored(result)}</section>"
    )


def _scored(result: DemoResult) -> str:
    return "".join(
        f"<p>Round {one.n} left the model as it was and scored it on private rows that every "
        "institution holds out and never trains on, with noise from each of them: "
        f"{text(one.score['words'])}.</p>"
        for one in result.rounds
        if one.score
    )


def _loss(value: float) -> str:
    return f"{value * 100:.1f} points" if value > 0 else "nothing"


def _comparison(result: DemoResult) -> str:
    models = [("before the first round", result.baseline, "start")]
    models += [(f"{id} alone", one, "alone") for id, one in result.alone.items()]
    models.append(("federation", result.federated, "federation"))
    if result.without_dp is not None:
        models.append(("federation without privacy", result.without_dp, "nodp"))
    rows = [
        (
            text(name),
            score(one.accuracy),
            strip(one.accuracy, style),
            score(one.macro_f1),
            "" if one is result.federated else change(result.federated.accuracy - one.accuracy),
        )
        for name, one, style in models
    ]
    return _table(("model", "accuracy", "", "macro F1", "federation's lead"), rows)


def _took_part(result: DemoResult) -> str:
    picture = participation(
        institutions=[(one.id, one.jurisdiction) for one in result.institutions],
        rounds=[(one.n, one.void, one.survivors) for one in result.rounds],
    )
    voids = "".join(
        f"<li><b>Round {one.n}</b> {text(one.reason or 'No reason given')}</li>"
        for one in result.rounds
        if one.void
    )
    faults = "".join(
        f"<li><b>Round {one.n}</b> {text(name)}</li>"
        for one in result.rounds
        for name in one.faults
    )
    asked = (
        "<h3>Faults that were asked for</h3><p>An institution that dies in a round has paid for "
        f'it: its budget for the round is gone.</p><ul class="facts">{faults}</ul>'
        if faults
        else ""
    )
    why = (
        "<h3>Void rounds</h3><p>The model stayed as it was. What had been uploaded counts as "
        f'released, and its privacy as spent.</p><ul class="facts void">{voids}</ul>'
        if voids
        else ""
    )
    return (
        "<section><h2>Who took part</h2><p>A column is a round, a row an institution.</p>"
        f'<figure class="wide">{picture}</figure>'
        '<ul class="legend"><li><i class="there"></i>in the sum</li>'
        '<li><i class="absent"></i>absent</li>'
        '<li><i class="voidcell"></i>uploaded, but the round is void</li></ul>'
        f"{why}{asked}</section>"
    )


def _spent_and_sent(result: DemoResult) -> str:
    privacy = meters("ε spent by institution", [_privacy_meter(i) for i in result.institutions])
    volume = meters(
        "bytes sent by institution",
        [
            Meter(
                label=one.id,
                code=one.jurisdiction,
                fill=one.bytes_sent,
                ghost=one.bytes_sent,
                whole=max(result.full_model_bytes * one.rounds, 1),
                value=f"{in_bytes(one.bytes_sent)} of "
                f"{in_bytes(result.full_model_bytes * one.rounds)}",
            )
            for one in result.institutions
        ],
    )
    return (
        '<section class="pair"><div><h2>What was spent</h2><p>Privacy budget: solid is spent, '
        "pale is reserved, the full width is what the institution's own policy allows.</p>"
        f"<figure>{privacy}</figure></div><div><h2>What was sent</h2><p>Over all rounds. The full "
        "width is a plain exchange: the whole model in float32 for each round taken part in.</p>"
        f"<figure>{volume}</figure></div></section>"
    )


def _privacy_meter(one: InstitutionResult) -> Meter:
    spent, reserved = one.epsilon or 0.0, one.epsilon_reserved or 0.0
    whole = one.epsilon_cap or max(spent, reserved) or 1.0
    cap = "" if one.epsilon_cap is None else f" of {one.epsilon_cap:g}"
    words = "no guarantee" if one.epsilon is None else f"ε = {epsilon(one.epsilon)}{cap}"
    return Meter(
        label=one.id,
        code=one.jurisdiction,
        fill=spent,
        ghost=max(spent, reserved),
        whole=whole,
        value=words,
    )


def _crossed(result: DemoResult) -> str:
    private = result.largest_epsilon() is not None
    noise = "Noise was added in the vault first." if private else "No noise was added here."
    left = _list((name, words.format(noise=noise)) for name, words in _LEFT)
    return (
        '<section><h2>What crossed the border</h2><div class="pair"><div><h3>Left each vault</h3>'
        f'<ul class="facts left">{left}</ul></div><div><h3>Never left</h3>'
        f'<ul class="facts stayed">{_list(_STAYED)}</ul></div></div>'
        '<p class="note">This page knows more than any operator: the demo ran every vault itself. '
        "Row counts, models trained alone and the model without privacy were made for this page on "
        "this machine; in a real federation they do not exist outside an institution, and no ε "
        "covers them. One machine shows the protocol at work, not the separation of countries."
        "</p></section>"
    )


def _list(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<li><b>{text(name)}</b> {text(words)}</li>" for name, words in facts)


def _in_full(result: DemoResult) -> str:
    institutions = _table(
        ("institution", "", "rows", "rounds", "ε spent", "reserved", "δ", "sent", "received"),
        [
            (
                f"{text(one.id)}"
                + (f'<br/><span class="quiet">{text(one.name)}</span>' if one.name else ""),
                text(one.jurisdiction),
                f"{one.rows:,}",
                str(one.rounds),
                epsilon(one.epsilon),
                epsilon(one.epsilon_reserved),
                delta(one.delta),
                in_bytes(one.bytes_sent),
                in_bytes(one.bytes_received),
            )
            for one in result.institutions
        ],
    )
    rounds = _table(
        ("round", "survivors", "time", "accuracy", "macro F1", ""),
        [
            (
                str(one.n),
                f"{len(one.survivors)} of {len(result.institutions)}",
                in_time(one.seconds),
                score(one.accuracy),
                score(one.macro_f1),
                _kind(one),
            )
            for one in result.rounds
        ],
    )
    return f"<section><h2>In full</h2>{institutions}{rounds}</section>"


def _kind(one: RoundResult) -> str:
    if one.void:
        return "void"
    return "score on private rows" if one.score else ""


def _footer(result: DemoResult) -> str:
    places = (
        ("agreement", result.agreement),
        ("model", result.model_dir),
        ("ledger", result.ledger),
        ("logs", result.logs),
        ("everything", result.workdir),
    )
    rows = "".join(f"<dt>{name}</dt><dd>{text(str(place))}</dd>" for name, place in places)
    return f"<footer><dl>{rows}</dl></footer>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table from cells that are already markup."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
