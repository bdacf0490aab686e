import numpy as np
import pytest
import torch

from comity_client.training.adam import AdamMoments
from comity_common.errors import LocalError


def test_steps_equal_those_of_torch() -> None:
    rng = np.random.default_rng(3)
    start = rng.standard_normal(50).astype(np.float32)
    parameter = torch.nn.Parameter(torch.tensor(start))
    oracle = torch.optim.Adam([parameter], lr=0.04)
    parameters, moments = start, AdamMoments.zero(50)
    for _ in range(20):
        gradient = rng.standard_normal(50)
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        oracle.step()
        parameters, moments = moments.step(parameters, gradient, 0.04)
    assert np.abs(parameters - parameter.detach().numpy()).max() < 1e-5
    assert moments.steps == 20


def test_moments_survive_being_stored() -> None:
    _, moments = AdamMoments.zero(5).step(np.zeros(5, np.float32), np.arange(5.0), 0.1)
    back = AdamMoments.from_bytes(moments.to_bytes(), 5)
    assert np.array_equal(back.first, moments.first)
    assert np.array_equal(back.second, moments.second)
    assert back.steps == 1
    assert np.array_equal(back.first + 1, moments.first + 1)


def _stored() -> bytes:
    return AdamMoments.zero(3).to_bytes()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        _stored()[:-1],
        _stored() + b"\0",
        b"x" + _stored()[1:],
        AdamMoments.zero(4).to_bytes(),
        _stored()[:-4] + np.float32(np.nan).tobytes(),
        _stored()[:-4] + np.float32(-1).tobytes(),
        _stored()[:24] + np.float32(np.inf).tobytes() + _stored()[28:],
    ],
)
def test_stored_bytes_that_are_no_moments_are_refused(raw: bytes) -> None:
    with pytest.raises(LocalError, match="expected"):
        AdamMoments.from_bytes(raw, 3)
