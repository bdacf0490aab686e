"""The vault's self-test: before a run, the machinery of training is tried out on made-up rows.

It catches mistakes in code, libraries and machines; a vault that lies passes it. `ghosts` trains on
canaries and writes down what came out, `statistics` knows how that is distributed when all is well,
`exact` compares a real step with a loop over single rows, `lowerbound` attacks, `examination` is
all of them, and `gate` lets nothing train that failed twice. No private row takes part.

    examination = examine(agreement.training, agreement.privacy, classifier)
    print(examination.passed, [outcome.test for outcome in examination.outcomes])
"""
