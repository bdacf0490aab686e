"""Every problem that a person can meet, with its cause and what to do: the error catalogue.

One entry a code, one sentence for the cause and one for the fix. `{names}` are facts that the place
where it happened fills in. Nothing else in the project words an error for people, so a translation
is another table with the same keys (`CATALOGUES`).

A code is `COM-AREA-NNN`. It keeps its meaning for ever; a new problem gets a new number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FAILED, USAGE, FINDINGS, UNREADABLE, TRY_LATER = 1, 2, 3, 4, 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a person is told.

    Attributes:
        cause: what happened, a sentence without a full stop.
        fix: what to do, often a command.
        exit_code: 1 failed, 2 usage, 3 findings, 4 unreadable, 75 try later.
    """

    cause: str
    fix: str
    exit_code: int = FAILED


ENGLISH: Mapping[str, Explanation] = {
    # Without a place of their own
    "COM-ANY-001": Explanation(
        cause="{message}",
        fix="change what the sentence names, and call again",
    ),
    "COM-ANY-002": Explanation(
        cause="the other side sent something that may not be: {message}",
        fix="nothing was changed here; ask the other side to look at its log",
    ),
    "COM-ANY-003": Explanation(
        cause="something happened that nobody expected: {kind}",
        fix="set COMITY_DEBUG=1, call again, and report what you see",
    ),
    "COM-ANY-004": Explanation(
        cause="{message}",
        fix="{command} --help says how it is called",
        exit_code=USAGE,
    ),
    "COM-ANY-005": Explanation(
        cause="stopped",
        fix="call again when you like; what was begun is whole or not there",
        exit_code=130,
    ),
    "COM-ANY-006": Explanation(
        cause="the answer cannot be written to where it was sent: {why}",
        fix="what was asked is done; a command that shows it tells it again",
    ),
    # The machine
    "COM-HOST-001": Explanation(
        cause="no space is left on the disk of {path}",
        fix="free some space and call again; nothing was spent and nothing is damaged",
    ),
    "COM-HOST-002": Explanation(
        cause="{path} cannot be used: {why}",
        fix="look at its owner and permissions, or choose another place with --home",
    ),
    # Settings
    "COM-CONF-001": Explanation(
        cause="{file}: unknown key {key}{hint}",
        fix="correct or remove the line",
    ),
    "COM-CONF-002": Explanation(
        cause="{file}: {key}: {why}",
        fix="correct the line",
    ),
    "COM-CONF-003": Explanation(
        cause="cannot read {file}: {why}",
        fix="correct the file, or restore it from a backup",
    ),
    "COM-DEVICE-001": Explanation(
        cause="vault.toml says device = cuda, and PyTorch sees no GPU here",
        fix="say auto or cpu, or install PyTorch's build for the GPU and its driver",
    ),
    # Daemons
    "COM-CLIENT-001": Explanation(
        cause="the vault does not answer ({why})",
        fix="comity client start",
        exit_code=TRY_LATER,
    ),
    "COM-SERVER-001": Explanation(
        cause="the server does not answer ({why})",
        fix="comity server start",
        exit_code=TRY_LATER,
    ),
    "COM-CLIENT-002": Explanation(
        cause="there is no institution in {home}",
        fix="comity client join INVITATION, or name its directory with --home",
    ),
    "COM-CLIENT-003": Explanation(
        cause="{database} is gone, and with it the ledger and what was spent",
        fix="put the newest disk back; if it is lost, comity client keys restore into an empty "
        "home, from a backup, counts as spent what may have been",
    ),
    "COM-SERVER-002": Explanation(
        cause="there is no operator in {home}",
        fix="comity server init, or name its directory with --home",
    ),
    # Services
    "COM-SERVICE-001": Explanation(
        cause="a service runs already for {home} (process {pid})",
        fix="nothing is to be done; say status in place of start to see it, or stop to end it",
    ),
    "COM-SERVICE-002": Explanation(
        cause="cannot listen on {address}, which is {setting} in server.toml: {why}",
        fix="end what listens there (ss -ltnp shows it), or change {setting}",
    ),
    "COM-SERVICE-003": Explanation(
        cause="the service ended: {why}",
        fix="mend what the sentence names and call again; {log} says more",
    ),
    "COM-SERVICE-004": Explanation(
        cause="the {name} does not answer yet; its log ends with: {why}",
        fix="mend what the sentence names, the service goes on trying; {log} says more",
        exit_code=TRY_LATER,
    ),
    "COM-SERVICE-005": Explanation(
        cause="the path of a socket is too long for the system: {path}",
        fix="choose a shorter --home, or a short directory with {setting}",
    ),
    "COM-SERVICE-006": Explanation(
        cause="what ran for {home} does not end",
        fix="wait a minute and call again; if it goes on, restart the machine",
    ),
    # The way to the operator
    "COM-NET-001": Explanation(
        cause="cannot reach {address}: {why}",
        fix="check the network and the address; comity client doctor looks at each step of the way",
        exit_code=TRY_LATER,
    ),
    "COM-NET-002": Explanation(
        cause='{address} shows a certificate signed by "{issuer}" and not the operator\'s own key',
        fix="ask your network team to let {address} pass without inspection; if nobody inspects, "
        "ask the operator whether its key has changed",
    ),
    "COM-NET-003": Explanation(
        cause="proxy {proxy} refuses the connection to {address}: {why}",
        fix="ask your network team to allow the connection, or correct the proxy's address",
    ),
    "COM-NET-004": Explanation(
        cause="{ahead} is {by} ahead of {behind}",
        fix="set up time synchronisation where the time is wrong, as with: "
        "timedatectl set-ntp true",
    ),
    "COM-SERVICE-007": Explanation(
        cause="another daemon runs in {home}",
        fix="nothing is to be done if a service runs it (status shows it); else end that process",
    ),
    "COM-SERVER-003": Explanation(
        cause="the server cannot listen at {address}, it is taken or not this machine's",
        fix="end what listens there, or correct the address in server.toml",
    ),
    "COM-SERVER-004": Explanation(
        cause="there is an operator in {home} already",
        fix="choose another directory with --home; keys are never overwritten",
    ),
    "COM-SERVER-005": Explanation(
        cause="nobody can join here: server.toml names no enrolment listener",
        fix='add a line like enrolment = "0.0.0.0:7444" and start the server again',
    ),
    "COM-SERVER-006": Explanation(
        cause="nothing was approved",
        fix="compare the words with the institution, then call again",
    ),
    "COM-SERVER-007": Explanation(
        cause="nobody was turned away",
        fix="call again when you have decided",
    ),
    "COM-RUN-001": Explanation(
        cause="the run of {agreement} ended early: {why}",
        fix="mend the cause; comity server run start {agreement} goes on where it was",
    ),
    "COM-RUN-002": Explanation(
        cause="{agreement} cannot run: {why}",
        fix="comity server agreement show {agreement} tells who has signed",
    ),
    "COM-RUN-003": Explanation(
        cause="{agreement} does not run, {why}",
        fix="comity server run list shows what does",
    ),
    "COM-RUN-004": Explanation(
        cause="{agreement} runs already, and one agreement runs at a time",
        fix="comity server run show {agreement} --watch; or comity server run stop {agreement}",
    ),
    "COM-RUN-005": Explanation(
        cause="{agreement} rests: the agreement {later} goes on with its model",
        fix="comity server agreement withdraw {later}, if it is not to",
    ),
    "COM-RUN-006": Explanation(
        cause="{agreement} has no round that waits for uploads: {why}",
        fix="comity server status shows where the run is",
    ),
    # Joining
    "COM-JOIN-001": Explanation(
        cause="this institution has not joined a federation yet",
        fix="comity client join INVITATION, and wait until the operator has approved it",
    ),
    "COM-JOIN-002": Explanation(
        cause="that is no invitation: {why}",
        fix="paste the line again, in quotation marks, just as the operator sent it",
    ),
    "COM-JOIN-003": Explanation(
        cause="{home} is the home of {id} already",
        fix="choose another directory with --home",
    ),
    "COM-JOIN-004": Explanation(
        cause="the operator turns the invitation down: {why}",
        fix="ask the operator for a new one (comity server invite); each is good once",
    ),
    "COM-JOIN-005": Explanation(
        cause="{address} speaks another protocol: {why}",
        fix="install the version of Comity that the operator names",
    ),
    "COM-JOIN-006": Explanation(
        cause="the words were not the same, so nothing was sent about this institution",
        fix="ask the operator for the right invitation; somebody may stand in between",
    ),
    "COM-JOIN-007": Explanation(
        cause="the operator has not approved {id} yet",
        fix="call comity client join with the same invitation again; nothing is lost",
        exit_code=TRY_LATER,
    ),
    "COM-JOIN-008": Explanation(
        cause="{home} is the home of {id} with another operator, {operator}",
        fix="choose another directory with --home; each operator gets keys of its own",
    ),
    # Members
    "COM-MEMBER-001": Explanation(
        cause="an institution cannot be called {id}",
        fix="choose 1 to 40 lower-case letters, digits and hyphens",
    ),
    "COM-MEMBER-002": Explanation(
        cause="{jurisdiction} is no country code",
        fix="give two capital letters of ISO 3166-1, as in --region DE",
    ),
    "COM-MEMBER-003": Explanation(
        cause="{id} is in already, it is {state}",
        fix="comity server institutions; comity server revoke {id} first if it is to join anew",
    ),
    "COM-MEMBER-004": Explanation(
        cause="no institution {id} waits for approval",
        fix="comity server institutions shows who does; who is invited must join first",
    ),
    # Data
    "COM-DATA-001": Explanation(
        cause="{file}: expected a readable file ({why})",
        fix="correct the path or the file's permissions",
    ),
    "COM-DATA-002": Explanation(
        cause="{file}: expected a name that ends in .jsonl or .csv",
        fix="write the rows as JSON Lines or as CSV and name the file so",
    ),
    "COM-DATA-003": Explanation(
        cause="{file} line {line}: expected UTF-8",
        fix="save the file as UTF-8",
    ),
    "COM-DATA-004": Explanation(
        cause="{file} line {line}: expected a JSON object",
        fix="write one object a line, with text and label",
    ),
    "COM-DATA-005": Explanation(
        cause="{file} line {line}: expected comma-separated values with quotes that close",
        fix="correct the quotes of the line (RFC 4180)",
    ),
    "COM-DATA-006": Explanation(
        cause="{file} line {line}: expected {count} columns, as in the header",
        fix="correct the line; put texts with commas in quotes",
    ),
    "COM-DATA-007": Explanation(
        cause="{file} line {line}: expected the column {column}",
        fix="name the columns text and label; for token-classification, tokens and labels; and the "
        "one that says whose a row is as registered",
    ),
    "COM-DATA-008": Explanation(
        cause="{file} line {line}: expected the column {column} with a string",
        fix="write labels as texts too, in quotes",
    ),
    "COM-DATA-009": Explanation(
        cause="{file} line {line}: expected a {column} that is not blank",
        fix="fill it in, or leave the row out",
    ),
    "COM-DATA-010": Explanation(
        cause="{file} line {line}: expected one of the {count} declared labels",
        fix="correct the label, or ask the operator to declare it in the terms",
    ),
    "COM-DATA-011": Explanation(
        cause="{file}: expected at least one row, got an empty file",
        fix="name the file with the rows",
    ),
    "COM-DATA-012": Explanation(
        cause="{file} line {line}: expected at most 1 MiB",
        fix="cut the text; a model reads no more than its first 512 tokens",
    ),
    "COM-DATA-013": Explanation(
        cause="expected a name of 1 to 40 lower-case letters, digits and hyphens",
        fix="choose another name",
    ),
    "COM-DATA-014": Explanation(
        cause="the name {name} is taken",
        fix="choose another name, or comity client data remove {name}",
    ),
    "COM-DATA-015": Explanation(
        cause="the budget of {name} has a ceiling of ε = {epsilon} at δ = {delta}, for life",
        fix="call again with --ceiling-epsilon {epsilon} --ceiling-delta {delta}",
    ),
    "COM-DATA-016": Explanation(
        cause="there is no data set {name}",
        fix="comity client data list",
    ),
    "COM-DATA-017": Explanation(
        cause="the agreement {federation} trains on {name}",
        fix="comity client agreement refuse {federation} first",
    ),
    "COM-DATA-018": Explanation(
        cause="{file} is not as it was registered as {name}",
        fix="restore the file, or register the new rows under a new name",
    ),
    "COM-DATA-019": Explanation(
        cause="the data set {name} was removed",
        fix="comity client data add {name} FILE brings it back",
    ),
    "COM-DATA-020": Explanation(
        cause="no noise keeps a ceiling of ε = {epsilon} at δ = {delta}",
        fix="choose a higher ceiling",
    ),
    "COM-DATA-021": Explanation(
        cause="these rows are registered as {name} already",
        fix="use that name, or comity client data remove {name} first",
    ),
    "COM-DATA-022": Explanation(
        cause="{option}: expected {expected}",
        fix="nothing was registered; call again with such a value",
        exit_code=USAGE,
    ),
    "COM-DATA-023": Explanation(
        cause="cannot count the tokens of {model}: {why}",
        fix="give --model a BERT that is on this machine: minilm, a directory, or a name on the "
        "Hugging Face hub that was fetched before",
    ),
    "COM-DATA-030": Explanation(
        cause="{file}: expected a name that ends in .jsonl, as every word has a label",
        fix="write the rows as JSON Lines, with tokens and labels, and name the file so",
    ),
    "COM-DATA-031": Explanation(
        cause="{file} line {line}: expected the column {column} with a list of strings",
        fix='write each word and each label by itself, as in "tokens": ["a", "word"]',
    ),
    "COM-DATA-032": Explanation(
        cause="{file} line {line}: expected at least one word, and as many in tokens as in "
        "{column}",
        fix="give every word one label",
    ),
    "COM-DATA-040": Explanation(
        cause="{file} line {line}: expected whose the row is in the column {column}: a text or a "
        "whole number",
        fix="fill it in, or leave the row out: a row of nobody cannot be protected as somebody's",
    ),
    # Budgets
    "COM-BUDGET-001": Explanation(
        cause="{file} has rows or units that count in different budgets: {names}",
        fix="register the rows of each in a file of their own",
    ),
    "COM-BUDGET-002": Explanation(
        cause="{file} has rows or units that count in the budget {name} already",
        fix="leave --separate out, and they count there",
    ),
    "COM-BUDGET-003": Explanation(
        cause="the budget {name} counts persons, and {file} was given without a key column",
        fix="call again with --unit-key and the column that names the person of each row",
    ),
    "COM-BUDGET-005": Explanation(
        cause="these bytes were registered as {name} with the key column {column}",
        fix="call again with that column; a new file is needed for another one",
    ),
    "COM-BUDGET-006": Explanation(
        cause="there is {count} grant of which {name} is the beginning, that could be raised",
        fix="comity client budget show names the grants",
    ),
    "COM-BUDGET-007": Explanation(
        cause="the policy allows no training without privacy",
        fix="change the policy first, if that is what you want; it cannot be taken back",
    ),
    "COM-BUDGET-008": Explanation(
        cause="expected one data set to be meant, there are {count}",
        fix="name it with --data; comity client data list names them",
        exit_code=USAGE,
    ),
    "COM-BUDGET-009": Explanation(
        cause="expected {expected}",
        fix="comity client budget {command} --help says how it is called; nothing was changed",
        exit_code=USAGE,
    ),
    # Agreements
    "COM-AGREE-001": Explanation(
        cause="expected one agreement that is {which}, there are {count}",
        fix="comity client agreement list; name one by the beginning of its digest",
    ),
    "COM-AGREE-003": Explanation(
        cause="{count} agreements are called {name}",
        fix="comity server agreement list; name one by the beginning of its digest",
    ),
    "COM-AGREE-004": Explanation(
        cause="nothing was signed or refused",
        fix="call again when you have decided; comity client agreement show says what it is",
    ),
    "COM-AGREE-005": Explanation(
        cause="{count} data sets could train under it",
        fix="comity client data list; name one with --data NAME, or add one: comity client data "
        "add NAME FILE",
    ),
    "COM-AGREE-002": Explanation(
        cause="the agreement {agreement} cannot be signed, it is {state}",
        fix="ask the operator to propose a new one",
    ),
    "COM-AGREE-006": Explanation(
        cause="the agreement {agreement} is not stored here as it was when it came",
        fix="nothing is done under it; bring the home back from a backup, and find out who changed "
        "it",
        exit_code=UNREADABLE,
    ),
    "COM-AGREE-008": Explanation(
        cause="no agreement waits for this institution",
        fix="wait until the operator proposes one; comity client start hears of it, and comity "
        "client status tells",
    ),
    "COM-AGREE-007": Explanation(
        cause="{agreement} goes on from another model than this vault has come to",
        fix="let the vault run until it is up to date (comity client status), and sign then; if it "
        "is, ask the operator which round the agreement goes on from",
    ),
    "COM-AGREE-009": Explanation(
        cause="expected at most {limit} agreements to be judged in a day, another one is too many",
        fix="sign it tomorrow; until then, look at what was proposed (comity client agreement "
        "list) and ask the operator why it is so much: who may try terms finds out your policy",
    ),
    # Terms of an agreement
    "COM-TERMS-001": Explanation(
        cause="{file}: no approved institution is called {names}",
        fix="comity server invite {first}, and approve it when it has joined; or correct the id",
    ),
    "COM-TERMS-002": Explanation(
        cause="{file}: schedule.expires: {day} is in the past",
        fix="write the last day on which anything may be trained",
    ),
    "COM-TERMS-003": Explanation(
        cause="no noise is enough for ε = {epsilon} at δ = {delta}",
        fix="write a larger epsilon or a larger delta under [privacy]",
    ),
    "COM-TERMS-004": Explanation(
        cause="noise_multiplier {noise} is too little for ε = {epsilon} at δ = {delta}",
        fix="write at least {least}, or leave noise_multiplier out so that it is worked out",
    ),
    "COM-TERMS-005": Explanation(
        cause="{where}: expected {what}",
        fix="correct the line, or the labels under [task]",
    ),
    "COM-TERMS-006": Explanation(
        cause="cannot use the evaluation set {file}: {why}",
        fix="name a file of JSON Lines in evaluation_set, relative to the terms file, with text "
        "and label; for token-classification, with tokens and labels",
    ),
    "COM-TERMS-007": Explanation(
        cause="the terms cannot go on with the model of {name}: {why}",
        fix="write what the earlier agreement has; comity server agreement show {name} --json",
    ),
    "COM-TERMS-008": Explanation(
        cause="no noise is enough for scores with ε = {epsilon} at δ = {delta}",
        fix="write a larger epsilon, fewer rounds in after or a smaller spare under "
        "[private_evaluation]",
    ),
    # The first model of an agreement
    "COM-MODEL-001": Explanation(
        cause="{model} cannot be trained: {why}",
        fix="under [model], name a BERT, RoBERTa, DistilBERT or XLM-RoBERTa with weights in "
        "safetensors: minilm, a directory, or a name on the Hugging Face hub",
    ),
    "COM-MODEL-002": Explanation(
        cause="the first model cannot be built here: PyTorch is not installed",
        fix="comity model start {file} --out DIR on a machine with comity[client]; then give "
        "--start DIR",
    ),
    "COM-MODEL-003": Explanation(
        cause="the first model was not built: {why}",
        fix="comity model start {file} --out DIR, and give --start DIR when it has ended well",
    ),
    "COM-MODEL-004": Explanation(
        cause="the first model was not built: {why}",
        fix="{fix}",
    ),
    "COM-MODEL-005": Explanation(
        cause="{directory} cannot be used: {why}",
        fix="comity model start {file} --out {directory}",
    ),
    "COM-MODEL-006": Explanation(
        cause="the model {model} cannot be used: {why}",
        fix="put the very model that the agreement names on this machine; the operator knows where "
        "it is from",
    ),
    # What the institution's own rules say
    "COM-RULE-001": Explanation(
        cause="refused ({reason}): {message}",
        fix="{advice}",
    ),
    # What the institution permits
    "COM-POLICY-001": Explanation(
        cause="no rule is named that should change",
        fix="name at least one, as in: comity client policy set --epsilon 8; "
        "comity client policy show says what holds now",
        exit_code=USAGE,
    ),
    "COM-POLICY-002": Explanation(
        cause="{option}: expected {expected}",
        fix="nothing was changed; call again with such a value",
        exit_code=USAGE,
    ),
    "COM-POLICY-003": Explanation(
        cause="the policy lapsed after {day}; nothing is signed or trained any more",
        fix="read it (comity client policy show) and let it hold longer: comity client policy set "
        "--expires DAY",
    ),
    # Backups
    "COM-KEYS-001": Explanation(
        cause="{file} holds no passphrase; expected one line of text in UTF-8",
        fix="name another file with --passphrase-file, or leave the option out to be asked",
        exit_code=USAGE,
    ),
    "COM-KEYS-002": Explanation(
        cause="the passphrase is shorter than {least} characters",
        fix="choose a longer one, such as five words that have nothing to do with each other",
        exit_code=USAGE,
    ),
    "COM-KEYS-003": Explanation(
        cause="{file} is no backup that this version can read",
        fix="name a file that comity client keys backup wrote",
        exit_code=UNREADABLE,
    ),
    "COM-KEYS-004": Explanation(
        cause="{file} does not open: the passphrase is another one, or the file was damaged",
        fix="call again with the right passphrase, or take another copy; nothing was written",
        exit_code=UNREADABLE,
    ),
    "COM-KEYS-005": Explanation(
        cause="{file} exists, and a backup is never overwritten",
        fix="choose another name",
    ),
    "COM-KEYS-006": Explanation(
        cause="there is something in {home} already",
        fix="name an empty or a new directory with --home; nothing was changed",
    ),
    "COM-KEYS-007": Explanation(
        cause="there is no terminal to ask for the passphrase",
        fix="write it into a file that you alone can read, and name that with --passphrase-file",
        exit_code=USAGE,
    ),
    # Models that came out
    "COM-EXPORT-001": Explanation(
        cause="no round that this institution took part in is certified yet",
        fix="wait for the first one; comity client status shows where it is",
    ),
    # Rounds that are recomputed
    "COM-AUDIT-001": Explanation(
        cause="{path} is no stored round: {why}",
        fix="ask for the directory again, whole and unchanged, as comity server run export-round "
        "wrote it",
        exit_code=UNREADABLE,
    ),
    "COM-AUDIT-002": Explanation(
        cause="step {number}, {name}, does not hold: {why}",
        fix="keep the directory as it is and show it to the institutions; whoever calls again sees "
        "the same",
        exit_code=FINDINGS,
    ),
    "COM-AUDIT-003": Explanation(
        cause="all of this holds if the agreement is the right one, and nobody vouched for that",
        fix="ask an institution that you trust for the eight words of its agreement (comity client "
        "agreement show) and give them with --agreement",
        exit_code=FINDINGS,
    ),
    "COM-AUDIT-004": Explanation(
        cause="--agreement: expected 64 hexadecimal digits or eight words, got {count}",
        fix='give the words in quotation marks, as in --agreement "word word …"',
        exit_code=USAGE,
    ),
    "COM-AUDIT-005": Explanation(
        cause="round {round} of {agreement} cannot be written: {why}",
        fix="comity server run show {agreement} lists the rounds that have ended",
    ),
    "COM-AUDIT-006": Explanation(
        cause="{directory} cannot be made: {why}",
        fix="name a directory that is not there yet, in one that is; nothing was written",
    ),
    # Ledgers that are audited
    "COM-AUDIT-007": Explanation(
        cause="{path} cannot be audited: {why}",
        fix="ask for the file again, whole and unchanged, as comity audit export wrote it",
        exit_code=UNREADABLE,
    ),
    "COM-AUDIT-008": Explanation(
        cause="step {number}, {name}, does not hold: {why}",
        fix="keep the file as it is and show it to the witnesses; whoever calls again sees the "
        "same",
        exit_code=FINDINGS,
    ),
    "COM-AUDIT-009": Explanation(
        cause="all of this holds if the keys are the right ones, and nobody vouched for those",
        fix="ask an institution that you trust for the eight words of its agreement (comity client "
        "agreement show) and give them with --agreement",
        exit_code=FINDINGS,
    ),
    "COM-AUDIT-010": Explanation(
        cause="no head of this ledger has been cosigned by enough institutions of {agreement}",
        fix="let the service run until it has taken part in a round, and call again",
    ),
    "COM-AUDIT-011": Explanation(
        cause="there is no home of an institution or an operator in {home}",
        fix="name it with --home; comity[client] or comity[server] must be installed beside it",
        exit_code=USAGE,
    ),
    "COM-AUDIT-012": Explanation(
        cause="{file} cannot be written: {why}",
        fix="name a file that is not there yet, in a directory that is; nothing was written",
        exit_code=USAGE,
    ),
    "COM-AUDIT-013": Explanation(
        cause="{file} proves one entry, and by whose keys says an agreement that is not in it",
        fix="give the agreement's file with --terms; it lies in the package, in agreements/",
        exit_code=USAGE,
    ),
    # Reports of audits
    "COM-AUDIT-014": Explanation(
        cause="{path} holds no key to sign with: {why}",
        fix="make one with openssl genpkey -algorithm ed25519 -out report.key, and guard it",
        exit_code=USAGE,
    ),
    "COM-AUDIT-015": Explanation(
        cause="{path} is no report: {why}",
        fix="ask for the JSON again, whole and unchanged, and for the key of who signed it",
        exit_code=UNREADABLE,
    ),
    "COM-AUDIT-016": Explanation(
        cause="{given} is no language of reports",
        fix="give --language en, zh or both",
        exit_code=USAGE,
    ),
    "COM-AUDIT-017": Explanation(
        cause="--key: expected 64 hexadecimal digits, got {count} characters",
        fix="comity audit report printed the key when it signed",
        exit_code=USAGE,
    ),
    "COM-AUDIT-018": Explanation(
        cause="this file needs packages beside it that are native code: {missing}",
        fix="{install}",
    ),
    # What an auditor asks for
    "COM-AUDIT-019": Explanation(
        cause="--agreement: {word} is none of the words that an agreement can have",
        fix="look at its spelling, or ask again; nothing was verified",
        exit_code=USAGE,
    ),
    "COM-AUDIT-020": Explanation(
        cause="--witness: {given} is no key of a witness",
        fix="give it as comity witness show prints it, NAME+ID+KEY, in quotation marks",
        exit_code=USAGE,
    ),
    "COM-AUDIT-021": Explanation(
        cause="{option} does not go with {file}: {why}",
        fix="name the right files; nothing was verified",
        exit_code=USAGE,
    ),
    "COM-AUDIT-022": Explanation(
        cause="--kind: {given} is no kind of entry",
        fix="give one of {kinds}",
        exit_code=USAGE,
    ),
    "COM-AUDIT-023": Explanation(
        cause="{file} has no entry {number}: its entries are 0 to {last}",
        fix="comity audit show {file} lists them",
        exit_code=USAGE,
    ),
    "COM-AUDIT-024": Explanation(
        cause="{path} is not there",
        fix="look at how it is spelled, and where you are; nothing was read",
        exit_code=USAGE,
    ),
    "COM-AUDIT-025": Explanation(
        cause="nothing that keeps a ledger is installed here",
        fix="call comity audit export where the institution or the operator runs",
        exit_code=USAGE,
    ),
    "COM-AUDIT-026": Explanation(
        cause="more than one ledger is kept on this machine, in {homes}",
        fix="say with --home which one you mean",
        exit_code=USAGE,
    ),
    "COM-AUDIT-027": Explanation(
        cause="--output and --json-out are the same file, {file}",
        fix="name one file for the page and another for the JSON; nothing was written",
        exit_code=USAGE,
    ),
    "COM-AUDIT-028": Explanation(
        cause="--sign-with signs the JSON, and no file was named for it",
        fix="name one with --json-out; nothing was written",
        exit_code=USAGE,
    ),
    # Witnesses that stand alone
    "COM-WITNESS-001": Explanation(
        cause="there is a witness in {home} already",
        fix="name another directory with --home; nothing was changed",
        exit_code=USAGE,
    ),
    "COM-WITNESS-002": Explanation(
        cause="there is no witness in {home}",
        fix="make one with comity witness init, or name its directory with --home",
        exit_code=USAGE,
    ),
    "COM-WITNESS-003": Explanation(
        cause="the ledger of {owner} does not go on from the head of {size} entries, root {root}…, "
        "that this witness cosigned: it has {got}",
        fix="nothing was cosigned; keep the package, and show it with what comity witness show "
        "--owner {owner} prints to the ledger's owner and to its partners",
        exit_code=FINDINGS,
    ),
    "COM-WITNESS-004": Explanation(
        cause="{file} is not as this witness wrote it",
        fix="put it back from a copy; without it the witness would forget what it has cosigned",
        exit_code=UNREADABLE,
    ),
    "COM-WITNESS-005": Explanation(
        cause="this witness has cosigned no head of {owner}",
        fix="comity witness show lists those that it knows",
        exit_code=USAGE,
    ),
    "COM-WITNESS-006": Explanation(
        cause="a witness cannot be called {name}: {why}",
        fix="give a name as in regulator.example; nothing was made",
        exit_code=USAGE,
    ),
    # Rehearsals
    "COM-REHEARSE-001": Explanation(
        cause="there is no agreement to rehearse",
        fix="wait until the operator proposes one; comity client agreement list shows it while the "
        "vault runs",
    ),
    "COM-REHEARSE-003": Explanation(
        cause="a round needs {needed} bytes on the disk of {home}, and {free} are free",
        fix="free some space and call again; nothing was spent",
    ),
    "COM-REHEARSE-004": Explanation(
        cause="{count} data sets could be meant",
        fix="comity client data list, and name one: comity client rehearse NAME; where there is "
        "none: comity client data add",
    ),
    "COM-SELFTEST-001": Explanation(
        cause="the agreement {agreement} promises no privacy, so there is nothing to test",
        fix="it trains without a self-test; name another agreement, or none for standard terms",
    ),
}

CATALOGUES: Mapping[str, Mapping[str, Explanation]] = {"en": ENGLISH}
