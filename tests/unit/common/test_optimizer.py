"""The next model is right, and has the same bits on every processor.

Four witnesses: frozen vectors, exact rational arithmetic rounded step by step, numpy with other
vector instructions, and Flower's own strategies.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from comity_common.agreement import Aggregation, ModelOptimizer
from comity_common.crypto.stream import Keystream
from comity_common.errors import LocalError, PeerError
from comity_common.fixedpoint import decode_sum, lane_bound, quantise, scale
from comity_common.optimizer import (
    ModelState,
    check_denormals,
    first_state,
    next_state,
    state_digest,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "optimizer.json"
PARTICIPANTS, SURVIVORS = 5, 4

FEDAVG = Aggregation(
    collusion=1,
    min_participants=4,
    ring_width=32,
    range=Decimal("0.05"),
    optimizer=ModelOptimizer.FEDAVG,
    learning_rate=Decimal("0.7"),
    momentum=Decimal(0),
)
FEDAVGM = replace(FEDAVG, optimizer=ModelOptimizer.FEDAVGM, momentum=Decimal("0.9"))
BOTH = pytest.mark.parametrize("rule", [FEDAVG, FEDAVGM], ids=lambda rule: rule.optimizer.value)


def uniform(draws: Keystream, size: int, limit: float):
    """Uniform float32 in ±limit by integers and one product, alike everywhere."""
    steps = (draws.uint64(size) >> np.uint64(40)).astype(np.int64) - (1 << 23)
    return steps.astype(np.float32) * np.float32(limit * 2**-23)


def run(rule: Aggregation, size: int, rounds: int):
    """A few rounds from a fixed seed: the sums, the mean deltas and the states."""
    draws = Keystream(bytes(range(32)))
    bound = lane_bound(32, PARTICIPANTS)
    states, sums, deltas = [first_state(uniform(draws, size, 1.0), rule)], [], []
    for _ in range(rounds):
        each = [uniform(draws, size, 0.06) for _ in range(SURVIVORS)]
        total = np.zeros(size, dtype=np.uint32)
        for delta in each:
            total += quantise(delta, rule.range, bound, draws)
        sums.append(total)
        deltas.append(np.clip(np.array(each, dtype=np.float64), -0.05, 0.05).mean(axis=0))
        states.append(next_state(states[-1], total, SURVIVORS, PARTICIPANTS, rule))
    return sums, deltas, states


def fingerprint() -> dict:
    """What has to be alike everywhere; the subprocesses print it."""
    result = {}
    for rule in (FEDAVG, FEDAVGM):
        sums, _, states = run(rule, 100_003, 3)
        small_sums, _, small_states = run(rule, 5, 2)
        result[rule.optimizer.value] = {
            "last_sum": sums[-1].astype("<u4").tobytes()[-32:].hex(),
            "states": [state_digest(state) for state in states],
            "small_sums": [total.tolist() for total in small_sums],
            "small_parameters": [
                state.parameters.astype("<f4").tobytes().hex() for state in small_states
            ],
        }
    return result


def to_single(value: Fraction) -> Fraction:
    """Round an exact number to the nearest single, ties to even (no denormals are met here)."""
    if value == 0:
        return value
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - 24
    if abs(value) / Fraction(2) ** exponent >= 2**24:
        exponent += 1
    return round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent


def exact(values) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


def test_the_frozen_vectors_still_hold():
    assert fingerprint() == json.loads(VECTORS.read_text())


@BOTH
def test_every_step_is_the_exact_result_rounded_once(rule):
    sums, _, states = run(rule, 300, 3)
    rate = to_single(Fraction(float(rule.learning_rate)))
    decay = to_single(Fraction(float(rule.momentum)))
    parameters = exact(states[0].parameters)
    momentum = [Fraction(0)] * 300
    unit = Fraction(scale(rule.range, lane_bound(32, PARTICIPANTS)) * SURVIVORS)
    for total, state in zip(sums, states[1:], strict=True):
        lanes = [int(lane) for lane in total.view(np.int32)]
        mean = [to_single(Fraction(float(lane / unit))) for lane in lanes]
        momentum = [
            to_single(to_single(m * decay) + x) for m, x in zip(momentum, mean, strict=True)
        ]
        step = mean if rule is FEDAVG else momentum
        parameters = [
            to_single(p + to_single(s * rate)) for p, s in zip(parameters, step, strict=True)
        ]

        assert exact(state.parameters) == parameters
        if rule is FEDAVGM:
            assert exact(state.momentum) == momentum


@BOTH
def test_the_model_follows_the_published_rule_in_double_precision(rule):
    _, deltas, states = run(rule, 1000, 4)
    parameters = states[0].parameters.astype(np.float64)
    velocity = np.zeros(1000)
    for delta, state in zip(deltas, states[1:], strict=True):
        velocity = float(rule.momentum) * velocity + delta
        parameters = parameters + float(rule.learning_rate) * velocity
        assert np.abs(state.parameters - parameters).max() <= 1.3e-6


def test_the_model_is_that_of_flowers_strategies(monkeypatch):
    flwr_app = pytest.importorskip("flwr.app")
    from flwr.serverapp.strategy import FedAvg, FedAvgM
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)

    def reply(arrays):
        order = flwr_app.Message(flwr_app.RecordDict(), dst_node_id=2, message_type="train")
        content = {
            "arrays": flwr_app.ArrayRecord({"w": flwr_app.Array(arrays)}),
            "metrics": flwr_app.MetricRecord({"num-examples": 1}),
        }
        return flwr_app.Message(flwr_app.RecordDict(content), reply_to=order)

    def models(strategy, rule):
        _, deltas, states = run(rule, 1000, 4)
        current = states[0].parameters
        if isinstance(strategy, FedAvgM):
            strategy.current_arrays = flwr_app.ArrayRecord({"w": flwr_app.Array(current)})
        for delta, state in zip(deltas, states[1:], strict=True):
            # one synthetic institution whose model is the mean of all models
            arrays, _ = strategy.aggregate_train(1, [reply((current + delta).astype(np.float32))])
            current = arrays.to_numpy_ndarrays()[0]
            yield current, state.parameters

    plain = replace(FEDAVG, learning_rate=Decimal(1))
    heavy = FedAvgM(server_learning_rate=0.7, server_momentum=0.9)
    for strategy, rule in ((FedAvg(), plain), (heavy, FEDAVGM)):
        for theirs, ours in models(strategy, rule):
            assert np.abs(ours - theirs).max() <= 1.3e-6


def dispatch_levels() -> list[list[str]]:
    """Vector instructions that numpy would use here: none, the upper half, all of them."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    found = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    return [[], found[len(found) // 2 :], found]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_bits_do_not_depend_on_the_processors_vector_instructions(level):
    try:
        disabled = dispatch_levels()[level]
    except ImportError:
        pytest.skip("this numpy does not tell its vector instructions")
    if level and not disabled:
        pytest.skip("this processor has only the baseline instructions")
    program = (
        "import importlib.util as u, json, sys\n"
        "spec = u.spec_from_file_location('numbers_of_optimizer', sys.argv[1])\n"
        "module = u.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "from numpy._core._multiarray_umath import __cpu_features__ as on\n"
        "assert not any(on[name] for name in sys.argv[2:]), 'still enabled'\n"
        "print(json.dumps(module.fingerprint()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, __file__, *disabled],
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(disabled)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(VECTORS.read_text())


def test_the_digest_covers_parameters_momentum_and_round():
    state = first_state(np.ones(4, dtype=np.float32), FEDAVGM)
    other = np.array([1, 1, 1, 2], dtype=np.float32)
    changed = [
        replace(state, parameters=other),
        replace(state, momentum=other),
        replace(state, momentum=None),
        replace(state, round=1),
        replace(state, parameters=state.momentum, momentum=state.parameters),
    ]

    assert len({state_digest(each) for each in [state, *changed]}) == 6
    assert state_digest(state) == state_digest(replace(state, momentum=state.momentum.copy()))


@BOTH
def test_a_sum_of_zero_leaves_the_parameters_and_counts_as_a_round(rule):
    state = first_state(np.ones(4, dtype=np.float32), rule)

    after = next_state(state, np.zeros(4, dtype=np.uint32), 4, 5, rule)

    assert np.array_equal(after.parameters, state.parameters)
    assert after.round == 1


def test_the_mean_is_over_survivors_and_the_lane_over_participants():
    state = first_state(np.zeros(1, dtype=np.float32), replace(FEDAVG, learning_rate=Decimal(1)))
    bound = lane_bound(32, 5)
    lanes = np.array([4 * (bound - 1)], dtype=np.uint32)

    after = next_state(state, lanes, 4, 5, replace(FEDAVG, learning_rate=Decimal(1)))

    assert after.parameters[0] == np.float32(0.05)
    assert decode_sum(lanes, 4, FEDAVG.range, bound, 32)[0] == np.float32(0.05)


def test_a_step_changes_neither_the_old_state_nor_the_sum():
    sums, _, states = run(FEDAVGM, 10, 2)
    before = state_digest(states[1]), sums[1].copy()

    next_state(states[1], sums[1], SURVIVORS, PARTICIPANTS, FEDAVGM)

    assert state_digest(states[1]) == before[0]
    assert np.array_equal(sums[1], before[1])


def test_a_sum_of_another_size_or_beyond_the_bound_is_the_peers_fault():
    state = first_state(np.zeros(2, dtype=np.float32), FEDAVG)
    beyond = 4 * lane_bound(32, 5) + 1

    for lanes in ([0, 0, 0], [0, beyond]):
        with pytest.raises(PeerError):
            next_state(state, np.array(lanes, dtype=np.uint32), 4, 5, FEDAVG)


@pytest.mark.parametrize("survivors", [0, 6])
def test_survivors_are_some_of_the_participants(survivors):
    state = first_state(np.zeros(2, dtype=np.float32), FEDAVG)

    with pytest.raises(LocalError):
        next_state(state, np.zeros(2, dtype=np.uint32), survivors, 5, FEDAVG)


def test_a_state_of_another_optimiser_is_refused():
    lanes = np.zeros(2, dtype=np.uint32)
    for mine, other in ((FEDAVG, FEDAVGM), (FEDAVGM, FEDAVG)):
        state = first_state(np.zeros(2, dtype=np.float32), mine)
        with pytest.raises(LocalError):
            next_state(state, lanes, 4, 5, other)


def test_a_state_has_singles_of_one_size():
    ones = np.ones(3, dtype=np.float32)
    for parameters, momentum in ((np.ones(3), None), (ones, np.ones(3)), (ones, ones[:2])):
        with pytest.raises(LocalError):
            ModelState(parameters=parameters, momentum=momentum, round=0)


def test_this_processor_keeps_denormals():
    check_denormals()


def test_flushing_denormals_to_zero_is_noticed():
    pytest.importorskip("torch")
    program = (
        "import torch\n"
        "from comity_common.errors import LocalError\n"
        "from comity_common.optimizer import check_denormals\n"
        "if not torch.set_flush_denormal(True): raise SystemExit(3)\n"
        "try: check_denormals()\n"
        "except LocalError: raise SystemExit(0)\n"
        "raise SystemExit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("this processor cannot flush denormals")
    assert done.returncode == 0, done.stderr
